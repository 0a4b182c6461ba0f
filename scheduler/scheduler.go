package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/scheduler/job"
)

// ErrStopped is returned by Run when the job was stopped before its input ended.
// Callers may use errors.Is.
var ErrStopped = errors.New("the job was stopped before its input ended")

// ErrCancelled is returned by Run when the job was cancelled.
var ErrCancelled = errors.New("the job was cancelled")

// Options configure a Scheduler.
type Options struct {
	Job    flow.JobID
	Plan   *graph.Plan
	Epochs checkpoint.Options
	Log    *slog.Logger
	Now    func() flow.Time
	// Listener is told what happens, on the scheduler's goroutine. Its functions
	// must not block; those that are nil are not called.
	Listener Listener
}

// Listener is told what happens to a job.
type Listener struct {
	State     func(s job.State, cause *flow.Failure)
	Committed func(b flow.Barrier)
	Aborted   func(b flow.Barrier, reason string)
}

// Scheduler runs one job. It implements api.Scheduler.
type Scheduler struct {
	opt     Options
	worker  api.Worker
	machine *job.Machine
	epochs  *checkpoint.Coordinator
	sources map[flow.OperatorID]*source
	aligned map[string]*alignment
	commits *committers
	started bool // the coordinator
	side    sync.WaitGroup
	ctx     context.Context // of what runs beside the loop
	cancel  context.CancelFunc

	inbox struct {
		sync.Mutex
		queue []func()
	}
	wake chan struct{}
}

// New makes a scheduler. Run must be called with a worker that reports to it.
func New(opt Options) (*Scheduler, error) {
	s := &Scheduler{opt: opt, wake: make(chan struct{}, 1), sources: map[flow.OperatorID]*source{}, aligned: map[string]*alignment{}}
	var infos []job.TaskInfo
	var tasks, heads []flow.TaskID
	for i := range opt.Plan.Chains {
		c := &opt.Plan.Chains[i]
		isSource := len(c.Inputs) == 0
		for sub := range c.Parallelism {
			id := flow.TaskID{Chain: c.ID, Subtask: sub}
			infos = append(infos, job.TaskInfo{ID: id, Source: isSource})
			tasks = append(tasks, id)
			if isSource {
				heads = append(heads, id)
			}
		}
		if isSource {
			if err := s.addSource(c); err != nil {
				return nil, err
			}
		}
	}
	var err error
	if s.machine, err = job.New(opt.Job, 1, infos, job.NoRestart{}); err != nil {
		return nil, err
	}
	if s.epochs, err = checkpoint.NewCoordinator(1, tasks, heads, opt.Epochs); err != nil {
		return nil, err
	}
	s.commits, err = newCommitters(opt.Plan)
	return s, err
}

// Run runs the job to its end. It returns nil when the input was worked off,
// ErrStopped or ErrCancelled when that was asked for, and the *flow.Failure
// otherwise. When ctx ends the job is cancelled.
func (s *Scheduler) Run(ctx context.Context, w api.Worker) error {
	s.worker = w
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, s.Cancel)
	defer stop()
	defer s.side.Wait()
	defer s.cancel()
	s.commits.start(s)
	s.step(job.Start{})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !s.machine.State().Terminal() {
		for _, f := range s.take() {
			f()
		}
		if s.machine.State().Terminal() {
			break
		}
		s.do(s.epochs.Tick(s.opt.Now()))
		if next, ok := s.epochs.Next(); ok {
			timer.Reset(time.Duration(next-s.opt.Now()) * time.Microsecond)
		}
		select {
		case <-s.wake:
		case <-timer.C:
		}
	}
	switch cause := s.machine.Cause(); s.machine.State() {
	case job.Finished:
		return nil
	case job.Stopped:
		return ErrStopped
	case job.Cancelled:
		return ErrCancelled
	default:
		return cause
	}
}

// Stop ends the sources and lets what was accepted be finished.
func (s *Scheduler) Stop() { s.post(func() { s.step(job.Stop{}) }) }

