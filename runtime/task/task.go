package task

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/state"
)

// Task is one running subtask. Make it with [New], run it with Run; the other
// exported methods may be called from any goroutine at any time.
type Task struct {
	cfg    Config
	times  *obs.Task
	ctx    context.Context
	cancel context.CancelCauseFunc

	nodes   []*node // topological; the head first
	source  operator.SplitReceiver
	gates   []gate
	writers []shuffle.Writer // of all nodes

	channels int // of all gates
	frontier *flow.Frontier
	aligner  *checkpoint.Aligner
	open     int  // channels that have not ended
	idle     bool // the idleness that was told to the writers
	untold   bool // idleness is yet to be told, or to be told again
	ended    bool // the end of all input was handled

	pull struct {
		waiting bool
		until   flow.Time // 0: only by wake
		woken   atomic.Bool
	}
	at       *node     // the operator that was called last, for panics
	nextWake flow.Time // the earliest request of WakeAt, MaxTime if none
	finished bool      // told to finish
	prepared checkpoint.Prepared

	store   state.Store // open while Run works
	putOff  atomic.Bool // the store has work to do; see stepStore
	stepped time.Time   // when it last did some
	saves   saves

	overtaking bool    // epochs may overtake
	flight     *flight // of the epoch that has overtaken records which still come
	arrivals   []shuffle.Arrival
	replays    []*replay      // records of the snapshot that are to be taken in first
	held       []flow.Barrier // of a source, until they are
	replayed   []checkpoint.Entry

	hold    flow.Epoch  // behind which a source reads nothing; 0: none
	mail    mailbox     // from operators: what Yield runs
	orders  mailbox     // from the worker
	stopped atomic.Bool // the context has ended
	parked  atomic.Bool
	wake    chan struct{}
}

// node is one operator of the chain with what hangs on it.
type node struct {
	op       operator.Operator
	spec     *graph.Operator
	children []*node
	writers  []shuffle.Writer
	in, out  flow.Time // watermarks
	wakeAt   flow.Time // MaxTime if none
	prepared int64     // records in all that it has prepared
	ctx      *operator.Context
}

// gate is an input with the numbers of its channels among all channels of the
// task.
type gate struct {
	Input
	first int
	open  int // channels that have not ended
}

// New builds the chain. It starts nothing and opens nothing.
func New(ctx context.Context, cfg Config) (*Task, error) {
	t := &Task{cfg: cfg, times: &obs.Task{Attempt: uint64(cmp.Or(cfg.Run, cfg.Attempt))}, wake: make(chan struct{}, 1), nextWake: flow.MaxTime}
	t.saves.t = t
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	if err := t.build(); err != nil {
		t.cancel(err)
		return nil, fmt.Errorf("task %s: %w", cfg.ID, err)
	}
	return t, nil
}

func (t *Task) build() error {
	byID := make(map[flow.OperatorID]*node, len(t.cfg.Chain.Operators))
	for _, spec := range t.cfg.Chain.Operators {
		impl, ok := spec.Impl.(*operator.Impl)
		if !ok {
			return fmt.Errorf("operator %q (%s) has no implementation here but %T", spec.Name, spec.ID, spec.Impl)
		}
		n := &node{op: impl.New(), spec: spec, in: flow.MinTime, out: flow.MinTime, wakeAt: flow.MaxTime}
		n.ctx = t.context(n)
		byID[spec.ID] = n
		t.nodes = append(t.nodes, n)
	}
	for _, l := range t.cfg.Chain.Links {
		from, to := byID[l.From], byID[l.To]
		if err := attach(from.op.Outlet(l.Output), to.op.Inlet(l.Port)); err != nil {
			return fmt.Errorf("link %s to %s: %w", from.spec, to.spec, err)
		}
		from.children = append(from.children, to)
	}
	for _, o := range t.cfg.Outputs {
		from := byID[o.From]
		w, err := o.Open(t.ctx)
		if err == nil {
			err = attach(from.op.Outlet(o.Outlet), w)
		}
		if err != nil {
			return fmt.Errorf("output of %s: %w", from.spec, err)
		}
		w.Notify(t.Wake)
		from.writers = append(from.writers, w)
		t.writers = append(t.writers, w)
	}
	head := t.nodes[0]
	for _, in := range t.cfg.Inputs {
		inlet := head.op.Inlet(in.Port)
		if inlet == nil {
			return fmt.Errorf("%s has no input port %d", head.spec, in.Port)
		}
		if err := in.Gate.Attach(inlet); err != nil {
			return fmt.Errorf("input of %s: %w", head.spec, err)
		}
		in.Gate.Notify(t.Wake)
		t.gates = append(t.gates, gate{Input: in, first: t.channels, open: in.Gate.Channels()})
		t.channels += in.Gate.Channels()
	}
	if len(t.gates) == 0 {
		src, ok := head.op.(operator.SplitReceiver)
		if !ok {
			return fmt.Errorf("%s has no input and is no source", head.spec)
		}
		t.source = src
	}
	t.open = max(t.channels, 1)
	t.frontier = flow.NewFrontier(t.open)
	for _, g := range t.gates {
		if g.Together > 0 {
			t.frontier.Together(g.Together, g.first, g.first+g.Gate.Channels())
		}
	}
	t.aligner = checkpoint.NewAligner(t.open)
	t.setOvertaking()
	return nil
}

