package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/scheduler/fleet"
)

// Coordinator is the process of a job that runs its scheduler. Executors dial it; where
// it has slots it runs tasks too.
//
//	scheduler ─► fleet ─┬─► worker, here
//	                    └─► rpc.Executor ═══► executor processes
type Coordinator struct {
	*Steering
	opt    Options
	member Member
	plan   *graph.Plan
	report *reporter

	rescaling *rescaling
	// What ends the job although it was to get another parallelism.
	cancelled, suspended atomic.Bool
}

// NewCoordinator makes the coordinator of a job that Run runs. report is told what is new
// of the job; it must not block. It does no I/O.
func NewCoordinator(plan *graph.Plan, opt Options, m Member, report func(api.JobReport)) (*Coordinator, error) {
	opt, err := distributed(plan, opt, &m)
	if err != nil {
		return nil, err
	}
	return &Coordinator{Steering: newSteering(), opt: opt, member: m, plan: plan, report: newReporter(slots(plan), report),
		rescaling: newRescaling()}, nil
}

// Cancel ends the job as it is.
func (c *Coordinator) Cancel() {
	c.cancelled.Store(true)
	c.Steering.Cancel()
}

// Suspend ends the job so that it can go on another time; see scheduler.Scheduler.Suspend.
func (c *Coordinator) Suspend(savepoint string) {
	c.suspended.Store(true)
	c.Steering.Suspend(savepoint)
}

// distributed fills options and member of a process of a job with several.
func distributed(plan *graph.Plan, opt Options, m *Member) (_ Options, err error) {
	m.ensureDefaults()
	if err := m.validate(); err != nil {
		return opt, err
	}
	if m.Hello.Fingerprint, err = Fingerprint(plan); err != nil {
		return opt, err
	}
	opt.inBatch(plan, m.Hello.Slots)
	soon := opt.Restart == nil && opt.State.durable()
	opt.EnsureDefaults()
	if soon {
		opt.Restart = restartSoon(opt.Seed, opt.Now)
	}
	opt.State.Work = workDirOf(m)
	return opt, opt.State.Validate()
}

// Run claims the job and runs it to its end; see scheduler.Scheduler.Run. Executors are
// told when the job has ended; they are not when ctx has, or when another coordinator
// has taken over: then the job goes on there.
func (c *Coordinator) Run(ctx context.Context) error {
	// When ctx ends the job is cancelled here, which is nobody's wish and not to be told.
	parent := ctx
	ctx, leave := context.WithCancelCause(context.WithoutCancel(parent))
	defer leave(nil)
	defer context.AfterFunc(parent, func() {
		c.report.mute()
		leave(context.Cause(parent))
	})()
	d, err := openState(ctx, c.opt, coordinates)
	if err != nil {
		return err
	}
	defer d.closeOr(c.opt.Log)
	x, err := newExchange(&c.member, c.opt.Log)
	if err != nil {
		return err
	}
	defer x.closeOr(c.opt.Log)
	c.member.Hello.Data = x.addr
	wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	at := newAgents(wctx, &c.member)
	defer at.closeOr(c.opt.Log)
	f, run, err := c.control(d, at)
	if err != nil {
		return err
	}
	var w *elastic
	if c.member.Hello.Slots > 0 {
		to := &relay{}
		w = newElastic(c.plan, c.opt.Check, func(p *graph.Plan) waited { return x.worker(wctx, d, p, to, at) })
		_, to.Scheduler = f.Join(w, c.member.Hello)
	}
	server, serving, err := c.serve(f)
	if err != nil {
		return err
	}
	err = run(ctx)
	if ctx.Err() == nil && !errors.Is(err, store.ErrFenced) {
		server.Over(ending(err))
	}
	server.Close()
	serr := <-serving
	cancel()
	if w != nil {
		w.Wait()
	}
	switch {
	case errors.Is(err, scheduler.ErrCancelled) && ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		return serr
	}
	return err
}

