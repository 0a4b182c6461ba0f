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

// Audit says what a broken balance of the books does.
type Audit uint8

const (
	// AuditStop fails the job, before anything of the epoch is committed.
	AuditStop Audit = iota
	// AuditWarn logs it, and goes on.
	AuditWarn
	// AuditOff compares nothing.
	AuditOff
)

// Options configure a Scheduler.
type Options struct {
	Job    flow.JobID
	Plan   *graph.Plan
	Epochs checkpoint.Options
	// Restart decides what follows a failed attempt. Default: the job fails.
	Restart job.RestartPolicy
	// Storage keeps epochs. Where it is nil, they only commit sinks, and an attempt
	// starts anew.
	Storage Storage
	// Staging keeps files of sinks for an attempt.
	Staging func(at flow.Attempt) operator.Staging
	// From is a savepoint that the job starts from while it has no epoch of its own.
	From *checkpoint.Manifest
	// Fresh gives up the epochs that the job has, and starts it anew.
	Fresh bool
	// AllowDroppedState goes on without state of which the plan has no operator.
	AllowDroppedState bool
	// Audit is about the books. Default AuditStop.
	Audit Audit
	// Graph and Engine go into manifests: the graph's stable form, and the release.
	Graph  []byte
	Engine string
	// Await, where set, waits until an attempt can be deployed: until there are slots, say.
	// It is called beside the loop, when the attempt was restored; an error ends the
	// attempt, and ctx ends when the job is cancelled.
	Await func(ctx context.Context) error
	// Patience is how long a commit that fails because of something outside is tried
	// before the attempt fails. Default 10 s.
	Patience time.Duration
	Log      *slog.Logger
	Now      func() flow.Time
	// Listener is told what happens, on the scheduler's goroutine. Its functions
	// must not block; those that are nil are not called.
	Listener Listener
}

// Listener is told what happens to a job.
type Listener struct {
	State func(s job.State, cause *flow.Failure)
	// Injected tells that an epoch's barrier goes to the sources, Acknowledged that all
	// tasks have handed over what they held at it: it can be committed.
	Injected     func(b flow.Barrier)
	Acknowledged func(b flow.Barrier, tasks []checkpoint.TaskSnapshot)
	Committed    func(b flow.Barrier)
	Aborted      func(b flow.Barrier, reason string)
	// Restored tells what an attempt starts from.
	Restored func(Restored)
	// Restarting tells that attempt next begins after delay.
	Restarting func(next flow.Attempt, delay time.Duration, cause *flow.Failure)
}

// Scheduler runs one job. It implements api.Scheduler.
type Scheduler struct {
	opt     Options
	worker  api.Worker
	machine *job.Machine
	infos   []job.TaskInfo
	// tasks are all tasks of the plan, heads those of sources.
	tasks, heads []flow.TaskID
	apiTasks     []api.Task
	cur          *attempt
	first        flow.Attempt // the number of the first attempt
	claimed      Claimed      // with the first attempt

	keeper *keeper
	wishes wishes
	side   sync.WaitGroup
	ctx    context.Context // of what runs beside the loop
	cancel context.CancelFunc

	inbox
	over chan struct{} // closed when Run returns
}

// New makes a scheduler. Run must be called with a worker that reports to it.
func New(opt Options) (*Scheduler, error) {
	if opt.Patience == 0 {
		opt.Patience = 10 * time.Second
	}
	s := &Scheduler{opt: opt, inbox: newInbox(), over: make(chan struct{}), first: 1}
	for i := range opt.Plan.Chains {
		c := &opt.Plan.Chains[i]
		for sub := range c.Parallelism {
			id := flow.TaskID{Chain: c.ID, Subtask: sub}
			s.infos = append(s.infos, job.TaskInfo{ID: id, Source: len(c.Inputs) == 0})
			s.tasks = append(s.tasks, id)
			s.apiTasks = append(s.apiTasks, apiTask(id))
			if len(c.Inputs) == 0 {
				s.heads = append(s.heads, id)
			}
		}
	}
	var err error
	if s.machine, err = job.New(opt.Job, s.first, s.infos, opt.Restart); err != nil {
		return nil, err
	}
	// What is wrong with the epochs' options is said here, not when they begin.
	if _, err = checkpoint.NewCoordinator(s.first, s.tasks, s.heads, opt.Epochs); err != nil {
		return nil, err
	}
	s.cur, err = s.newAttempt(s.first)
	return s, err
}

