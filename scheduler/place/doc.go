// Package place decides where things of a job run: how many executors with how many slots
// on which agents, for the leader ([Fleet.Place]), and which task in which executor, for a
// job's coordinator ([Tasks]).
//
// Its words: a slot takes one subtask of each chain; an executor is a process with a number of
// slots on one node; a policy says which of the nodes with room get new executors; a node is
// closed while it takes nothing new.
//
// Invariants:
//
//  1. The same input gives the same output, in whatever order nodes, executors and chains were
//     named.
//  2. No node is given more than it has free, and no executor more tasks of a chain than it
//     has slots.
//  3. All or nothing: a job that does not fit changes nothing, and the plan says why. A part of
//     a job's slots would be of no use to it and missing elsewhere.
//  4. What runs stays where it is. Where nothing has changed nothing is started or stopped;
//     new nodes attract nobody. A job that is moved loses its local state and restarts,
//     which costs more than an even load is worth.
//
// Nothing here starts a goroutine, reads a clock or does I/O. A Fleet has no lock: it belongs to
// who made it.
package place
