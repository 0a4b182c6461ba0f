package operator

// Aggregator folds records into an accumulator, of which a result can be read at
// any time. Running aggregates and windows use it alike: what is kept of a key or
// a window is one Acc and not its records.
//
// The result must not depend on the order in which records are added and
// accumulators merged: it is not defined.
type Aggregator[In, Acc, Out any] struct {
	// New makes an empty accumulator. Default: the zero value.
	New func() Acc
	// Add takes in one record.
	Add func(acc *Acc, in In)
	// Merge takes from into into. It must not change from, nor keep a reference to
	// anything that from refers to. Sliding, cumulative and session windows need
	// it.
	Merge func(into, from *Acc)
	// Result reads the accumulator, which may go on to take records: what it
	// returns must not refer to anything that Add and Merge change.
	Result func(acc *Acc) Out
}

// KeyValue is a key with a value.
type KeyValue[K, V any] struct {
	Key   K
	Value V
}
