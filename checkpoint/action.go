package checkpoint

import (
	"fmt"
	"strings"

	"github.com/weirflow/weir/flow"
)

// Action is something that the shell around a [Coordinator] does: one of
// [InjectBarrier], [Commit], [NotifyCommitted], [Abort], [Late], [Complete] and
// [Fail]. Actions are done in the order in which they are returned.
type Action interface {
	fmt.Stringer
	action()
}

// InjectBarrier: give Barrier to each of Tasks, which are the sources. Tasks is
// shared and must not be changed.
type InjectBarrier struct {
	Barrier flow.Barrier
	Tasks   []flow.TaskID
}

// Commit: commit Operators in order, then call [Coordinator.Committed], or
// [Coordinator.CommitFailed] when it is of no use to try on. A commit may be repeated
// after recovery and must be idempotent. Said even if there is nothing to commit.
type Commit struct {
	Barrier   flow.Barrier
	Operators []OperatorCommit
	// Snapshots are those of all tasks, in the order of their names.
	Snapshots []TaskSnapshot
}

// OperatorCommit is what one operator has to commit, by epoch and then by
// subtask.
type OperatorCommit struct {
	Operator     flow.OperatorID
	Committables []Committable
}

// NotifyCommitted: tell all tasks that Barrier's epoch is committed.
type NotifyCommitted struct{ Barrier flow.Barrier }

// Abort: tell all tasks to let go of Barrier's epoch. This message has to arrive:
// until it does a task may hold back a channel, and through it the whole job.
type Abort struct {
	Barrier flow.Barrier
	Reason  string
}

// Late: tell people that a final epoch has waited for the acknowledgement of
// Missing for longer than the time-out. It is not aborted by that.
type Late struct {
	Barrier flow.Barrier
	Missing []flow.TaskID
}

// Complete: the final epoch is committed. The job has done what it was to do, and
// its tasks can end.
type Complete struct{ Epoch flow.Epoch }

// Fail: the attempt can't go on, because a commit failed or too many epochs in a
// row were aborted. It is said once, and nothing but NotifyCommitted and Complete
// of a commit under way follows.
type Fail struct {
	Epoch flow.Epoch
	Cause *flow.Failure
}

func (InjectBarrier) action()   {}
func (Commit) action()          {}
func (NotifyCommitted) action() {}
func (Abort) action()           {}
func (Late) action()            {}
func (Complete) action()        {}
func (Fail) action()            {}

// String is for scripts and logs.
func (a InjectBarrier) String() string {
	return fmt.Sprintf("inject %s at %s", a.Barrier, joinTasks(a.Tasks))
}

// String is for scripts and logs.
func (a Commit) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "commit %s:", a.Barrier)
	n := 0
	for _, o := range a.Operators {
		for _, c := range o.Committables {
			fmt.Fprintf(&b, " %s", c)
			n++
		}
	}
	if n == 0 {
		b.WriteString(" nothing")
	}
	return b.String()
}

// String is for scripts and logs.
func (a NotifyCommitted) String() string { return "notify committed " + a.Barrier.String() }

// String is for scripts and logs.
func (a Abort) String() string { return fmt.Sprintf("abort %s: %s", a.Barrier, a.Reason) }

// String is for scripts and logs.
func (a Late) String() string {
	return fmt.Sprintf("late %s: waiting for %s", a.Barrier, joinTasks(a.Missing))
}

// String is for scripts and logs.
func (a Complete) String() string { return fmt.Sprintf("complete with epoch %d", a.Epoch) }

// String is for scripts and logs.
func (a Fail) String() string { return "fail: " + a.Cause.Error() }

// joinTasks prints the first tasks of a list, which may have thousands.
func joinTasks(tasks []flow.TaskID) string {
	const most = 8
	var b strings.Builder
	for i, t := range tasks {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(tasks)-most)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(t.String())
	}
	return b.String()
}
