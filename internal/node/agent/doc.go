// Package agent is the daemon of a cluster: it puts together what finds other agents
// (cluster/gossip), what decides (cluster/raft, scheduler/control) and what runs executors
// (runtime/executor).
//
//	           orders, lease                      assignments
//	leader ◄────────────────► link ──────────────────────────► executor.Manager ── processes
//	  │ scheduler/control        reports: statuses, answers         │
//	  └─ raft: registry                    ▲────────────────────────┘
//
// Its words: a link is an agent's side of what it says to the leader; orders are all that
// an agent is to have, and a lease is for how long it may go on without a word.
//
// Invariants:
//
//  1. An agent starts nothing without a lease, and its executors are dead before the lease ends.
//  2. Orders that are older than what it has are not obeyed.
//  3. The leader remembers nothing that another would need: what counts is in the registry, and
//     agents tell the rest again.
//  4. What a leader decides is decided on one view of the registry; a part that is refused is
//     decided anew.
//
// Leader and link have goroutines of their own; their methods may be called from any.
package agent
