package scheduler

import (
	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/scheduler/job"
)

func apiTask(id flow.TaskID) api.Task { return api.Task{Chain: string(id.Chain), Subtask: id.Subtask} }

func taskID(t api.Task) flow.TaskID {
	return flow.TaskID{Chain: flow.ChainID(t.Chain), Subtask: t.Subtask}
}

// current reports whether a message is of the current attempt.
func (s *Scheduler) current(attempt uint64) bool {
	return attempt == s.cur.id() && !s.cur.closed
}

var taskStates = map[api.State]job.TaskState{
	api.Running: job.TaskRunning, api.Drained: job.TaskDrained, api.Finished: job.TaskFinished,
	api.Failed: job.TaskFailed, api.Cancelled: job.TaskCancelled,
}

// TaskState notes a task's new state.
func (s *Scheduler) TaskState(m *api.TaskState) {
	s.post(func() {
		if !s.current(m.Attempt) {
			return
		}
		id := taskID(m.Task)
		e := job.TaskUpdate{Task: id, Attempt: flow.Attempt(m.Attempt), State: taskStates[m.State]}
		if f := m.Failure; f != nil {
			e.Failure = failureOf(id, f)
		}
		s.sourceState(id, m.State)
		told := func() { s.step(e) }
		if e.State.Terminal() && s.cur.taskEnded(id, told) {
			return
		}
		told()
	})
}

// Ack notes that a task has handled a barrier.
func (s *Scheduler) Ack(m *api.Ack) {
	// Snapshots may be large: they are decoded on the goroutine that brings them.
	a := checkpoint.Ack{Attempt: flow.Attempt(m.Attempt), Task: taskID(m.Task), Epoch: flow.Epoch(m.Epoch)}
	a.Committables = committables(m)
	if m.Snapshot != nil {
		snap, err := checkpoint.DecodeTaskSnapshot(m.Snapshot)
		if err != nil {
			s.Decline(&api.Decline{Attempt: m.Attempt, Task: m.Task, Epoch: m.Epoch, Reason: "its snapshot cannot be read: " + err.Error()})
			return
		}
		a.Snapshot = snap
	}
	s.post(func() {
		if s.cur.epochs == nil {
			return
		}
		acts, err := s.cur.epochs.Ack(a, s.opt.Now())
		s.warn(err)
		s.do(acts)
	})
}

// failureOf is a failure as a task tells it.
func failureOf(id flow.TaskID, f *api.Failure) *flow.Failure {
	return &flow.Failure{Task: id, Operator: flow.OperatorID(f.Operator), Name: f.Name, Domain: flow.Domain(f.Domain),
		Retryable: f.Retryable, Message: f.Message, Record: f.Record, Position: f.Position, Stack: f.Stack, Cause: f.Cause}
}

// committables are what a task has prepared.
func committables(m *api.Ack) (all []checkpoint.Committable) {
	for _, p := range m.Prepared {
		c := checkpoint.Committable{Operator: flow.OperatorID(p.Operator), Subtask: m.Task.Subtask,
			Epoch: flow.Epoch(p.Epoch), Data: p.Data, Records: p.Records}
		for _, f := range p.Files {
			c.Files = append(c.Files, checkpoint.File{Name: f.Name, Blob: f.Blob, Size: f.Size, CRC: f.CRC})
		}
		all = append(all, c)
	}
	return all
}

// Decline notes that a task cannot take part in an epoch.
func (s *Scheduler) Decline(m *api.Decline) {
	s.post(func() {
		if s.cur.epochs == nil {
			return
		}
		acts, err := s.cur.epochs.Decline(checkpoint.Decline{Attempt: flow.Attempt(m.Attempt), Task: taskID(m.Task),
			Epoch: flow.Epoch(m.Epoch), Reason: m.Reason}, s.opt.Now())
		s.warn(err)
		s.do(acts)
	})
}

func (s *Scheduler) warn(err error) {
	if err != nil {
		s.opt.Log.Warn("message refused", "err", err)
	}
}
