package job

import (
	"errors"
	"fmt"
	"strings"

	"github.com/weirflow/weir/flow"
)

// TaskInfo is what the machine knows of a task of the plan.
type TaskInfo struct {
	ID flow.TaskID
	// Source says that the task has no inputs but reads splits.
	Source bool
}

// Machine is the state of one job.
type Machine struct {
	job     flow.JobID
	attempt flow.Attempt
	restart RestartPolicy
	state   State
	tasks   []task
	index   map[flow.TaskID]int

	cause    *flow.Failure // of the attempt, or of the job once it has ended
	failures int           // attempts in a row that failed

	stop      bool // the user asked for a stop
	cancel    bool // the user asked for a cancel
	suspend   bool // the cancel is to be gone on from
	stopSent  bool // StopSources was said in this attempt
	triggered bool // TriggerFinal was said in this attempt
	final     bool // the final epoch is committed
}

type task struct {
	TaskInfo
	state TaskState
}

// New makes the machine of a job that is Created. attempt numbers its first
// attempt; a nil policy is NoRestart.
func New(job flow.JobID, attempt flow.Attempt, tasks []TaskInfo, restart RestartPolicy) (*Machine, error) {
	if restart == nil {
		restart = NoRestart{}
	}
	m := &Machine{job: job, attempt: attempt, restart: restart, index: make(map[flow.TaskID]int, len(tasks))}
	source := false
	for i, t := range tasks {
		if _, twice := m.index[t.ID]; twice {
			return nil, fmt.Errorf("job %s: task %s is there twice", job, t.ID)
		}
		m.index[t.ID] = i
		m.tasks = append(m.tasks, task{TaskInfo: t})
		source = source || t.Source
	}
	if !source {
		return nil, errors.New("job " + string(job) + ": it has no source task, so that it would never end")
	}
	return m, nil
}

// Job is the job's id.
func (m *Machine) Job() flow.JobID { return m.job }

// Attempt is the number of the current attempt.
func (m *Machine) Attempt() flow.Attempt { return m.attempt }

// State is the job's state.
func (m *Machine) State() State { return m.state }

// Suspended reports whether the job is to be gone on from another time, and was not stopped
// in order.
func (m *Machine) Suspended() bool { return m.suspend && !m.final }

// Cause is the first failure of the attempt, or nil.
func (m *Machine) Cause() *flow.Failure { return m.cause }

// TaskState is the state of a task in the current attempt; false if there is no such task.
func (m *Machine) TaskState(id flow.TaskID) (TaskState, bool) {
	i, ok := m.index[id]
	if !ok {
		return 0, false
	}
	return m.tasks[i].state, true
}

// Step takes in what happened and says what to do.
func (m *Machine) Step(e Event) []Action {
	var s step
	s.m = m
	switch e := e.(type) {
	case Start:
		if m.state == Created {
			s.deploy()
		}
	case TaskUpdate:
		if e.Attempt == m.attempt {
			s.taskUpdate(e)
		}
	case Stop:
		s.stopAsked()
	case Cancel:
		s.cancelAsked(false)
	case Suspend:
		s.cancelAsked(true)
	case NothingLeft:
		if e.Attempt == m.attempt {
			s.nothingLeft()
		}
	case EpochCommitted:
		if e.Attempt == m.attempt {
			s.epochCommitted(e)
		}
	case CommitFailed:
		if e.Attempt == m.attempt {
			f := e.Failure
			if f == nil {
				f = &flow.Failure{Message: fmt.Sprintf("epoch %d can't be committed; no reason was given", e.Epoch)}
			}
			s.fail(f)
		}
	case RestartDue:
		if m.state == Restarting && e.Attempt == m.attempt+1 {
			m.attempt++
			m.cause = nil
			s.deploy()
		}
	}
	s.settle()
	return s.acts
}

// Describe prints the machine for scripts: the job's state and each task's.
func (m *Machine) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s attempt=%d", m.state, m.attempt)
	for _, f := range []struct {
		on   bool
		name string
	}{{m.stop, "stop"}, {m.cancel, "cancel"}, {m.suspend, "suspend"}, {m.triggered, "triggered"}, {m.final, "final"}} {
		if f.on {
			b.WriteString(" " + f.name)
		}
	}
	if m.failures > 0 {
		fmt.Fprintf(&b, " failures=%d", m.failures)
	}
	for _, t := range m.tasks {
		fmt.Fprintf(&b, "\n  %s: %s", t.ID, t.state)
	}
	return b.String()
}
