// Package scheduler runs one job: it gives tasks to a worker, splits to sources,
// starts epochs and commits them, and ends the job in order.
//
// What is decided is decided by pure types: job.Machine (states), split.Assigner
// (who reads what), checkpoint.Coordinator (epochs). A [Scheduler] is the shell
// around them: one goroutine with an inbox, to which tasks, enumerators and
// committers report, and which does what the types say.
//
// Coordinator, sources and committers are of one attempt, and made anew for the
// next. An attempt of a job with a [Storage] starts so, beside the loop:
//
//	claim ─► newest manifest, or savepoint ─► resolve ─► commit it once more ─►
//	sinks clear up ─► sources restored ─► (in the loop) deploy ─► all tasks run ─►
//	sources and epochs begin
//
// An epoch ends so: all acknowledged ─► books balanced ─► manifest written, which is
// the commit ─► sinks publish ─► tasks are told ─► garbage is collected.
//
// Invariants:
//
//  1. The pure types are touched by the goroutine of Run only.
//  2. Nothing blocks that goroutine: discovery, commits and copies of savepoints, which
//     do I/O, have goroutines of their own.
//  3. Run returns when all of these have ended, and an attempt begins when all of the
//     one before it have.
//  4. Nothing is assigned to a source before all tasks run.
//  5. What the job's side of a source had found and not yet sent is noted in the step in
//     which the barrier is sent: both go to the task in order.
//  6. Sinks publish nothing of an epoch whose manifest is not written, and the epoch of
//     the newest manifest is published before a task of the next attempt runs.
package scheduler
