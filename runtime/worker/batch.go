package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/runtime/task"
	"github.com/weirflow/weir/shuffle/spill"
)

// Outputs is where the tasks of a job in batch mode write what others read.
type Outputs struct {
	FS   vfs.FS
	Host spill.Host
	// Opener opens outputs that lie on a node; "" is this process's.
	Opener func(node string) spill.Opener
	// Options are those of an output, but for its sub-partitions.
	Options spill.Options
}

// Batch is a worker for a plan in batch mode: each task is deployed alone, in an attempt
// of its own, and several run at a time. It implements api.Worker; what is about epochs
// does nothing here, since a task ends with the one that its deployment names.
type Batch struct {
	w  *Worker
	mu struct {
		sync.Mutex
		units map[flow.Attempt]*unit
	}
}

// NewBatch makes a worker. Tasks end when ctx does. opt.Outputs must be set.
func NewBatch(ctx context.Context, opt Options) *Batch {
	b := &Batch{w: New(ctx, opt)}
	b.mu.units = map[flow.Attempt]*unit{}
	return b
}

// Wait returns when all tasks have ended.
func (b *Batch) Wait() { b.w.Wait() }

// Deploy starts a task. It is built beside the caller, since that takes the disk; what is
// wrong with it is told by its end.
func (b *Batch) Deploy(m *api.Deploy) error {
	if len(m.Tasks) != 1 || m.Final == 0 {
		return fmt.Errorf("worker: attempt %d has %d tasks and ends with epoch %d: in batch mode each task is deployed alone, with the epoch that ends it: "+
			"is the coordinator's program another one?", m.Attempt, len(m.Tasks), m.Final)
	}
	u := &unit{b: b, m: m, attempt: flow.Attempt(m.Attempt), id: taskID(m.Tasks[0])}
	u.ctx, u.cancel = context.WithCancel(b.w.ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.units[u.attempt] != nil {
		u.cancel()
		return fmt.Errorf("worker: attempt %d is deployed already", m.Attempt)
	}
	b.mu.units[u.attempt] = u
	b.w.done.Add(1)
	go u.run()
	return nil
}

// one calls f with the task of an attempt, once it is built.
func (b *Batch) one(attempt uint64, f func(*task.Task)) {
	b.mu.Lock()
	u := b.mu.units[flow.Attempt(attempt)]
	b.mu.Unlock()
	if u != nil {
		u.tell(f)
	}
}

// InjectBarrier does nothing: a source gets its last barrier when it has ended.
func (b *Batch) InjectBarrier(*api.InjectBarrier) {}

// AbortEpoch does nothing.
func (b *Batch) AbortEpoch(*api.AbortEpoch) {}

// Committed does nothing: no task lives to hear of it.
func (b *Batch) Committed(*api.Committed) {}

// AddSplits gives splits to a source's subtask.
func (b *Batch) AddSplits(m *api.AddSplits) {
	splits := splitsOf(m)
	b.one(m.Attempt, func(t *task.Task) { t.AddSplits(splits) })
}

// NoMoreSplits tells a source's subtask that it gets no more.
func (b *Batch) NoMoreSplits(m *api.NoMoreSplits) { b.one(m.Attempt, (*task.Task).NoMoreSplits) }

// NoSplitYet tells a source's subtask that there is no split for it now.
func (b *Batch) NoSplitYet(m *api.NoSplitYet) { b.one(m.Attempt, (*task.Task).NoSplitYet) }

// Align does nothing: tasks whose sources are aligned need not run at the same time.
func (b *Batch) Align(*api.Align) {}

// StopSources ends the source of an attempt before its time.
func (b *Batch) StopSources(m *api.StopSources) { b.one(m.Attempt, (*task.Task).StopSource) }

// FinishTasks does nothing: a task is finished when it has handled its last barrier.
func (b *Batch) FinishTasks(*api.FinishTasks) {}

// CancelTasks ends the task of an attempt at once.
func (b *Batch) CancelTasks(m *api.CancelTasks) {
	b.mu.Lock()
	u := b.mu.units[flow.Attempt(m.Attempt)]
	b.mu.Unlock()
	if u != nil {
		u.cancel()
	}
}

var _ api.Worker = (*Batch)(nil)

// unit is one deployed task.
type unit struct {
	b       *Batch
	m       *api.Deploy
	id      flow.TaskID
	attempt flow.Attempt
	ctx     context.Context
	cancel  context.CancelFunc
	feeds   []spill.Feed
	outputs []output

	mu    sync.Mutex
	task  *task.Task           // nil until it is built
	early []func(*task.Task)   // what was to be told before that
	feed  error                // the first of a feed
	at    map[spill.ID]feeding // what lies where
}

// output is what the task writes for an edge.
type output struct {
	edge    flow.EdgeID
	written spill.Written
}

// feeding is an output that the task reads.
type feeding struct {
	from   spill.Opener
	output api.Output
}

func (u *unit) tell(f func(*task.Task)) {
	u.mu.Lock()
	t := u.task
	if t == nil {
		u.early = append(u.early, f)
	}
	u.mu.Unlock()
	if t != nil {
		f(t)
	}
}

// built lets messages through to the task.
func (u *unit) built(t *task.Task) {
	for {
		u.mu.Lock()
		early := u.early
		if u.early = nil; len(early) == 0 {
			u.task = t
			u.mu.Unlock()
			return
		}
		u.mu.Unlock()
		for _, f := range early {
			f(t)
		}
	}
}

func (u *unit) run() {
	defer u.b.w.done.Done()
	defer u.cancel()
	outputs, err := u.work()
	for _, o := range u.outputs {
		o.written.Abort() // those that are finished stay
	}
	m := ended(u.attempt, u.id, err)
	m.Outputs = outputs
	u.mu.Lock()
	if id, lost := spill.IsLost(u.feed); lost && err != nil {
		m.State = api.Failed
		m.Failure = &api.Failure{Domain: uint8(flow.DomainExternal), Retryable: true, Message: u.feed.Error(), Cause: u.feed}
		if !errors.Is(u.feed, spill.ErrInterrupted) {
			m.Failure.Lost = &api.Lost{Output: u.at[id].output, Gone: errors.Is(u.feed, spill.ErrUnreachable)}
		}
	}
	u.mu.Unlock()
	u.b.mu.Lock()
	delete(u.b.mu.units, u.attempt)
	u.b.mu.Unlock()
	u.b.w.opt.Scheduler.TaskState(m)
}

// work builds the task, runs it with what feeds it, and finishes its outputs.
func (u *unit) work() ([]api.Output, error) {
	t, err := u.build()
	if err != nil {
		if u.ctx.Err() != nil {
			return nil, u.ctx.Err()
		}
		return nil, failed(err)
	}
	defer context.AfterFunc(u.ctx, t.Cancel)()
	u.built(t)
	ctx, stop := context.WithCancel(u.ctx)
	defer stop()
	var feeding sync.WaitGroup
	barrier := flow.Barrier{Epoch: flow.Epoch(u.m.Final), Kind: flow.BarrierFinal}
	for _, f := range u.feeds {
		feeding.Go(func() {
			if err := f.Run(ctx, barrier); err != nil && ctx.Err() == nil {
				u.mu.Lock()
				if u.feed == nil {
					u.feed = err
				}
				u.mu.Unlock()
				t.Cancel()
			}
		})
	}
	err = t.Run()
	stop()
	feeding.Wait()
	if err != nil {
		return nil, err
	}
	return u.finish()
}

// finish makes what was written readable for others.
func (u *unit) finish() (all []api.Output, err error) {
	for _, o := range u.outputs {
		s, err := o.written.Finish()
		if err != nil {
			return nil, failed(fmt.Errorf("finishing what it has written: %w", err))
		}
		all = append(all, api.Output{Edge: apiEdge(o.edge), Producer: u.id.Subtask, Attempt: uint64(u.attempt), Records: s.Records, Bytes: s.FileBytes})
	}
	return all, nil
}

// failed is the failure of a disk or an agent: another try may do better.
func failed(err error) error {
	if f, ok := errors.AsType[*flow.Failure](err); ok {
		return f
	}
	return &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Message: err.Error(), Cause: err}
}

// listener is what the task tells, with what follows from it at once: the last barrier
// behind the end of a source, and the end behind the barrier.
func (u *unit) listener() task.Listener {
	l := u.b.w.listener(uint64(u.attempt), u.id)
	drained, ack := l.Drained, l.Ack
	l.Drained = func() {
		drained()
		if len(u.feeds) == 0 {
			b := flow.Barrier{Epoch: flow.Epoch(u.m.Final), Kind: flow.BarrierFinal}
			u.tell(func(t *task.Task) { t.InjectBarrier(b) })
		}
	}
	l.Ack = func(e flow.Epoch, prepared []checkpoint.Committable, s *checkpoint.TaskSnapshot) {
		ack(e, prepared, s)
		u.tell((*task.Task).Finish)
	}
	return l
}

// OpenRange opens an input where it lies.
func (u *unit) OpenRange(ctx context.Context, id spill.ID, r spill.Range) (io.ReadCloser, error) {
	in, ok := u.at[id]
	if !ok {
		return nil, fmt.Errorf("worker: %w: %s is no input of %s", spill.ErrUnknown, id, u.id)
	}
	return in.from.OpenRange(ctx, id, r)
}
