// Package job is the life of a job and of its tasks as a pure state machine: it is
// told what happened and says what to do next. The shell around it deploys tasks,
// drives the checkpoint coordinator and tells the user.
//
// The states of a job:
//
//	Created ── Start ──► Deploying ── all run ──► Running ── sources ended ──► Finishing ──► Finished
//	                         └───────── Stop ────────┴──────► Stopping ─────────────────────► Stopped
//	any of these ── Cancel ──► Cancelling ── all tasks ended ──► Cancelled, or Stopped after a Suspend
//	any of these ── failure ─► Failing ───── all tasks ended ──► Failed
//	                                              └► Restarting ── RestartDue ──► Deploying
//
// The way to a good end is one: the sources end, by themselves or because of a
// Stop; every task works off what it has got and is Drained; then one final epoch
// is triggered; when that is committed the tasks are told to finish. The final
// epoch comes after the last task is drained and not behind the last record,
// because ordinary epochs can go on through a long drain, and the
// final one, alone in flight, is short.
//
// A Deploying job that is told NothingLeft goes to Finishing and Finished at once: its
// final epoch is committed by an earlier attempt.
//
// The states of a task:
//
//	TaskCreated → TaskDeploying → TaskRunning → TaskDrained → TaskFinished
//	                  └───────────────┴──────────────┴──────► TaskFailed, TaskCancelled
//
// Invariants:
//
//  1. Every pair of state and event is defined. What can't be, comes late, or is of another attempt
//     changes nothing.
//  2. Finished, Stopped, Cancelled and Failed are for ever, and when a job is in one of
//     them each of its tasks has ended.
//  3. The first failure is the cause. What fails because it was cancelled is none.
//  4. A committed final epoch outweighs everything: the results are out and can't
//     be taken back, so such a job is Finished or Stopped whatever fails afterwards.
//     To call it failed would have somebody run it again and double them.
//
// The shell has two duties. It reports each task of the attempt to its end: a task whose
// process is gone is reported as failed by the shell. And it
// reports the outcome of a commit under way before the end of the last task.
//
// Nothing here starts a goroutine, reads a clock or does I/O. A Machine has no
// lock: it belongs to the goroutine that drives the job.
package job
