// Package lsm keeps keyed state on local disk, in Pebble, with the tables of package
// state as a cache of decoded values in front of it. State may be many times larger
// than memory; a snapshot is the files that storage lacks.
//
// Words:
//
//   - environment ([Env]): what the stores of one process share: the memory they may
//     take, the cache of blocks, the cache of open files.
//   - cut: the changed entries of all states at one moment. A barrier makes a cut, and
//     so does the store when there is too much that has changed.
//   - part: entries of a cut that are sorted and written together.
//
// The keys in Pebble are
//
//	key group (2 bytes, big-endian) · id of the state (2) · key of the entry
//
// so that a key group is one range. Ids are given by the store; the file STATES of a
// snapshot says whose they are and with which schema entries were written. See
// docs/format/state-lsm.md.
//
// The way of a change:
//
//	task's goroutine                          the store's goroutine
//	Freeze: Cut of all states
//	Step, Step, ...: Drain ── parts ────────► sort, write a table, ingest it
//	                 last part ─────────────► the cut is on disk:
//	                                            Checkpoint (links), or a Pebble snapshot
//	Step: Settled ◄───────────────────────────┘       │
//	                                            Snapshot.Write hands files over
//
// There is no write-ahead log, and nothing goes through memtables: a cut is sorted
// anyway, so each part becomes a table of its own that is ingested.
//
// Invariants:
//
//  1. Nothing of an epoch reaches Pebble before the snapshot of the epoch before it is
//     taken: cuts are written one after the other, each whole.
//  2. Files in the store's directory are of no use to anyone but the store: what must
//     survive is in snapshots. Open removes what an earlier store has left there.
//     So nothing is synced: storage syncs the files that it links.
//  3. A file that was handed over by its number never changes.
//  4. Whatever a snapshot's files hold, Restore gives an error or a good store; what
//     only reading an entry can show, Err shows then.
//
// A Store belongs to the goroutine of its task, but for Snapshot.Write and
// Snapshot.Close. It starts one goroutine, and Pebble some; Close ends them.
package lsm
