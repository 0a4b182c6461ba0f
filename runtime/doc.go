// Package runtime is the folder of the worker's side of a job: task runs one
// chain's subtask, worker runs the tasks that a scheduler gives it.
//
// It has no code of its own.
package runtime