// Run runs the job to its end. It returns nil when the input was worked off,
// ErrStopped or ErrCancelled when that was asked for, and the *flow.Failure
// otherwise. When ctx ends the job is cancelled.
func (s *Scheduler) Run(ctx context.Context, w api.Worker) error {
	s.worker = w
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer s.finish()
	if err := s.prepare(ctx); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, s.Cancel)
	defer stop()
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
		if e := s.cur.epochs; e != nil && !s.cur.closed {
			s.do(e.Tick(s.opt.Now()))
			if next, ok := e.Next(); ok {
				timer.Reset(time.Duration(next-s.opt.Now()) * time.Microsecond)
			}
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

// prepare claims the job's storage, where it has one.
func (s *Scheduler) prepare(ctx context.Context) error {
	if s.opt.Storage == nil {
		return nil
	}
	var err error
	if s.claimed, err = s.opt.Storage.Claim(ctx, 0, s.opt.Fresh); err != nil {
		return storageFailure("claiming the job", err)
	}
	at := s.claimed.Attempt
	s.first = at
	if s.machine, err = job.New(s.opt.Job, at, s.infos, s.opt.Restart); err != nil {
		return err
	}
	s.keeper = newKeeper(ctx, s)
	go s.keeper.run()
	s.cur, err = s.newAttempt(at)
	return err
}

// finish ends what runs beside the loop, and answers those who wait.
func (s *Scheduler) finish() {
	if s.keeper != nil {
		s.keeper.end(s.machine.State() == job.Finished || s.machine.State() == job.Stopped)
	}
	s.cancel()
	if s.cur != nil {
		s.cur.side.Wait()
	}
	s.side.Wait()
	close(s.over)
}

// Stop ends the sources and lets what was accepted be finished.
func (s *Scheduler) Stop() { s.post(func() { s.step(job.Stop{}) }) }

// Cancel ends the job as it is.
func (s *Scheduler) Cancel() { s.post(func() { s.step(job.Cancel{}) }) }

// step tells the machine what happened and does what it says.
func (s *Scheduler) step(e job.Event) {
	var cancel []api.Task
	deploy := false
	for _, a := range s.machine.Step(e) {
		switch a := a.(type) {
		case job.DeployTask:
			deploy = true
		case job.CancelTask:
			cancel = append(cancel, apiTask(a.Task))
		case job.StopSources:
			s.worker.StopSources(&api.StopSources{Attempt: s.cur.id()})
		case job.TriggerFinal:
			// A job that was stopped while it was deployed has never been Running. Its
			// sources have ended: splits that were given to them now would be forgotten.
			s.cur.startEpochs()
			acts, err := s.cur.epochs.Trigger(flow.BarrierFinal, s.opt.Now())
			if err != nil {
				s.opt.Log.Error("final epoch refused", "err", err)
			}
			s.do(acts)
		case job.FinishTasks:
			s.worker.FinishTasks(&api.FinishTasks{Attempt: s.cur.id()})
		case job.Changed:
			s.changed(a)
		case job.ScheduleRestart:
			s.restart(a)
		}
	}
	if len(cancel) > 0 {
		s.cur.cancelTasks(cancel)
	}
	if deploy {
		s.deploy()
	}
}

// deploy begins the machine's attempt.
func (s *Scheduler) deploy() {
	if s.cur.number != s.machine.Attempt() {
		a, err := s.newAttempt(s.machine.Attempt())
		if err != nil {
			panic("scheduler: the plan was good for an earlier attempt: " + err.Error())
		}
		s.cur = a
	}
	s.cur.begin(s.ctx)
}

// restart begins the next attempt when all of this one is gone and its time has come.
func (s *Scheduler) restart(a job.ScheduleRestart) {
	old := s.cur
	if s.opt.Listener.Restarting != nil {
		s.opt.Listener.Restarting(a.Attempt, a.Delay, s.machine.Cause())
	}
	s.opt.Log.Info("restarting", "attempt", a.Attempt, "after", a.Delay, "cause", s.machine.Cause())
	s.side.Add(1)
	go func() {
		defer s.side.Done()
		old.side.Wait()
		t := time.NewTimer(a.Delay)
		defer t.Stop()
		select {
		case <-t.C:
			s.post(func() { s.step(job.RestartDue{Attempt: a.Attempt}) })
		case <-s.ctx.Done():
		}
	}()
}

func (s *Scheduler) changed(a job.Changed) {
	switch a.State {
	case job.Running:
		s.cur.begun()
	case job.Failing:
		s.abandonSuspend()
	case job.Restarting, job.Finished, job.Stopped, job.Cancelled, job.Failed:
		s.savepointsLost(a)
		if s.cur.cancel != nil {
			s.cur.close()
		}
	}
	attrs := []any{"state", a.State.String(), "attempt", s.machine.Attempt()}
	if a.Cause != nil {
		attrs = append(attrs, "cause", a.Cause.Error())
	}
	s.opt.Log.Debug("job", attrs...)
	if s.opt.Listener.State != nil {
		s.opt.Listener.State(a.State, a.Cause)
	}
}

// failJob ends the attempt because of something beside the tasks.
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
