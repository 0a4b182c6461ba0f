// Package task runs one subtask of a chain: one goroutine and a mailbox.
//
// All that reaches user code passes through the task's loop, one thing at a time:
// batches from the gates or from a source, control records, timers, mail. User
// code needs no locks.
//
//	       mail ──────────┐
//	       timers ────────┤
//	gates ─ aligner ──────┼──► head ► op ► op ► writers
//	       frontier ──────┘
//
// Records go along the chain by typed calls that the task does not see. What is not
// a record the task hands along itself: for a watermark it calls each operator in
// topological order with the watermark that the one before it returned; at a
// barrier it calls all of them and then sends the barrier behind what they sent.
//
// The loop takes no input while a writer lacks credit, but goes on to read its
// mail. When there is no input it sends what its writers have collected, and
// parks. So a batch leaves when it is full or when there is nothing else to do, and
// no time-out has to be chosen.
//
// What its time goes into is measured around its sleeps only: asleep because a writer lacks
// credit it is backpressured, asleep otherwise it is idle, and else it is busy.
//
// At a barrier the task takes hold of all that it is between two records: keyed state
// is only marked, the rest is small. It sends the barrier on and goes on itself. A
// goroutine that lives while there is a snapshot to write puts it into storage and
// acknowledges the epoch; what the state store has put off meanwhile it does in steps
// between batches, for a share of their time.
//
// After a restore comes, in this order: the keyed state, all operators' Open, what they
// kept beside keyed state, and only then the first record.
//
// Invariants:
//
//  1. Operators are called by the goroutine of Run only.
//  2. Each barrier goes through every task of the job, also through those whose
//     input has ended: a task lives until it is told to finish, or is cancelled.
//  3. A panic ends the task with a failure that names the operator; the process
//     lives.
//  4. Run returns when the task's operators are closed and nothing it started is
//     left.
//  5. Each epoch that was aligned here is acknowledged, declined, or aborted from
//     outside; epochs are acknowledged in their order. What sinks have prepared for one
//     that came to nothing goes with the next.
package task