func attach(out operator.Attacher, receiver any) error {
	if out == nil {
		return errors.New("there is no such outlet")
	}
	if receiver == nil {
		return errors.New("there is no such input port")
	}
	return out.Attach(receiver)
}

func (t *Task) context(n *node) *operator.Context {
	c := &t.cfg
	return &operator.Context{
		Job:            c.Job,
		Attempt:        c.Attempt,
		Operator:       n.spec.ID,
		Name:           n.spec.Name,
		TaskID:         c.ID,
		Subtask:        c.ID.Subtask,
		Parallelism:    c.Chain.Parallelism,
		MaxParallelism: c.MaxParallelism,
		KeyGroups:      flow.RangeOf(c.MaxParallelism, c.Chain.Parallelism, c.ID.Subtask),
		BatchSize:      c.BatchSize,
		Restored:       c.Restored,
		Staging:        c.Staging,
		Batch:          c.Batch,
		Metrics:        c.Registry.Operator(t.times, string(n.spec.ID), n.spec.Name, n.spec.Kind, c.ID.Subtask),
		Log:            c.Log.With("operator", n.spec.Name, "subtask", c.ID.Subtask),
		Task:           t,
	}
}

// ID is the task's identity.
func (t *Task) ID() flow.TaskID { return t.cfg.ID }

// Run opens the keyed state and the operators, restores them, works until the task is
// finished or cancelled, and closes all. It returns nil when the task was told to finish, the context's error
// when it was cancelled, and a *flow.Failure otherwise.
func (t *Task) Run() (err error) {
	defer t.cancel(nil)
	stop := context.AfterFunc(t.ctx, func() {
		t.stopped.Store(true)
		t.Wake()
	})
	defer stop()
	opened := 0
	err = t.guard(func() error {
		if err := t.openStore(); err != nil {
			return err
		}
		for _, n := range t.nodes {
			opened++
			t.at = n
			n.ctx.State = t.store
			if err := n.op.Open(n.ctx); err != nil {
				return t.failure(n, err)
			}
		}
		if err := t.giveBack(); err != nil {
			return err
		}
		return t.openReplays()
	})
	if err == nil {
		t.times.Takes(t.inputs())
		t.sampleState()
		t.cfg.Listener.Running()
		t.times.Begin(time.Now())
		err = t.guard(t.loop)
		t.times.End(time.Now())
	}
	if errors.Is(err, shuffle.ErrClosed) {
		// A consumer has failed. Its failure is the cause, and is told by its own
		// task; this one will be cancelled because of it.
		<-t.ctx.Done()
		err = context.Cause(t.ctx)
	}
	t.cancel(err)
	t.mail.close()
	t.orders.close()
	t.saves.close()
	for i := opened - 1; i >= 0; i-- {
		n := t.nodes[i]
		t.at = n
		closeErr := t.guard(func() error {
			if err := n.op.Close(); err != nil {
				return t.failure(n, err)
			}
			return nil
		})
		if err == nil {
			err = closeErr
		}
	}
	for _, g := range t.gates {
		g.Gate.Close()
	}
	if t.store == nil {
		return err
	}
	if closeErr := t.store.Close(); err == nil && closeErr != nil {
		err = t.keyedFailure(fmt.Errorf("closing it: %w", closeErr))
	}
	return err
}

