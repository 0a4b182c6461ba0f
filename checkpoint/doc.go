// Package checkpoint is the barrier protocol as pure decisions, both halves of it:
// the [Aligner] in a task, which says when all inputs have reached an epoch's
// barrier, and the [Coordinator] of a job, which starts epochs, gathers what the
// tasks acknowledge, and says when to commit. [Prepared] is what a sink holds
// between the two.
//
// One epoch, from its start to its commit:
//
//	coordinator                         each task
//	InjectBarrier ── at the sources ──► Aligner.Barrier, one input after another
//	                                    Aligned or Overtake: snapshot, prepare the
//	                                    commit, send the barrier on
//	Coordinator.Ack ◄── committables ── Prepared.For(epoch)
//	all acknowledged:
//	Commit ──► the shell commits, idempotently
//	Coordinator.Committed
//	NotifyCommitted ──────────────────► Prepared.Committed(epoch)
//	                                    (after a final epoch: the task ends)
//
// An epoch that can't be completed is aborted: the Abort action is told to all
// tasks, whose aligners let go of it. Aborting an epoch loses nothing. What a sink
// prepared for it stays in its Prepared, and is acknowledged again, and committed,
// with the next epoch that completes.
//
// An epoch that is not aligned in time overtakes: what it has not waited for is copied
// into the snapshot, and is taken in first by a task that is restored from it.
//
// Words: an epoch is in flight from its InjectBarrier until it is committed or
// aborted. It is aligning while acknowledgements are missing, and committing from
// the Commit action on. A committing epoch can no longer be aborted.
//
// Invariants:
//
//  1. Commit is said only of an epoch that every task of the attempt has
//     acknowledged, once for each epoch, and in the order of epochs; the next
//     Commit only after the last one's Committed.
//  2. An aligner says Aligned or Overtake at most once for each epoch, and in the order
//     of epochs. An epoch that overtook is complete before the next one ends. Every record
//     before its barriers is then in the state or among those that were copied, and
//     in one of them only.
//  3. Every committable that was acknowledged in a committed epoch is in exactly one
//     Commit action of the attempt.
//  4. A final epoch is alone in flight, and is never given up silently: it ends
//     with Complete, or is tried again under a new number, or ends with Fail.
//  5. What carries another attempt's number changes nothing.
//  6. Nothing here starts a goroutine, reads a clock or does I/O. Time is an argument.
//
// No type here has locks. An Aligner and a Prepared belong to their task's
// goroutine, a Coordinator to the one that drives the job.
package checkpoint
