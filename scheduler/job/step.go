package job

import (
	"fmt"

	"github.com/weirflow/weir/flow"
)

// step is one call of [Machine.Step]: it gathers the actions. Events change what
// is known and say what follows directly; settle then makes the transitions that
// follow from the tasks' states, as many as there are, since a short job
// may go from Deploying to its final epoch with one event.
type step struct {
	m    *Machine
	acts []Action
}

func (s *step) do(a Action) { s.acts = append(s.acts, a) }

func (s *step) to(state State) {
	s.m.state = state
	s.do(Changed{state, s.m.cause})
}

// deploy starts all tasks of the machine's attempt.
func (s *step) deploy() {
	m := s.m
	m.stopSent, m.triggered, m.final = false, false, false
	if m.stop {
		s.to(Stopping)
	} else {
		s.to(Deploying)
	}
	for i := range m.tasks {
		m.tasks[i].state = TaskDeploying
		s.do(DeployTask{m.tasks[i].ID, m.attempt})
	}
}

func (s *step) taskUpdate(e TaskUpdate) {
	m := s.m
	i, ok := m.index[e.Task]
	if !ok || e.State > TaskCancelled {
		return
	}
	t := &m.tasks[i]
	// A task's states only go forward; what comes late or twice is old news. And
	// a task that was never deployed has no news.
	if t.state == TaskCreated || t.state.Terminal() || e.State <= t.state {
		return
	}
	t.state = e.State
	switch e.State {
	case TaskFailed:
		f := e.Failure
		if f == nil {
			f = &flow.Failure{Message: "it failed; no reason was given"}
		}
		if f.Task == (flow.TaskID{}) {
			g := *f
			g.Task = e.Task
			f = &g
		}
		s.fail(f)
	case TaskFinished:
		if !m.final {
			s.fail(&flow.Failure{Task: e.Task, Message: "it finished before the final epoch was committed"})
		}
	case TaskCancelled:
		if !m.final {
			s.fail(&flow.Failure{Task: e.Task, Retryable: true, Message: "it was cancelled, and not by the job"})
		}
	}
}

// fail takes in a failure: the first one of an attempt ends it, those that follow
// from that or from a cancel are none.
func (s *step) fail(f *flow.Failure) {
	m := s.m
	switch m.state {
	case Deploying, Running, Finishing, Stopping:
		if m.cause == nil {
			m.cause = f
		}
		if m.final {
			// The results are out. The other tasks are told to finish already.
			return
		}
		s.to(Failing)
		s.cancelTasks()
	}
}

func (s *step) cancelTasks() {
	for i := range s.m.tasks {
		if t := &s.m.tasks[i]; !t.state.Terminal() {
			s.do(CancelTask{t.ID, s.m.attempt})
		}
	}
}

func (s *step) stopAsked() {
	m := s.m
	switch m.state {
	case Created:
		m.stop = true
		s.endCreated(Stopped)
	case Deploying, Running:
		m.stop = true
		s.to(Stopping)
	case Failing, Restarting:
		// The next attempt will stop as soon as it is deployed: what the job has
		// accepted is only finished by running on from the last epoch.
		m.stop = true
	}
}

// cancelAsked ends the job. With suspend it will be gone on from another time: it
// ends as Stopped.
func (s *step) cancelAsked(suspend bool) {
	m := s.m
	switch m.state {
	case Created:
		m.cancel, m.suspend = true, suspend
		s.endCreated(s.cancelled())
	case Deploying, Running, Finishing, Stopping:
		m.cancel, m.suspend = true, suspend
		if !m.final {
			s.to(Cancelling)
		}
		s.cancelTasks()
	case Failing:
		m.suspend = suspend && (m.suspend || !m.cancel)
		m.cancel = true
	case Restarting:
		m.cancel, m.suspend = true, suspend
		s.to(s.cancelled())
	}
}

// cancelled is the state in which a cancelled job ends.
func (s *step) cancelled() State {
	if s.m.suspend {
		return Stopped
	}
	return Cancelled
}

// nothingLeft ends an attempt that has no work.
func (s *step) nothingLeft() {
	m := s.m
	if m.state != Deploying && m.state != Stopping {
		return
	}
	for i := range m.tasks {
		if m.tasks[i].state != TaskDeploying {
			return
		}
	}
	for i := range m.tasks {
		m.tasks[i].state = TaskFinished
	}
	m.triggered, m.final = true, true
	if m.state == Deploying {
		s.to(Finishing)
	}
}

// endCreated ends a job that was never started.
func (s *step) endCreated(state State) {
	for i := range s.m.tasks {
		s.m.tasks[i].state = TaskCancelled
	}
	s.to(state)
}

func (s *step) epochCommitted(e EpochCommitted) {
	m := s.m
	switch m.state {
	case Deploying, Running, Finishing, Stopping, Cancelling, Failing:
		m.failures = 0
		if !e.Final || !m.triggered || m.final {
			return
		}
		m.final = true
		if m.state == Finishing || m.state == Stopping {
			s.do(FinishTasks{m.attempt})
		}
	}
}

// settle makes the transitions that follow from the states of the tasks.
func (s *step) settle() {
	m := s.m
	sources, all := TaskCancelled, TaskCancelled // the least states
	for i := range m.tasks {
		t := &m.tasks[i]
		all = min(all, t.state)
		if t.Source {
			sources = min(sources, t.state)
		}
	}
	if m.state == Deploying && all >= TaskRunning {
		s.to(Running)
	}
	if m.state == Running && sources >= TaskDrained {
		s.to(Finishing)
	}
	if m.state == Stopping && all >= TaskRunning && !m.stopSent {
		m.stopSent = true
		if sources < TaskDrained {
			s.stopSources()
		}
	}
	if (m.state == Finishing || m.state == Stopping) && all >= TaskDrained && !m.triggered {
		m.triggered = true
		s.do(TriggerFinal{m.attempt})
	}
	if all < TaskFinished {
		return
	}
	switch m.state {
	case Finishing, Stopping, Cancelling, Failing:
		s.end()
	}
}

func (s *step) stopSources() {
	var a StopSources
	for i := range s.m.tasks {
		if t := &s.m.tasks[i]; t.Source && t.state < TaskDrained {
			a.Tasks = append(a.Tasks, t.ID)
		}
	}
	s.do(a)
}

// end closes the attempt, all of whose tasks have ended.
func (s *step) end() {
	m := s.m
	switch {
	case m.final && m.stop:
		s.to(Stopped)
	case m.final:
		s.to(Finished)
	case m.state == Cancelling:
		s.to(s.cancelled())
	case m.state == Failing:
		m.failures++
		d := m.restart.Decide(m.failures, m.cause)
		switch {
		case d.Restart && m.cancel:
			s.to(s.cancelled())
		case d.Restart:
			s.to(Restarting)
			s.do(ScheduleRestart{m.attempt + 1, d.Delay})
		default:
			if d.Why != "" {
				f := *m.cause
				f.Message = f.Text() + " (" + d.Why + ")"
				m.cause = &f
			}
			s.to(Failed)
		}
	default:
		panic(fmt.Sprintf("job %s: all tasks ended in %s without a final epoch and without a failure", m.job, m.state))
	}
}
