package fleet

import (
	"errors"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
)

// Deploy splits the deployment over the executors. That there is no room is an error;
// what an executor refuses comes back as failures of its tasks, so that those of the
// others are cancelled in order.
func (f *Fleet) Deploy(m *api.Deploy) error {
	f.mu.Lock()
	parts, err := f.mu.roster.Deploy(m)
	workers := make([]api.Worker, len(parts))
	for i, p := range parts {
		workers[i] = f.mu.workers[p.To]
	}
	f.mu.Unlock()
	if err != nil {
		return &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Message: err.Error(), Cause: err}
	}
	for i, p := range parts {
		if err := workers[i].Deploy(p.Deploy); err != nil {
			Refused(&reports{f, p.To}, p.Deploy, err)
		}
	}
	return nil
}

// Refused reports the tasks of a deployment that a worker has refused.
func Refused(s api.Scheduler, m *api.Deploy, err error) {
	failure := &api.Failure{Domain: uint8(flow.DomainUser), Message: err.Error(), Cause: err}
	if f, ok := errors.AsType[*flow.Failure](err); ok {
		failure.Operator, failure.Name, failure.Domain, failure.Retryable = string(f.Operator), f.Name, uint8(f.Domain), f.Retryable
	}
	for _, t := range m.Tasks {
		s.TaskState(&api.TaskState{Attempt: m.Attempt, Task: t, State: api.Failed, Failure: failure})
	}
}

// all calls do with each executor.
func (f *Fleet) all(do func(api.Worker)) {
	f.mu.Lock()
	ids := f.mu.roster.All()
	workers := make([]api.Worker, len(ids))
	for i, id := range ids {
		workers[i] = f.mu.workers[id]
	}
	f.mu.Unlock()
	for _, w := range workers {
		do(w)
	}
}

// one calls do with the executor that has the task.
func (f *Fleet) one(attempt uint64, t api.Task, do func(api.Worker)) {
	f.mu.Lock()
	id, ok := f.mu.roster.Owner(attempt, t)
	w := f.mu.workers[id]
	f.mu.Unlock()
	if ok {
		do(w)
	}
}

// some calls do with each executor that has one of the tasks; with all, and nil, where no
// task is named.
func (f *Fleet) some(attempt uint64, tasks []api.Task, do func(api.Worker, []api.Task)) {
	if tasks == nil {
		f.all(func(w api.Worker) { do(w, nil) })
		return
	}
	f.mu.Lock()
	shares, _ := f.mu.roster.Split(attempt, tasks)
	workers := make([]api.Worker, len(shares))
	for i, s := range shares {
		workers[i] = f.mu.workers[s.To]
	}
	f.mu.Unlock()
	for i, s := range shares {
		do(workers[i], s.Tasks)
	}
}

// InjectBarrier goes to the executors of source tasks.
func (f *Fleet) InjectBarrier(m *api.InjectBarrier) {
	f.some(m.Attempt, m.Tasks, func(w api.Worker, tasks []api.Task) {
		part := *m
		part.Tasks = tasks
		w.InjectBarrier(&part)
	})
}

// AbortEpoch goes to all.
func (f *Fleet) AbortEpoch(m *api.AbortEpoch) { f.all(func(w api.Worker) { w.AbortEpoch(m) }) }

// Committed goes to all.
func (f *Fleet) Committed(m *api.Committed) { f.all(func(w api.Worker) { w.Committed(m) }) }

// AddSplits goes to the executor that has the task.
func (f *Fleet) AddSplits(m *api.AddSplits) {
	f.one(m.Attempt, m.Task, func(w api.Worker) { w.AddSplits(m) })
}

// NoMoreSplits goes to the executor that has the task.
func (f *Fleet) NoMoreSplits(m *api.NoMoreSplits) {
	f.one(m.Attempt, m.Task, func(w api.Worker) { w.NoMoreSplits(m) })
}

// NoSplitYet goes to the executor that has the task.
func (f *Fleet) NoSplitYet(m *api.NoSplitYet) {
	f.one(m.Attempt, m.Task, func(w api.Worker) { w.NoSplitYet(m) })
}

// Align goes to all.
func (f *Fleet) Align(m *api.Align) { f.all(func(w api.Worker) { w.Align(m) }) }

// StopSources goes to all.
func (f *Fleet) StopSources(m *api.StopSources) { f.all(func(w api.Worker) { w.StopSources(m) }) }

// FinishTasks goes to the executors of the tasks.
func (f *Fleet) FinishTasks(m *api.FinishTasks) {
	f.some(m.Attempt, m.Tasks, func(w api.Worker, tasks []api.Task) {
		w.FinishTasks(&api.FinishTasks{Attempt: m.Attempt, Tasks: tasks})
	})
}

// CancelTasks goes to the executors of the tasks. Tasks of one that has left were
// reported when it left; those that were never deployed are answered here.
func (f *Fleet) CancelTasks(m *api.CancelTasks) {
	f.mu.Lock()
	unknown := f.mu.roster.Unknown(m.Attempt, m.Tasks)
	s := f.mu.scheduler
	f.mu.Unlock()
	f.some(m.Attempt, m.Tasks, func(w api.Worker, tasks []api.Task) {
		w.CancelTasks(&api.CancelTasks{Attempt: m.Attempt, Tasks: tasks})
	})
	for _, t := range unknown {
		s.TaskState(&api.TaskState{Attempt: m.Attempt, Task: t, State: api.Cancelled})
	}
}

var _ api.Worker = (*Fleet)(nil)
