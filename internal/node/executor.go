package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/scheduler/fleet"
)

// Executor is a process of a job that runs tasks, and dials the job's coordinator for
// them. It outlives coordinators: tasks end with the link to the one that has sent them,
// and the next one sends others.
type Executor struct {
	opt    Options
	member Member
	plan   *graph.Plan
}

// Address is where a coordinator is dialled, in its term.
type Address struct {
	Control string
	Term    uint64
}

// NewExecutor makes an executor that Run runs. It does no I/O.
func NewExecutor(plan *graph.Plan, opt Options, m Member) (*Executor, error) {
	opt, err := distributed(plan, opt, &m)
	if err != nil {
		return nil, err
	}
	return &Executor{opt: opt, member: m, plan: plan}, nil
}

// How long an executor waits before it dials again: a coordinator that is not up yet is
// there soon, one that is gone is replaced by its cluster.
const (
	firstDial = 20 * time.Millisecond
	lastDial  = time.Second
)

// Run runs tasks for the newest coordinator that it hears of, until the job is over, which
// is nil, the coordinator wants no such executor, or ctx ends.
func (e *Executor) Run(ctx context.Context, coordinators <-chan Address) error {
	d, err := openState(ctx, e.opt, executes)
	if err != nil {
		return err
	}
	defer d.closeOr(e.opt.Log)
	x, err := newExchange(&e.member, e.opt.Log)
	if err != nil {
		return err
	}
	defer x.closeOr(e.opt.Log)
	e.member.Hello.Data = x.addr
	e.member.Ready(api.ExecutorReady{Data: x.addr})
	var at Address
	wait := firstDial
	for {
		if at.Control == "" {
			select {
			case a := <-coordinators:
				at, wait = newer(at, a), firstDial
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			continue
		}
		began := time.Now()
		next, err := e.session(ctx, d, x, at, coordinators)
		if time.Since(began) > lastDial {
			wait = firstDial
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, rpc.ErrOver):
			e.opt.Log.Info("the executor ends", "why", err)
			return nil
		case errors.Is(err, rpc.ErrRefused):
			return err
		case next != at:
			at, wait = next, firstDial
			continue
		case errors.Is(err, rpc.ErrTerm):
			// There is another one, or will be: somebody says where.
			e.opt.Log.Warn("waiting for a coordinator", "why", err)
			at.Control = ""
			continue
		}
		e.opt.Log.Warn("the coordinator is dialled again", "after", wait, "why", err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
			wait = min(2*wait, lastDial)
		case a := <-coordinators:
			if n := newer(at, a); n != at {
				at, wait = n, firstDial
			}
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// newer is the coordinator of the higher term. One that was told without an address is
// unknown.
func newer(at, a Address) Address {
	if a.Control == "" || a.Term < at.Term || a.Term == at.Term && at.Control != "" {
		return at
	}
	return a
}

// session runs tasks for one coordinator, until the link to it ends or there is a newer
// one. All tasks have ended when it returns.
func (e *Executor) session(ctx context.Context, d *durable, x *exchange, at Address, coordinators <-chan Address) (Address, error) {
	h := e.member.Hello
	h.Term = at.Term
	sctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next, heard := at, make(chan struct{})
	go func() { // hears of newer coordinators; ends with the session
		defer close(heard)
		for {
			select {
			case a := <-coordinators:
				if n := newer(at, a); n != at {
					next = n
					cancel(fmt.Errorf("there is a coordinator of term %d", n.Term))
					return
				}
			case <-sctx.Done():
				return
			}
		}
	}()
	err := e.work(sctx, d, x, at, h)
	cancel(nil)
	<-heard
	return next, err
}

// work joins a coordinator and does what it says.
func (e *Executor) work(ctx context.Context, d *durable, x *exchange, at Address, h api.Hello) error {
	l, err := rpc.Dial(ctx, at.Control, e.member.ClientTLS, h, e.member.RPC)
	if err != nil {
		return err
	}
	e.opt.Log.Info("joined", "coordinator", at.Control, "term", at.Term)
	// Tasks go on until they are told that the link has ended, and not before its last message.
	wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	agents := newAgents(wctx, &e.member)
	defer agents.closeOr(e.opt.Log)
	w := newElastic(e.plan, e.opt.Check, func(p *graph.Plan) waited { return x.worker(wctx, d, p, l, agents) })
	err = l.Run(ctx, &willing{elastic: w, to: l})
	cancel()
	w.Wait()
	return err
}

// willing is a worker that refuses a deployment by reports of its tasks.
type willing struct {
	*elastic
	to api.Scheduler
}

func (w *willing) Deploy(m *api.Deploy) error {
	if err := w.elastic.Deploy(m); err != nil {
		fleet.Refused(w.to, m, err)
	}
	return nil
}