// openStore opens the keyed state, with what was restored of it.
func (t *Task) openStore() error {
	store, err := t.cfg.State(t.ctx)
	if err != nil {
		return t.keyedFailure(err)
	}
	t.store = store
	store.Notify(func() {
		t.putOff.Store(true)
		t.signal()
	})
	return nil
}

// loop is the task's life between open and close.
func (t *Task) loop() error {
	for {
		if t.stopped.Load() {
			return context.Cause(t.ctx)
		}
		if t.mail.pending() || t.orders.pending() {
			if err := t.run(&t.mail); err != nil {
				return err
			}
			if err := t.run(&t.orders); err != nil {
				return err
			}
			continue
		}
		if t.finished {
			return nil
		}
		if t.nextWake != flow.MaxTime {
			if err := t.fireTimers(); err != nil {
				return err
			}
		}
		if now, at := t.heard(); now || at != flow.MaxTime {
			if err := t.hear(); err != nil {
				return err
			}
		}
		stepped := t.writable()
		if stepped {
			worked, err := t.step()
			if err != nil {
				return err
			}
			if worked {
				if err := t.stepStore(true); err != nil {
					return err
				}
				continue
			}
		}
		if err := t.flush(); err != nil {
			return err
		}
		if t.putOff.Load() {
			if err := t.stepStore(false); err != nil {
				return err
			}
			continue
		}
		t.park(stepped)
	}
}

// step takes one thing from the inputs.
func (t *Task) step() (worked bool, err error) {
	if len(t.replays) > 0 {
		return t.stepReplay()
	}
	if t.source != nil {
		return t.stepSource()
	}
	if len(t.gates) == 1 {
		return t.stepGate(0)
	}
	// With several gates each gets its turn, so that none starves.
	first := 0
	if t.cfg.Rand != nil {
		first = t.cfg.Rand.IntN(len(t.gates))
	}
	for k := range t.gates {
		w, err := t.stepGate((first + k) % len(t.gates))
		if err != nil {
			return true, err
		}
		worked = worked || w
		if w && t.cfg.Rand != nil {
			return true, nil
		}
		if w && !t.writable() {
			return true, nil
		}
	}
	return worked, nil
}

func (t *Task) stepGate(i int) (bool, error) {
	g := &t.gates[i]
	t.at = t.nodes[0]
	e, ok, err := g.Gate.Next()
	if err != nil {
		return true, t.failed(err)
	}
	if !ok {
		return false, nil
	}
	if e.Records > 0 {
		if t.flight != nil {
			t.boundFlight()
		}
		t.frontier.SetActive(g.first + e.Channel)
		if t.idle {
			if err := t.frontierMoved(); err != nil {
				return true, err
			}
		}
		return true, t.stateErr()
	}
	return true, t.control(g, e.Channel, e.Control)
}

// writable reports whether all writers have credit.
func (t *Task) writable() bool {
	for _, w := range t.writers {
		if !w.Available() {
			return false
		}
	}
	return true
}

// flush sends what is collected, since there is nothing else to do.
func (t *Task) flush() error {
	for _, n := range t.nodes {
		if idler, ok := n.op.(operator.Idler); ok {
			t.at = n
			if err := idler.Idle(); err != nil {
				return t.failure(n, err)
			}
		}
	}
	if t.idle && t.untold {
		if err := t.tellIdle(true); err != nil {
			return err
		}
	}
	for _, w := range t.writers {
		if err := w.Flush(); err != nil {
			return t.failed(err)
		}
	}
	return nil
}

// Finish makes Run return when the mail before it was handled.
func (t *Task) Finish() { t.order(func() error { t.finished = true; return nil }) }

// Cancel ends the task at once.
func (t *Task) Cancel() { t.cancel(context.Canceled) }