// run runs one scheduler after the other, each with the parallelism that is wanted then.
func (c *Coordinator) run(ctx context.Context, d *durable, f *fleet.Fleet, s *scheduler.Scheduler) error {
	defer c.between(false)
	for plan := c.plan; ; {
		c.begin(s)
		rctx, cancel := context.WithCancel(ctx)
		over := make(chan struct{})
		go func() {
			defer close(over)
			c.rescales(rctx, s, plan, f)
		}()
		err := s.Run(ctx, f)
		cancel()
		<-over
		next := c.follows(ctx, s, err)
		c.between(next != nil)
		if next == nil {
			c.report.between(false)
			return err
		}
		d.opt.State.Fresh = false
		if s, err = c.scheduler(d, f, next); err != nil {
			return err
		}
		plan = next
		if c.opt.Planned != nil {
			c.opt.Planned(plan)
		}
		c.report.scaled(slots(plan))
	}
}

// ending says how a job has ended.
func ending(err error) string {
	switch {
	case err == nil:
		return "it has finished"
	case errors.Is(err, scheduler.ErrStopped):
		return "it was stopped"
	case errors.Is(err, scheduler.ErrCancelled):
		return "it was cancelled"
	}
	return "it has failed: " + err.Error()
}

// members are a job's executors: those of a fleet, or a scheduler's own in batch mode.
type members interface {
	Join(api.Worker, api.Hello) (fleet.ID, api.Scheduler)
	Leave(fleet.ID, error)
}

// control makes what takes executors, and what runs the job with them.
func (c *Coordinator) control(d *durable, at *agents) (members, func(context.Context) error, error) {
	if c.plan.Mode == graph.Batch {
		return c.controlBatch(d, at)
	}
	f := fleet.New(fleet.Options{Waiting: c.report.waits, Log: c.opt.Log})
	s, err := c.scheduler(d, f, c.plan)
	if err != nil {
		return nil, nil, err
	}
	return f, func(ctx context.Context) error { return c.run(ctx, d, f, s) }, nil
}

// controlBatch is control in batch mode.
func (c *Coordinator) controlBatch(d *durable, at *agents) (members, func(context.Context) error, error) {
	o, err := d.scheduling(c.plan)
	if err != nil {
		return nil, nil, err
	}
	o.Listener = c.report.listen(o.Listener)
	s, err := scheduler.NewBatch(scheduler.BatchOptions{Options: o, Stores: stores{at}, Waiting: c.report.waits, Task: c.report.tasks(c.opt.Task)})
	if err != nil {
		return nil, nil, err
	}
	return s, func(ctx context.Context) error {
		defer c.between(false)
		c.begin(s)
		return s.Run(ctx)
	}, nil
}

func (c *Coordinator) scheduler(d *durable, f *fleet.Fleet, plan *graph.Plan) (*scheduler.Scheduler, error) {
	o, err := d.scheduling(plan)
	if err != nil {
		return nil, err
	}
	o.Listener = c.report.listen(o.Listener)
	need := slots(plan)
	o.Await = func(ctx context.Context) error { return f.Await(ctx, need) }
	s, err := scheduler.New(o)
	if err != nil {
		return nil, err
	}
	f.Report(s)
	return s, nil
}

// serve takes executors in, until the server is closed.
func (c *Coordinator) serve(f members) (*rpc.Server, <-chan error, error) {
	h := c.member.Hello
	l, err := c.member.listen()
	if err != nil {
		return nil, nil, err
	}
	var ids sync.Map // *rpc.Executor to fleet.ID
	server := rpc.NewServer(rpc.ServerOptions{
		Options: c.member.RPC, TLS: c.member.ServerTLS,
		Identity: rpc.Identity{Job: h.Job, Term: h.Term, Fingerprint: h.Fingerprint},
		Join: func(e *rpc.Executor) (api.Scheduler, error) {
			if e.Hello.Alloc == h.Alloc {
				return nil, fmt.Errorf("%w: %s is the coordinator's own name", rpc.ErrRefused, h.Alloc)
			}
			id, s := f.Join(e, e.Hello)
			ids.Store(e, id)
			return s, nil
		},
		Left: func(e *rpc.Executor, why error) {
			if id, ok := ids.LoadAndDelete(e); ok {
				f.Leave(id.(fleet.ID), why)
			}
		},
	})
	serving := make(chan error, 1)
	go func() { serving <- server.Serve(l) }()
	c.member.Ready(api.ExecutorReady{Data: h.Data, Control: l.Addr().String()})
	return server, serving, nil
}

// relay is a scheduler that is named after those who report to it were made, and before
// they have something to report.
type relay struct{ api.Scheduler }
