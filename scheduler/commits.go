package scheduler

import (
	"errors"
	"fmt"
	"sync"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// committers commits epochs in order, on a goroutine of their own.
type committers struct {
	s    *Scheduler
	impl map[flow.OperatorID]*operator.SinkImpl
	name map[flow.OperatorID]string
	open map[flow.OperatorID]operator.Committer

	mu struct {
		sync.Mutex
		queue []checkpoint.Commit
	}
	wake chan struct{}
}

func newCommitters(p *graph.Plan) (*committers, error) {
	c := &committers{impl: map[flow.OperatorID]*operator.SinkImpl{}, name: map[flow.OperatorID]string{},
		open: map[flow.OperatorID]operator.Committer{}, wake: make(chan struct{}, 1)}
	for _, o := range p.Graph.Operators {
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

func (c *committers) start(s *Scheduler) {
	c.s = s
	s.side.Add(1)
	go c.run()
}

// put queues a commit; the coordinator bounds how many are under way.
func (c *committers) put(a checkpoint.Commit) {
	c.mu.Lock()
	c.mu.queue = append(c.mu.queue, a)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *committers) run() {
	s := c.s
	defer s.side.Done()
	defer c.close()
	for {
		c.mu.Lock()
		var next *checkpoint.Commit
		if len(c.mu.queue) > 0 {
			next = &c.mu.queue[0]
			c.mu.queue = c.mu.queue[1:]
		}
		c.mu.Unlock()
		if next == nil {
			select {
			case <-s.ctx.Done():
				return
			case <-c.wake:
				continue
			}
		}
		epoch, err := next.Barrier.Epoch, c.commit(*next)
		s.post(func() {
			var acts []checkpoint.Action
			var refused error
			if err != nil {
				acts, refused = s.epochs.CommitFailed(epoch, s.opt.Now(), err)
			} else {
				acts, refused = s.epochs.Committed(epoch, s.opt.Now())
			}
			s.warn(refused)
			s.do(acts)
		})
	}
}

// commit commits what the operators prepared, in the order of their epochs.
func (c *committers) commit(a checkpoint.Commit) error {
	for _, o := range a.Operators {
		k, err := c.committer(o.Operator)
		if err != nil {
			return c.failure(o.Operator, err)
		}
		for i := 0; i < len(o.Committables); {
			e, data := o.Committables[i].Epoch, [][]byte(nil)
			for ; i < len(o.Committables) && o.Committables[i].Epoch == e; i++ {
				data = append(data, o.Committables[i].Data)
			}
			if err := guard(func() error { return k.Commit(c.s.ctx, e, data) }); err != nil {
				return c.failure(o.Operator, err)
			}
		}
	}
	return nil
}

func (c *committers) failure(op flow.OperatorID, err error) error {
	var f *flow.Failure
	if errors.As(err, &f) {
		if f.Operator != "" {
			return err
		}
		g := *flow.FailureOf(err)
		g.Operator, g.Name = op, c.name[op]
		return &g
	}
	return &flow.Failure{Operator: op, Name: c.name[op], Domain: flow.DomainExternal, Retryable: true, Message: err.Error(), Cause: err}
}

func (c *committers) committer(op flow.OperatorID) (operator.Committer, error) {
	if k := c.open[op]; k != nil {
		return k, nil
	}
	impl := c.impl[op]
	if impl == nil {
		return nil, fmt.Errorf("operator %q has prepared something to commit but has no committer", op)
	}
	var k operator.Committer
	err := guard(func() (err error) {
		k, err = impl.Committer(&operator.CommitterContext{
			Job: c.s.opt.Job, Attempt: c.s.machine.Attempt(), Operator: op, Name: c.name[op], Log: c.s.opt.Log})
		return err
	})
	if err == nil && k == nil {
		err = fmt.Errorf("operator %q has prepared something to commit but has no committer", op)
	}
	if err != nil {
		return nil, err
	}
	c.open[op] = k
	return k, nil
}

func (c *committers) close() {
	for op, k := range c.open {
		if err := guard(k.Close); err != nil {
			c.s.opt.Log.Warn("closing committer", "operator", c.name[op], "err", err)
		}
	}
}
