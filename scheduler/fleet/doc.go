// Package fleet makes one worker of many executors: a scheduler gives it a deployment
// as it would to the one worker of its own process.
//
// Words. An executor has joined from when its coordinator has admitted it until it has
// left; one that comes again under the same name is another one. A slot takes one
// subtask of each chain. A deployment is the tasks of one attempt, each with the
// executor that it was given to.
//
// What is decided is decided by [Roster], which has no goroutine, clock or I/O. [Fleet]
// is the shell: it asks the roster under a lock and calls executors and scheduler
// outside.
//
//	scheduler ── Deploy ──► Fleet ──┬─► executor a: its tasks, and where all run
//	                                └─► executor b: …
//	          ◄── TaskState, Ack … ─┴── (only of tasks that are theirs)
//
// Invariants:
//
//  1. Each task of a deployment is reported to its end once: by its executor, or by the
//     fleet as failed when the executor has left before.
//  2. After an executor has left nothing is heard of it any more.
//  3. Messages to one executor go out in the order in which the scheduler has sent them.
//  4. A deployment is split so that subtasks of the same number are on the same executor:
//     forward exchanges stay inside.
//
// Fleet's methods may be called from any goroutine; those of api.Worker are the
// scheduler's, and come from its own one.
package fleet
