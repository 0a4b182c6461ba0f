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

// committers restore one attempt and commit its epochs in order, on a goroutine of
// their own: sinks' committers are called by no other.
type committers struct {
	a    *attempt
	s    *Scheduler
	impl map[flow.OperatorID]*operator.SinkImpl
	name map[flow.OperatorID]string
	open map[flow.OperatorID]operator.Committer
	// books are the attempt's; nil where there are no snapshots to balance.
	books *checkpoint.Books
	// pending is how many commits are under way. It belongs to the scheduler's goroutine.
	pending int
	// stopping ends waiting for another try.
	stopping chan struct{}
	stopOnce sync.Once
	ctx      context.Context // of commits
	cancel   context.CancelFunc

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
	c := &committers{a: a, s: a.s, impl: map[flow.OperatorID]*operator.SinkImpl{}, name: map[flow.OperatorID]string{},
		open: map[flow.OperatorID]operator.Committer{}, wake: make(chan struct{}, 1), stopping: make(chan struct{})}
	for _, o := range a.s.opt.Plan.Graph.Operators {
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

// stop gives up the commits under way. It may be called from any goroutine.
func (c *committers) stop() {
	c.stopOnce.Do(func() {
		close(c.stopping)
		c.cancel()
	})
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

// publish commits what the operators prepared, in the order of their epochs.
func (c *committers) publish(ops []checkpoint.OperatorCommit) error {
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
func (c *committers) patiently(what string, f func() error) error {
	until := c.s.opt.Now().Add(c.s.opt.Patience)
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := f()
		if err == nil || !passing(err) || c.ctx.Err() != nil || c.s.opt.Now().Add(wait) > until {
			return err
		}
		c.s.opt.Log.Warn(what+" is tried again", "after", wait, "err", err)
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

func (c *committers) failure(op flow.OperatorID, err error) error {
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
func (c *committers) committer(op flow.OperatorID) (operator.Committer, error) {
	if k, ok := c.open[op]; ok {
		return k, nil
	}
	impl := c.impl[op]
	if impl == nil || impl.Committer == nil {
		return nil, nil
	}
	ctx := &operator.CommitterContext{Job: c.s.opt.Job, Attempt: c.a.number, Operator: op, Name: c.name[op], Log: c.s.opt.Log}
	if c.s.opt.Staging != nil {
		ctx.Staging = c.s.opt.Staging(c.a.number)
	}
	var k operator.Committer
	err := guard(func() (err error) { k, err = impl.Committer(ctx); return err })
	if err != nil {
		return nil, err
	}
	c.open[op] = k
	return k, nil
}

func (c *committers) close() {
	for op, k := range c.open {
		if k == nil {
			continue
		}
		if err := guard(k.Close); err != nil {
			c.s.opt.Log.Warn("closing committer", "operator", c.name[op], "err", err)
		}
	}
}
