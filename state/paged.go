package state

import "github.com/weirflow/weir/flow"

// Disk is where a store keeps the entries of one state that its tables do not hold,
// as bytes; see [Resident] for what is key and what is value. Errors are the
// store's Err: Get then finds nothing, Scan ends early.
type Disk interface {
	// Get loads the value of an entry. It is lent until the next call.
	Get(g flow.KeyGroup, key []byte) (value []byte, ok bool)
	// Scan calls f for the entries of a key group with a key not below from that
	// begins with prefix, in the order of their keys, until f returns false. Keys
	// and values are lent until f returns. f must not call the Disk.
	Scan(g flow.KeyGroup, prefix, from []byte, f func(key, value []byte) bool)
	// Room reports whether the tables of the store may take n bytes more. If not, a
	// state lets go of what it can within itself, and takes them nevertheless if
	// there is nothing: it must not wait.
	Room(n int64) bool
	// Fail makes err the store's Err: bytes that are no entry, a value that cannot
	// be encoded.
	Fail(err error)
}

// Put takes a changed entry for the disk; value is nil where it was deleted. Key
// and value are lent.
type Put func(g flow.KeyGroup, key, value []byte)

// Mount is what a state is told of the disk that it gets.
type Mount struct {
	Disk           Disk
	MaxParallelism int
	KeyGroups      flow.KeyGroupRange
	// Entries is how many entries of the state are on disk. With none, nothing need
	// be looked up until something has been let go.
	Entries int64
}

// Paged is a state that can leave entries on disk, with its tables as the cache in
// front of it. The store drives it, on the task's goroutine:
//
//	Mount ─► ... changes ... ─► Cut ─► Drain, Drain, ... done ─► (written) ─► Settled
//	                       or Flush   changes of the next epoch meanwhile    Evict
//
// A changed entry is in the tables until it is on disk. Between Cut and the end of
// Drain an entry that was frozen by the Cut is given to put before it changes
// again: so put sees each changed entry once for each Cut, as it was at the Cut. A Flush
// makes room and promises less: put sees what has changed as it is when Drain comes to
// it, perhaps twice.
//
// None of these is called while a call on any state of the store is under way:
// what a state has lent is there until the task is between batches.
type Paged interface {
	Resident
	// Mount says that entries which the tables lack may be on a disk. It is called
	// once, before the first change.
	Mount(m Mount)
	// Entries is how many entries there are, here and on disk.
	Entries() int64
	// Changed is how many entries have changed since the last Cut, about.
	Changed() int
	// Cut freezes what has changed since the last Cut, without going through it. The
	// last Cut has been drained; the one before it has settled. With join it goes on with the
	// last Flush, drained or not, to one Settled: what the Flush has not put is frozen too.
	Cut(put Put, join bool)
	// Flush begins to put what has changed, without freezing it, so that it may be let go. It may
	// begin when a Cut may.
	Flush(put Put)
	// Drain gives about n entries of the last Cut or Flush to put; done when none is left.
	Drain(n int) (done bool)
	// Settled says that all that was put at one Cut or Flush is on disk: the earliest that has
	// not settled.
	Settled()
	// Evict lets go of about n bytes of entries that are on disk as they are, those
	// that were not used lately first. It returns how many bytes it freed, also
	// those that keys and values point to as far as they were counted.
	Evict(n int64) int64
}
