package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// committers restore one attempt and commit its epochs in order, on a goroutine of
// their own: sinks' committers are called by no other.
type committers struct {
	*publisher
	a *attempt
	s *Scheduler
	// books are the attempt's; nil where there are no snapshots to balance.
	books *checkpoint.Books
	// pending is how many commits are under way. It belongs to the scheduler's goroutine.
	pending int

	mu struct {
		sync.Mutex
		queue []commitment
	}
	wake chan struct{}
}

// commitment is an epoch to be committed.
type commitment struct {
	checkpoint.Commit
	sources []checkpoint.SourceSnapshot
	// last says that the job ends with it.
	last bool
}

func newCommitters(a *attempt) (*committers, error) {
	p, err := newPublisher(&a.s.opt, a.number)
	if err != nil {
		return nil, err
	}
	return &committers{publisher: p, a: a, s: a.s, wake: make(chan struct{}, 1)}, nil
}

// put queues a commit; the coordinator bounds how many are under way.
func (c *committers) put(e commitment) {
	c.pending++
	c.mu.Lock()
	c.mu.queue = append(c.mu.queue, e)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run restores the attempt, and then commits until the attempt is over.
func (c *committers) run() {
	a := c.a
	defer a.side.Done()
	defer c.close()
	c.ctx, c.cancel = context.WithCancel(a.ctx)
	defer c.cancel()
	r, err := c.restore()
	if err == nil && !r.final && c.s.opt.Await != nil {
		err = c.s.opt.Await(c.ctx)
	}
	a.post(func() { a.restored(r, err) })
	for {
		c.mu.Lock()
		var next *commitment
		if len(c.mu.queue) > 0 {
			next = &c.mu.queue[0]
			c.mu.queue = c.mu.queue[1:]
		}
		c.mu.Unlock()
		if next == nil {
			select {
			case <-a.ctx.Done():
				return
			case <-c.wake:
				continue
			}
		}
		m, err := c.commit(*next)
		a.post(func() { c.outcome(next.Barrier, m, err) })
	}
}

// outcome tells the coordinator how a commit went.
func (c *committers) outcome(b flow.Barrier, m *checkpoint.Manifest, err error) {
	s := c.s
	var acts []checkpoint.Action
	var refused error
	if err != nil {
		acts, refused = c.a.epochs.CommitFailed(b.Epoch, s.opt.Now(), err)
	} else {
		acts, refused = c.a.epochs.Committed(b.Epoch, s.opt.Now())
		s.keep(b, m)
	}
	c.pending--
	s.warn(refused)
	s.do(acts)
	c.a.committed()
}

// commit balances the books of an epoch, writes its manifest, which is the commit,
// and has the sinks publish what they prepared.
func (c *committers) commit(e commitment) (*checkpoint.Manifest, error) {
	if err := c.audit(e); err != nil {
		return nil, err
	}
	var m *checkpoint.Manifest
	if c.s.opt.Storage != nil {
		m = c.manifest(e)
		if err := c.persist(e.Barrier, m); err != nil {
			return nil, err
		}
	}
	if err := c.publish(e.Operators); err != nil {
		return nil, err
	}
	if m != nil && e.last && len(m.Committables) > 0 {
		// What the sinks have published may be carried away while the job does not run, so
		// that a repeat would look for it in vain.
		m = published(m)
		m.Epoch++
		if err := c.s.opt.Storage.Commit(c.ctx, m); err != nil {
			c.s.opt.Log.Warn("noting that all is published", "epoch", e.Barrier.Epoch, "err", err)
		}
	}
	return m, nil
}

// audit compares the books of all tasks.
func (c *committers) audit(e commitment) error {
	if c.books == nil || c.s.opt.Audit == AuditOff {
		return nil
	}
	found := map[flow.OperatorID]int64{}
	for _, o := range e.Operators {
		k, err := c.committer(o.Operator)
		if err != nil {
			return c.failure(o.Operator, err)
		}
		auditor, ok := k.(operator.Auditor)
		if !ok {
			continue
		}
		err = guard(func() error {
			n, err := auditor.Records(prepared(o.Committables))
			found[o.Operator] = n
			return err
		})
		if err != nil {
			return c.failure(o.Operator, fmt.Errorf("counting what was prepared: %w", err))
		}
	}
	err := c.books.Balance(e.Commit, found)
	if err == nil {
		return nil
	}
	if c.s.opt.Audit == AuditWarn {
		c.s.opt.Log.Error("the books do not balance", "epoch", e.Barrier.Epoch, "err", err)
		return nil
	}
	f := &flow.Failure{Domain: flow.DomainInternal, Cause: err, Message: "the books do not balance: " + err.Error() +
		"; nothing of this epoch was committed (--audit warn goes on all the same)"}
	return f
}

func prepared(cs []checkpoint.Committable) [][]byte {
	data := make([][]byte, len(cs))
	for i := range cs {
		data[i] = cs[i].Data
	}
	return data
}

func (c *committers) manifest(e commitment) *checkpoint.Manifest {
	s := c.s
	m := &checkpoint.Manifest{
		Job: string(s.opt.Job), Attempt: c.a.id(), Epoch: uint64(e.Barrier.Epoch), Kind: uint8(e.Barrier.Kind),
		Created: int64(s.opt.Now()), Engine: s.opt.Engine, MaxParallelism: s.opt.Plan.MaxParallelism, Graph: s.opt.Graph,
		Tasks: e.Snapshots, Sources: e.sources,
	}
	for _, o := range e.Operators {
		m.Committables = append(m.Committables, o.Committables...)
	}
	if c.books != nil {
		m.Totals = c.books.Totals()
	}
	return m
}

// persist puts the manifest into the job's log.
func (c *committers) persist(b flow.Barrier, m *checkpoint.Manifest) error {
	if len(m.Tasks) != len(c.s.tasks) {
		return &flow.Failure{Message: fmt.Sprintf("%s: %d of %d tasks have acknowledged it with a snapshot", b, len(m.Tasks), len(c.s.tasks))}
	}
	// The storage has tried as often as it is of use.
	return storageFailure("writing the manifest", c.s.opt.Storage.Commit(c.ctx, m))
}

// storageFailure classifies an error of checkpoint storage.
func storageFailure(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrFenced):
		return &flow.Failure{Domain: flow.DomainExternal, Cause: err, Message: what +
			": another process has taken over this job, which goes on there: " + err.Error()}
	}
	if _, ok := errors.AsType[*flow.Failure](err); ok {
		return err
	}
	return &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Cause: err, Message: what + ": " + err.Error()}
}
