package job

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirflow/weir/flow"
)

// Event is something that happened to a job: one of [Start], [TaskUpdate], [Stop],
// [Cancel], [Suspend], [NothingLeft], [EpochCommitted], [CommitFailed] and [RestartDue].
type Event interface {
	fmt.Stringer
	event()
}

// Start: the job shall run.
type Start struct{}

// TaskUpdate: an attempt of a task is now in State.
type TaskUpdate struct {
	Task    flow.TaskID
	Attempt flow.Attempt
	State   TaskState
	// Failure is why, if State is TaskFailed.
	Failure *flow.Failure
}

// Stop: the user wants the sources to stop, and what was accepted to be finished.
type Stop struct{}

// Cancel: the user wants the job to end now, as it is.
type Cancel struct{}

// Suspend: the user wants the job to end now, and to go on from its newest epoch
// another time. It ends like a cancelled one, but is Stopped.
type Suspend struct{}

// NothingLeft: the attempt was restored from a final epoch. None of its tasks was
// deployed, and none will be.
type NothingLeft struct{ Attempt flow.Attempt }

// EpochCommitted: an epoch of the attempt is committed. Final says that it was
// the one asked for by TriggerFinal.
type EpochCommitted struct {
	Attempt flow.Attempt
	Epoch   flow.Epoch
	Final   bool
}

// CommitFailed: the checkpoint coordinator gave up the attempt, because a commit
// failed or too many epochs were aborted.
type CommitFailed struct {
	Attempt flow.Attempt
	Epoch   flow.Epoch
	Failure *flow.Failure
}

// RestartDue: the delay of a [ScheduleRestart] is over.
type RestartDue struct{ Attempt flow.Attempt }

func (Start) event()          {}
func (TaskUpdate) event()     {}
func (Stop) event()           {}
func (Cancel) event()         {}
func (Suspend) event()        {}
func (NothingLeft) event()    {}
func (EpochCommitted) event() {}
func (CommitFailed) event()   {}
func (RestartDue) event()     {}

// String is for scripts and logs.
func (Start) String() string { return "start" }

// String is for scripts and logs.
func (e TaskUpdate) String() string {
	s := fmt.Sprintf("task %s (attempt %d) is %s", e.Task, e.Attempt, e.State)
	if e.Failure != nil {
		s += ": " + e.Failure.Text()
	}
	return s
}

// String is for scripts and logs.
func (Stop) String() string { return "stop" }

// String is for scripts and logs.
func (Cancel) String() string { return "cancel" }

// String is for scripts and logs.
func (Suspend) String() string { return "suspend" }

// String is for scripts and logs.
func (e NothingLeft) String() string { return fmt.Sprintf("nothing left (attempt %d)", e.Attempt) }

// String is for scripts and logs.
func (e EpochCommitted) String() string {
	s := fmt.Sprintf("epoch %d (attempt %d) committed", e.Epoch, e.Attempt)
	if e.Final {
		s += ", the final one"
	}
	return s
}

// String is for scripts and logs.
func (e CommitFailed) String() string {
	s := fmt.Sprintf("epoch %d (attempt %d) failed", e.Epoch, e.Attempt)
	if e.Failure != nil {
		s += ": " + e.Failure.Text()
	}
	return s
}

// String is for scripts and logs.
func (e RestartDue) String() string { return fmt.Sprintf("restart due (attempt %d)", e.Attempt) }

// Action is something that the shell does: one of [DeployTask], [StopSources],
// [TriggerFinal], [CancelTask], [FinishTasks], [ScheduleRestart] and
// [Changed]. They are done in the order in which they are returned.
type Action interface {
	fmt.Stringer
	action()
}

// DeployTask: start the attempt of the task, and report its states. The task
// counts as deploying from now on.
type DeployTask struct {
	Task    flow.TaskID
	Attempt flow.Attempt
}

// StopSources: tell these tasks to end their input where they are. All of them
// have been deployed.
type StopSources struct{ Tasks []flow.TaskID }

// TriggerFinal: have the checkpoint coordinator run the final epoch.
type TriggerFinal struct{ Attempt flow.Attempt }

// CancelTask: end the task as it is. It may not have been deployed to its end yet.
type CancelTask struct {
	Task    flow.TaskID
	Attempt flow.Attempt
}

// FinishTasks: the final epoch is committed; tell all tasks to end.
type FinishTasks struct{ Attempt flow.Attempt }

// ScheduleRestart: after Delay, say [RestartDue] of Attempt, which is the new one's number.
type ScheduleRestart struct {
	Attempt flow.Attempt
	Delay   time.Duration
}

// Changed: the job is now in State. Cause is the first failure of the attempt, if
// State is Failing, Restarting or Failed. With Finished and Stopped it is what went
// wrong after the final epoch was committed; with Cancelled, and Stopped after a
// Suspend, the failure that the user did not want a restart after.
type Changed struct {
	State State
	Cause *flow.Failure
}

func (DeployTask) action()      {}
func (StopSources) action()     {}
func (TriggerFinal) action()    {}
func (CancelTask) action()      {}
func (FinishTasks) action()     {}
func (ScheduleRestart) action() {}
func (Changed) action()         {}

// String is for scripts and logs.
func (a DeployTask) String() string { return fmt.Sprintf("deploy %s (attempt %d)", a.Task, a.Attempt) }

// String is for scripts and logs.
func (a StopSources) String() string {
	var b strings.Builder
	b.WriteString("stop sources")
	for _, t := range a.Tasks {
		b.WriteString(" " + t.String())
	}
	return b.String()
}

// String is for scripts and logs.
func (a TriggerFinal) String() string { return fmt.Sprintf("trigger final (attempt %d)", a.Attempt) }

// String is for scripts and logs.
func (a CancelTask) String() string { return fmt.Sprintf("cancel %s (attempt %d)", a.Task, a.Attempt) }

// String is for scripts and logs.
func (a FinishTasks) String() string { return fmt.Sprintf("finish tasks (attempt %d)", a.Attempt) }

// String is for scripts and logs.
func (a ScheduleRestart) String() string {
	return fmt.Sprintf("restart as attempt %d after %s", a.Attempt, a.Delay)
}

// String is for scripts and logs.
func (a Changed) String() string {
	if a.Cause != nil {
		return fmt.Sprintf("job is %s: %s", a.State, a.Cause)
	}
	return "job is " + a.State.String()
}
