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
}

// Put takes a changed entry for the disk; value is nil where it was deleted. Key
// and value are lent.
type Put func(g flow.KeyGroup, key, value []byte)

// Paged is a state that can leave entries on disk, with its tables as the cache in
// front of it. The store drives it, on the task's goroutine:
//
//	Mount ─► ... changes ... ─► Cut ─► Drain, Drain, ... done ─► (written) ─► Settled
//	                              changes of the next epoch meanwhile        Evict
//
// A changed entry is in the tables until it is on disk. Between Cut and the end of
// Drain an entry that was frozen by the Cut is given to put before it changes
// again: so put sees each changed entry once for each Cut, as it was at the Cut.
type Paged interface {
	Resident
	// Mount says that entries which the tables lack may be on d. empty says that
	// there is nothing on d: until the first Evict nothing need be looked up.
	Mount(d Disk, maxParallelism int, empty bool)
	// Changed is how many entries have changed since the last Cut, about.
	Changed() int
	// Cut freezes what has changed since the last Cut, without going through it.
	Cut(put Put)
	// Drain gives about n of the frozen entries to put; done when none is left.
	Drain(n int) (done bool)
	// Settled says that all that was put is on disk.
	Settled()
	// Evict lets go of about n bytes of entries that are on disk as they are, those
	// that were not used lately first. It returns how many bytes it freed, also
	// those that keys and values point to as far as they were counted.
	Evict(n int64) int64
}
