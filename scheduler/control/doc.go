// Package control is what a cluster's leader decides, as a pure function: it is given all
// that is known of nodes, jobs and allocations, and says what a leader would do now ([Decide]).
// Whoever leads calls it again when something has changed, and at the time it names.
//
//	registry's view ──┐
//	who was heard of ─┼─► Cluster ─► Decide ─► Decision ─► commands for raft
//	the clock ────────┘
//
// A leader's loop is
//
//	v := registry.View()
//	d := control.Decide(control.From(v, heard, now, version), options)
//	for each of d.Commands(v.Index(), ...): propose it; what is refused is decided again
//	wait for the registry to change, a node to be heard of that was not, or d.Next
//
// Heartbeats as such are no reason to decide: d.Next is when the first lease could end.
//
// Its words: a node is lost when its lease has ended; an executor that was told to end is
// ending, and has its slots until it has ended; a job lacks slots while fewer executors
// are placed than it wants; a job is moving while executors of it leave a draining node; a try
// counts executors of a job that have failed in a row.
//
// What is wanted comes about step by step, and each step is taken because of what is, and not of
// what was done before:
//
//	submitted ─► pending ── it fits ──► executors are placed: starting ── its coordinator says so ─► running
//	                ▲                          ▲
//	                │ no room                  │ room
//	                └──── an executor has ended or is lost ◄── running
//	running ── stop, save: told to the coordinator ─► stopping ── it says so ─► stopped: executors are ended
//	any ── cancel: told; after a while its executors are ended ─► cancelled
//	any ── executors fail in a row, too often ─► failed
//
// Invariants:
//
//  1. The same cluster gives the same decision. Nothing is remembered between calls: a new
//     leader goes on where the old one was, whichever of the changes were made.
//  2. A decision that was carried out is followed, at the same time, by one that changes reasons
//     at most.
//  3. A job has at most one coordinator in each term, and a new one always has a new term.
//  4. Slots are given away only on nodes that are ready, and never more than are free there:
//     executors that are ending or not heard of count until they are known to be gone.
//  5. Executors of a job get all the slots that it lacks, or none.
//  6. What a coordinator does is not disturbed: it says whether a job runs, and how it ends.
//     Losing it costs the job its coordinator only; its other executors stay.
//
// Nothing here starts a goroutine, reads a clock or does I/O. Times are microseconds since 1970 by
// the leader's clock; if it steps back nobody waits more than twice as long for it.
package control
