// Package state is the contract of keyed state and timers: what operators hold
// while a stream goes by, found by key, carried over restarts and rescaling.
//
// Words:
//
//   - state: one thing that an operator declared under a name: [Cells] (a value by
//     key and namespace), [Lists], [Maps] or [Timers]. User code sees them through
//     handles on the [Current] key: [Value], [List], [Map], [Reducing],
//     [Aggregating].
//   - store: the states of one task ([Store]). memory is one, the model; the suite
//     statetest says what every other must do.
//   - entry: what a state is made of when it is bytes: key · namespace -> value,
//     in a key group. See [Resident].
//   - time to live: values that expire are stored with the time at which they do
//     ([TTL]). Calls do not see them afterwards; a sweep in Step removes them.
//   - snapshot: all entries of a store by key group, with their schemas. A store
//     takes from any number of snapshots the key groups that it owns: restore and
//     rescale are one path.
//
// There are two layers. The typed one, here, is concrete generic code that every
// store uses: an operator's call goes straight into a hash table of typed values
// (see table.go), with no interface between. The other is bytes, and belongs to
// the store: it sees a state as a [Resident], which turns entries into bytes and
// back. With the memory store the tables are all there is.
//
// # A store of bytes
//
// A store that keeps entries on disk fits behind the same calls, with the tables
// as its write-back cache. What the typed layer then asks of it, for each state,
// in the entry's encoding:
//
//   - to load the value of a key when the table misses it;
//   - to scan the entries below a key, in order, for the entries of a map, and
//     those from a time on for timers;
//   - to take a batch of puts and deletions in key order: what has changed since
//     the last barrier, or what must make room.
//
// Entries in memory then carry marks. At a barrier the changed ones are frozen:
// they stay in memory and readable, and are handed over by and by; one that is
// about to change again is handed over before, as it was. So a hot key is encoded
// once an epoch, however often it changes. See [Paged]. [Store.Bytes]
// over the budget evicts entries that are not changed. None of it is visible in
// the calls on a state: an I/O error is the store's Err, looked at by the task
// after each batch, and before a barrier is passed on.
//
// Invariants:
//
//  1. The hash that is passed with a key is that of flow/keyhash. What is restored
//     is hashed anew; with another hash it would be lost. A snapshot refuses keys
//     that are not of the task's key groups.
//  2. A pointer or slice into a state is valid until the next call on that state.
//  3. The order in which entries come is not promised. With the memory store it
//     depends on the calls made and on nothing else, so that a run can be repeated.
//  4. Timers come in the order of their times. Those of one time come, in the memory
//     store, in the order in which they were added, and a snapshot keeps that within
//     a key group; from a disk they come in any order.
//  5. A type that cannot be encoded or hashed is refused when the state is
//     declared, with the state's name and the field.
//  6. Whatever bytes a snapshot holds, restoring it gives an error or a good store.
//
// A store and its states belong to the goroutine of their task. Nothing here
// locks, and nothing starts a goroutine.
package state
