package flow

// Hash is the 64-bit hash of a record's key. See [KeyGroupOf] for how it becomes
// a key group; the bits that choose the group are the high ones, so that a hash
// table may use the low ones.
type Hash uint64

// Batch is a run of records of one type that moves as one value.
//
// The columns beside Values are either empty or as long as Values. Whoever
// receives a batch from a call may read it until the call returns and must not
// change or keep it; an operator that needs more copies what it needs. Whoever
// takes a batch out of a queue owns it until it is recycled.
type Batch[T any] struct {
	Values []T
	// Times holds each record's event time; empty where the pipeline assigned none.
	Times []Time
	// Hashes holds the hash of each record's key, where a hash exchange came
	// before; the operator behind it need not compute them again.
	Hashes []Hash
}

// Len is the number of records.
func (b *Batch[T]) Len() int { return len(b.Values) }

// Time is the event time of record i, or MinTime where it has none.
func (b *Batch[T]) Time(i int) Time {
	if len(b.Times) == 0 {
		return MinTime
	}
	return b.Times[i]
}

// Append adds a record. Within one batch either all records have a time or none
// has: t is MinTime for all or for none.
func (b *Batch[T]) Append(v T, t Time) {
	b.Values = append(b.Values, v)
	b.Stamp(t)
}

// Stamp gives the record added last its time: see Append, of which it is a part.
func (b *Batch[T]) Stamp(t Time) {
	if t != MinTime || len(b.Times) > 0 {
		b.appendTime(t)
	}
}

// appendTime is apart so that Append is small enough to be inlined.
func (b *Batch[T]) appendTime(t Time) {
	for len(b.Times) < len(b.Values)-1 {
		b.Times = append(b.Times, MinTime)
	}
	b.Times = append(b.Times, t)
}

// Reset empties the batch and keeps its memory. Values that hold pointers are
// cleared, so that what they point to can be freed.
func (b *Batch[T]) Reset() {
	clear(b.Values)
	b.Truncate()
}

// Truncate empties the batch without clearing it: for types without pointers, or
// buffers that are filled again at once.
func (b *Batch[T]) Truncate() {
	b.Values = b.Values[:0]
	b.Times = b.Times[:0]
	b.Hashes = b.Hashes[:0]
}