// Cancel ends the job as it is.
func (s *Scheduler) Cancel() { s.post(func() { s.step(job.Cancel{}) }) }

func (s *Scheduler) post(f func()) {
	s.inbox.Lock()
	s.inbox.queue = append(s.inbox.queue, f)
	s.inbox.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Scheduler) take() []func() {
	s.inbox.Lock()
	defer s.inbox.Unlock()
	q := s.inbox.queue
	s.inbox.queue = nil
	return q
}

// attempt is the number that messages carry.
func (s *Scheduler) attempt() uint64 { return uint64(s.machine.Attempt()) }

// step tells the machine what happened and does what it says.
func (s *Scheduler) step(e job.Event) {
	var deploy, cancel []api.Task
	for _, a := range s.machine.Step(e) {
		switch a := a.(type) {
		case job.DeployTask:
			deploy = append(deploy, apiTask(a.Task))
		case job.CancelTask:
			cancel = append(cancel, apiTask(a.Task))
		case job.StopSources:
			s.worker.StopSources(&api.StopSources{Attempt: s.attempt()})
		case job.TriggerFinal:
			// A job that was stopped while it was deployed has never been Running.
			s.startEpochs()
			acts, err := s.epochs.Trigger(flow.BarrierFinal, s.opt.Now())
			if err != nil {
				s.opt.Log.Error("final epoch refused", "err", err)
			}
			s.do(acts)
		case job.FinishTasks:
			s.worker.FinishTasks(&api.FinishTasks{Attempt: s.attempt()})
		case job.Changed:
			s.changed(a)
		case job.ScheduleRestart:
			// The policy is NoRestart.
			panic("scheduler: restart scheduled without a policy that restarts")
		}
	}
	if len(cancel) > 0 {
		s.do(s.epochs.Stop(s.opt.Now(), "tasks are cancelled"))
		s.worker.CancelTasks(&api.CancelTasks{Attempt: s.attempt(), Tasks: cancel})
	}
	if len(deploy) > 0 {
		s.deploy(deploy)
	}
}

func (s *Scheduler) deploy(tasks []api.Task) {
	err := s.worker.Deploy(&api.Deploy{Job: string(s.opt.Job), Attempt: s.attempt(), Tasks: tasks})
	if err == nil {
		return
	}
	f := &flow.Failure{Domain: flow.DomainUser, Message: err.Error(), Cause: err}
	for _, t := range tasks {
		s.step(job.TaskUpdate{Task: taskID(t), Attempt: s.machine.Attempt(), State: job.TaskFailed, Failure: f})
	}
}

func (s *Scheduler) changed(a job.Changed) {
	if a.State == job.Running {
		s.startEpochs()
	}
	attrs := []any{"state", a.State.String()}
	if a.Cause != nil {
		attrs = append(attrs, "cause", a.Cause.Error())
	}
	s.opt.Log.Debug("job", attrs...)
	if s.opt.Listener.State != nil {
		s.opt.Listener.State(a.State, a.Cause)
	}
}

// startEpochs tells the coordinator, once, that all tasks run.
func (s *Scheduler) startEpochs() {
	if !s.started {
		s.started = true
		s.do(s.epochs.Start(s.opt.Now()))
	}
}

