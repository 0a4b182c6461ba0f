package job

import "fmt"

// State is the state of a job.
type State uint8

const (
	// Created: the job is known and nothing was started.
	Created State = iota
	// Deploying: tasks are being started.
	Deploying
	// Running: all tasks run.
	Running
	// Finishing: all sources ended; the tasks work off the rest, and the final
	// epoch follows.
	Finishing
	// Stopping is Finishing because the user wanted it.
	Stopping
	// Cancelling: the tasks are being cancelled because the user wanted it.
	Cancelling
	// Failing: the tasks are being cancelled because something failed.
	Failing
	// Restarting: all tasks have ended and the next attempt waits for its time.
	Restarting
	// Finished: the input was worked off and all results are committed.
	Finished
	// Stopped: the user stopped the job; what it had accepted is committed.
	Stopped
	// Cancelled: the user ended the job as it was.
	Cancelled
	// Failed: the job ended because of a failure.
	Failed

	numStates = int(Failed) + 1
)

var stateNames = [...]string{"created", "deploying", "running", "finishing", "stopping", "cancelling", "failing",
	"restarting", "finished", "stopped", "cancelled", "failed"}

// String is the state's name in lower case.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Terminal reports whether a job in s stays in it.
func (s State) Terminal() bool { return s >= Finished }

// TaskState is the state of one attempt of a task.
type TaskState uint8

const (
	// TaskCreated: the task is known and nothing was started.
	TaskCreated TaskState = iota
	// TaskDeploying: the task is being started.
	TaskDeploying
	// TaskRunning: the task's loop runs.
	TaskRunning
	// TaskDrained: the task has seen the end of all its inputs and handled it. It
	// still runs, for barriers.
	TaskDrained
	// TaskFinished: the task ended because it had done everything.
	TaskFinished
	// TaskFailed: the task ended because of a failure.
	TaskFailed
	// TaskCancelled: the task ended because it was told to.
	TaskCancelled
)

var taskStateNames = [...]string{"created", "deploying", "running", "drained", "finished", "failed", "cancelled"}

// String is the state's name in lower case.
func (s TaskState) String() string {
	if int(s) < len(taskStateNames) {
		return taskStateNames[s]
	}
	return fmt.Sprintf("task-state(%d)", uint8(s))
}

// Terminal reports whether a task in s has ended.
func (s TaskState) Terminal() bool { return s >= TaskFinished }
