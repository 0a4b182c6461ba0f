// Package scheduler runs one job: it gives tasks to a worker, splits to sources,
// starts epochs and commits them, and ends the job in order.
//
// What is decided is decided by pure types: job.Machine (states), split.Assigner
// (who reads what), checkpoint.Coordinator (epochs). A [Scheduler] is the shell
// around them: one goroutine with an inbox, to which tasks, enumerators and
// committers report, and which does what the types say.
//
// Invariants:
//
//  1. The pure types are touched by the goroutine of Run only.
//  2. Nothing blocks that goroutine: discovery and commits, which do I/O, have
//     goroutines of their own.
//  3. Run returns when all of these have ended.
package scheduler
