// Package raft keeps the registries of a cluster's servers equal: it agrees on a log of
// commands among 1, 3 or 5 of them, with hashicorp/raft. Who leads decides; a majority
// of the servers has what was decided on disk before anybody hears of it.
//
//	Node.Apply(command) ─► log of a majority ─► registry.Apply on every server ─► Result
//
// Words: a server is an agent that takes part. A term counts leaders. The leader has
// caught up when its registry holds all that earlier leaders have decided: only then
// [Options.Lead] is called.
//
// Invariants:
//
//  1. A command whose Apply returned without an error is applied on every server that ever
//     leads, whatever minority of disks is lost.
//  2. Lead runs on one server per term, never twice at once on one, and its context ends
//     when the server no longer leads by its own clock.
//  3. A server that lacks a decision of a newer release (registry.Behind) does not lead: it
//     hands leadership on.
//  4. A first configuration is made once, of exactly the expected number of servers, and
//     only where nothing is stored. Later ones are changed by the leader, one server at
//     a time, and never so that those alive are no majority.
//  5. What goes wrong with the disk ends no process: entries are refused, and a vote that
//     cannot be stored is not given.
//  6. Close returns with all goroutines ended or on their way to, whatever peers do.
//
// A Node may be used from any goroutine. Open starts its goroutines, Close ends them.
package raft