// do does what the coordinator says.
func (s *Scheduler) do(acts []checkpoint.Action) {
	for _, a := range acts {
		switch a := a.(type) {
		case checkpoint.InjectBarrier:
			m := &api.InjectBarrier{Attempt: s.attempt(), Epoch: uint64(a.Barrier.Epoch), Kind: uint8(a.Barrier.Kind)}
			for _, t := range a.Tasks {
				m.Tasks = append(m.Tasks, apiTask(t))
			}
			s.worker.InjectBarrier(m)
		case checkpoint.Commit:
			s.commits.put(a)
		case checkpoint.NotifyCommitted:
			s.worker.Committed(&api.Committed{Attempt: s.attempt(), Epoch: uint64(a.Barrier.Epoch)})
			if s.opt.Listener.Committed != nil {
				s.opt.Listener.Committed(a.Barrier)
			}
			s.step(job.EpochCommitted{Attempt: s.machine.Attempt(), Epoch: a.Barrier.Epoch, Final: a.Barrier.Kind == flow.BarrierFinal})
		case checkpoint.Abort:
			s.worker.AbortEpoch(&api.AbortEpoch{Attempt: s.attempt(), Epoch: uint64(a.Barrier.Epoch)})
			s.opt.Log.Warn("epoch aborted", "epoch", a.Barrier.Epoch, "reason", a.Reason)
			if s.opt.Listener.Aborted != nil {
				s.opt.Listener.Aborted(a.Barrier, a.Reason)
			}
		case checkpoint.Late:
			s.opt.Log.Warn("final epoch is late", "epoch", a.Barrier.Epoch, "missing", fmt.Sprint(a.Missing))
		case checkpoint.Fail:
			s.step(job.CommitFailed{Attempt: s.machine.Attempt(), Epoch: a.Epoch, Failure: flow.FailureOf(a.Cause)})
		case checkpoint.Complete:
		}
	}
}

func apiTask(id flow.TaskID) api.Task { return api.Task{Chain: string(id.Chain), Subtask: id.Subtask} }

func taskID(t api.Task) flow.TaskID {
	return flow.TaskID{Chain: flow.ChainID(t.Chain), Subtask: t.Subtask}
}

// current reports whether a message is of the current attempt.
func (s *Scheduler) current(attempt uint64) bool { return attempt == s.attempt() }

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
			e.Failure = &flow.Failure{Task: id, Operator: flow.OperatorID(f.Operator), Name: f.Name, Domain: flow.Domain(f.Domain),
				Retryable: f.Retryable, Message: f.Message, Stack: f.Stack, Cause: f.Cause}
		}
		s.sourceState(id, m.State)
		s.step(e)
	})
}

// Ack notes that a task has handled a barrier.
func (s *Scheduler) Ack(m *api.Ack) {
	s.post(func() {
		a := checkpoint.Ack{Attempt: flow.Attempt(m.Attempt), Task: taskID(m.Task), Epoch: flow.Epoch(m.Epoch)}
		for _, p := range m.Prepared {
			a.Committables = append(a.Committables, checkpoint.Committable{Operator: flow.OperatorID(p.Operator), Subtask: m.Task.Subtask,
				Epoch: flow.Epoch(p.Epoch), Data: p.Data})
		}
		acts, err := s.epochs.Ack(a, s.opt.Now())
		s.warn(err)
		s.do(acts)
	})
}

// Decline notes that a task cannot take part in an epoch.
func (s *Scheduler) Decline(m *api.Decline) {
	s.post(func() {
		acts, err := s.epochs.Decline(checkpoint.Decline{Attempt: flow.Attempt(m.Attempt), Task: taskID(m.Task),
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

// failJob ends the job because of something beside the tasks.
func (s *Scheduler) failJob(op *graph.Operator, what string, err error) {
	f := *flow.FailureOf(err)
	if f.Cause == nil {
		f.Cause = err
	}
	var given *flow.Failure
	if !errors.As(err, &given) {
		f.Domain, f.Retryable = flow.DomainExternal, true
	}
	f.Operator, f.Name, f.Message = op.ID, op.Name, what+": "+f.Text()
	s.step(job.CommitFailed{Attempt: s.machine.Attempt(), Failure: &f})
}

var _ api.Scheduler = (*Scheduler)(nil)

// implOf is the implementation of an operator.
func implOf(o *graph.Operator) (*operator.Impl, error) {
	impl, ok := o.Impl.(*operator.Impl)
	if !ok {
		return nil, fmt.Errorf("operator %q (%s) has no implementation here but %T", o.Name, o.ID, o.Impl)
	}
	return impl, nil
}
