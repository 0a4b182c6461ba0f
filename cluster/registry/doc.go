// Package registry is what a cluster has decided, as a replicated state machine: its
// nodes, its jobs, which executor of which job runs where, which programs are there,
// and what happened. Servers agree on a log of commands (cluster/raft); each applies
// them to a Registry of its own, and all come to the same.
//
//	Encode(&PutAllocs{...}) ─► raft ─► Apply(index, entry) on every server ─► Result
//	                                     │
//	View() a state that stays as it is ◄─┴─► Watch(index) closed by the next change
//
// Words: an entry is an encoded command with its time and who wanted it. A record is
// what is known of one node, job, allocation or artifact. A record's index is the log's
// at its last change that matters to who decides about it; a decision says at which
// index it was made, and does nothing where a record it is about has changed since.
//
// Invariants:
//
//  1. Apply depends on the state and the entry only: no clock, no randomness, no order
//     of maps. Replicas that have applied the same entries are equal.
//  2. Apply answers any bytes with a Result, never with a panic. What it refuses changes
//     nothing.
//  3. An allocation that has ended never runs again. A job that has ended changes only by
//     a new version, or by a wish to run again.
//  4. An allocation is put on a node only if it is ready, and within its slots.
//  5. A job's term never falls, and each new coordinator raises it.
//  6. A report counts only if it comes from the job's coordinator in its newest term, of
//     its newest version.
//  7. Memory is bounded by the constants in limits.go.
//  8. A replica that meets a command of a newer release says so (Behind), and takes no
//     snapshot from then on: after an upgrade it applies that command from the log.
//
// A Registry may be used from any goroutine; Apply and Restore are called by one at a
// time. No goroutine is started here. Records in it are never changed in place: a view
// shares them, and what a view hands out is a copy.
package registry
