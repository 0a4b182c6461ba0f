package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// publisher has the sinks of a job make final what their tasks have prepared. Sinks'
// committers are called by one goroutine.
type publisher struct {
	opt    *Options
	number flow.Attempt
	impl   map[flow.OperatorID]*operator.SinkImpl
	name   map[flow.OperatorID]string
	open   map[flow.OperatorID]operator.Committer
	// stopping ends waiting for another try.
	stopping chan struct{}
	stopOnce sync.Once
	ctx      context.Context // of commits
	cancel   context.CancelFunc
}

func newPublisher(opt *Options, number flow.Attempt) (*publisher, error) {
	c := &publisher{opt: opt, number: number, impl: map[flow.OperatorID]*operator.SinkImpl{}, name: map[flow.OperatorID]string{},
		open: map[flow.OperatorID]operator.Committer{}, stopping: make(chan struct{})}
	for _, o := range opt.Plan.Graph.Operators {
		impl, err := implOf(o)
		if err != nil {
			return nil, err
		}
		if impl.Sink != nil {
			c.impl[o.ID], c.name[o.ID] = impl.Sink, o.Name
		}
	}
	return c, nil
}

// stop gives up the commits under way. It may be called from any goroutine.
func (c *publisher) stop() {
	c.stopOnce.Do(func() {
		close(c.stopping)
		c.cancel()
	})
}

// publish commits what the operators prepared, in the order of their epochs.
func (c *publisher) publish(ops []checkpoint.OperatorCommit) error {
	for _, o := range ops {
		k, err := c.committer(o.Operator)
		if err == nil && k == nil {
			err = fmt.Errorf("operator %q has prepared something to commit but has no committer", o.Operator)
		}
		if err != nil {
			return c.failure(o.Operator, err)
		}
		for cs := o.Committables; len(cs) > 0; {
			n := 1
			for n < len(cs) && cs[n].Epoch == cs[0].Epoch {
				n++
			}
			e, data := cs[0].Epoch, prepared(cs[:n])
			cs = cs[n:]
			err := c.patiently(fmt.Sprintf("committing epoch %d of operator %q", e, c.name[o.Operator]), func() error {
				return guard(func() error { return k.Commit(c.ctx, e, slices.Clone(data)) })
			})
			if err != nil {
				return c.failure(o.Operator, err)
			}
		}
	}
	return nil
}

// patiently tries again for a while what fails because of something outside: the
// network, a disk. After a restart of the job it would be tried again too, but with
// everything else.
func (c *publisher) patiently(what string, f func() error) error {
	until := c.opt.Now().Add(c.opt.Patience)
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := f()
		if err == nil || !passing(err) || c.ctx.Err() != nil || c.opt.Now().Add(wait) > until {
			return err
		}
		c.opt.Log.Warn(what+" is tried again", "after", wait, "err", err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-c.stopping:
			t.Stop()
			return err
		case <-c.ctx.Done():
			t.Stop()
			return err
		}
	}
}

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// passing reports whether an error may go away by itself. What a connector has not
// classified is taken to be the outside's.
func passing(err error) bool {
	if errors.Is(err, store.ErrFenced) || errors.Is(err, context.Canceled) {
		return false
	}
	if f, ok := errors.AsType[*flow.Failure](err); ok {
		return f.Retryable
	}
	return true
}

func (c *publisher) failure(op flow.OperatorID, err error) error {
	if f, ok := errors.AsType[*flow.Failure](err); ok {
		if f.Operator != "" {
			return err
		}
		g := *flow.FailureOf(err)
		g.Operator, g.Name = op, c.name[op]
		return &g
	}
	return &flow.Failure{Operator: op, Name: c.name[op], Domain: flow.DomainExternal, Retryable: true, Message: err.Error(), Cause: err}
}

// committer is the operator's committer, nil where it has none.
func (c *publisher) committer(op flow.OperatorID) (operator.Committer, error) {
	if k, ok := c.open[op]; ok {
		return k, nil
	}
	impl := c.impl[op]
	if impl == nil || impl.Committer == nil {
		return nil, nil
	}
	ctx := &operator.CommitterContext{Job: c.opt.Job, Attempt: c.number, Operator: op, Name: c.name[op], Log: c.opt.Log}
	if c.opt.Staging != nil {
		ctx.Staging = c.opt.Staging(c.number)
	}
	var k operator.Committer
	err := guard(func() (err error) { k, err = impl.Committer(ctx); return err })
	if err != nil {
		return nil, err
	}
	c.open[op] = k
	return k, nil
}

func (c *publisher) close() {
	for op, k := range c.open {
		if k == nil {
			continue
		}
		if err := guard(k.Close); err != nil {
			c.opt.Log.Warn("closing committer", "operator", c.name[op], "err", err)
		}
	}
}

// recover has the sinks remove leftovers of older attempts.
func (c *publisher) recover(epoch flow.Epoch) error {
	for _, o := range c.opt.Plan.Graph.Operators {
		if c.impl[o.ID] == nil {
			continue
		}
		k, err := c.committer(o.ID)
		if err != nil {
			return c.failure(o.ID, err)
		}
		rec, ok := k.(operator.Recoverer)
		if !ok {
			continue
		}
		err = c.patiently(fmt.Sprintf("clearing up for operator %q", o.Name), func() error {
			return guard(func() error { return rec.Recover(c.ctx, epoch) })
		})
		if err != nil {
			return c.failure(o.ID, fmt.Errorf("clearing up what older attempts left: %w", err))
		}
	}
	return nil
}
