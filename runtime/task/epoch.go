package task

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// epoch ends an epoch: every operator handles the barrier, what they hold is frozen,
// the barrier goes on behind all that they sent. What was frozen is written beside
// the task, and then acknowledged. f is to be filled with the records that the epoch has
// overtaken, nil where it was aligned.
func (t *Task) epoch(b flow.Barrier, f *flight) error {
	began := time.Now()
	if err := t.prepare(b); err != nil {
		return err
	}
	var s *save
	if t.cfg.Snapshots != nil {
		var err error
		if s, err = t.freeze(b, began); err != nil {
			return err
		}
	}
	prepared := t.prepared.For(b.Epoch)
	t.sampleState()
	if err := t.broadcast(flow.BarrierControl(b)); err != nil {
		if s != nil {
			s.drop(err)
		}
		return err
	}
	if s == nil {
		if err := t.stateErr(); err != nil {
			return err
		}
		t.cfg.Listener.Ack(b.Epoch, prepared, nil)
		return nil
	}
	s.prepared, s.flight = prepared, f
	s.snapshot.Books = t.books()
	s.snapshot.Pause = time.Since(began).Microseconds()
	t.saves.add(s)
	return t.stateErr()
}

// prepare tells all operators of the barrier, and keeps what sinks prepare.
func (t *Task) prepare(b flow.Barrier) error {
	for _, n := range t.nodes {
		t.at = n
		data, err := n.op.Barrier(b)
		if err != nil {
			return t.failure(n, err)
		}
		if data == nil {
			continue
		}
		c := checkpoint.Committable{Operator: n.spec.ID, Subtask: t.cfg.ID.Subtask, Epoch: b.Epoch, Data: data}
		if g, ok := n.op.(operator.Stager); ok {
			c.Files, c.Records = g.Staged()
			n.prepared += c.Records
		}
		t.prepared.Add(c)
	}
	return nil
}

// freeze takes what the task holds between two records: all but the keyed state is
// small and is copied, the keyed state is marked and written later.
func (t *Task) freeze(b flow.Barrier, began time.Time) (*save, error) {
	groups := t.nodes[0].ctx.KeyGroups
	s := &save{barrier: b, began: began, snapshot: checkpoint.TaskSnapshot{
		Chain: string(t.cfg.ID.Chain), Subtask: t.cfg.ID.Subtask, Parallelism: t.cfg.Chain.Parallelism,
		First: uint16(groups.First), End: uint16(groups.End),
	}}
	for _, n := range t.nodes {
		t.at = n
		kept, err := t.keep(n)
		if err != nil {
			return nil, t.failure(n, err)
		}
		s.snapshot.Operators = append(s.snapshot.Operators, kept...)
	}
	t.at = nil
	form := state.FormLSM
	if b.Kind == flow.BarrierSavepoint {
		form = state.FormPortable
	}
	z, err := t.store.Freeze(form)
	if err != nil {
		return nil, t.keyedFailure(fmt.Errorf("freezing it for epoch %d: %w", b.Epoch, err))
	}
	s.frozen = z
	t.putOff.Store(true)
	return s, nil
}

// keep asks an operator for what it keeps beside keyed state: a source for its splits,
// any other for what it says.
func (t *Task) keep(n *node) ([]checkpoint.OperatorState, error) {
	var kept []checkpoint.OperatorState
	if k, ok := n.op.(operator.Keeper); ok {
		var err error
		if kept, err = k.Keep(); err != nil {
			return nil, err
		}
	}
	if n == t.nodes[0] && t.source != nil {
		splits, err := t.source.Splits()
		if err != nil {
			return nil, err
		}
		o := checkpoint.OperatorState{Name: "splits", Mode: checkpoint.Splits}
		for _, sp := range splits {
			o.Items = append(o.Items, checkpoint.AppendSplit(nil, &checkpoint.SavedSplit{ID: sp.ID, Data: sp.Data, Size: sp.Size}))
		}
		kept = append(kept, o)
	}
	for i := range kept {
		kept[i].Operator = string(n.spec.ID)
	}
	return kept, nil
}

// giveBack hands the operators what was kept, as it was dealt out anew. Splits of
// sources are not among it: they come from the job's side.
//
// Then all operators are called as if they had asked for this moment: when they had
// asked to be called is not part of a snapshot.
func (t *Task) giveBack() error {
	if t.cfg.Restored != 0 {
		t.nextWake = t.cfg.Now()
		for _, n := range t.nodes {
			n.wakeAt = t.nextWake
		}
	}
	if t.cfg.Restore == nil {
		return nil
	}
	for _, n := range t.nodes {
		var mine []checkpoint.OperatorState
		for _, o := range t.cfg.Restore.Operators {
			if o.Operator == string(n.spec.ID) && o.Mode != checkpoint.Splits {
				mine = append(mine, o)
			}
		}
		if len(mine) == 0 {
			continue
		}
		t.at = n
		k, ok := n.op.(operator.Keeper)
		if !ok {
			return t.failure(n, fmt.Errorf("%w: epoch %d holds state %q of it, and it keeps none in this program: "+
				"give the operator another id, or drop its state", operator.ErrUser, t.cfg.Restore.Epoch, mine[0].Name))
		}
		if err := k.Restore(mine); err != nil {
			return t.failure(n, fmt.Errorf("restoring what it kept in epoch %d: %w", t.cfg.Restore.Epoch, err))
		}
	}
	return nil
}

// stepStore lets the store do some of what it has put off, or keep its memory within
// bounds. While the task is busy, and there is much to do, the store gets a share of the
// time, and one step at least: by steps alone it would wait for the slowest of
// operators, by time alone a batch would wait for it. When the task has nothing to do
// it is one step, and then another look at the inputs.
func (t *Task) stepStore(busy bool) error {
	if t.putOff.Load() {
		t.putOff.Store(false)
	}
	more := t.store.Step()
	if more && busy {
		now := time.Now()
		until := now.Add(min(now.Sub(t.stepped)/storeShare, storeMost))
		for more && now.Before(until) {
			more = t.store.Step()
			now = time.Now()
		}
		t.stepped = now
	}
	if more {
		t.putOff.Store(true)
	}
	return t.stateErr()
}

const (
	// storeShare of the time that batches take is given to the store on top.
	storeShare = 4
	// storeMost is how long the store gets at most between two batches.
	storeMost = time.Millisecond
)

// keyedFailure is the failure of keyed state that could not be read or written. One
// that the program's types do not fit is the program's.
func (t *Task) keyedFailure(err error) error {
	if isEnd(err) {
		return err
	}
	f := &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Message: "keyed state: " + err.Error(), Cause: err}
	switch {
	case errors.Is(err, state.ErrIncompatible):
		f.Domain, f.Retryable = flow.DomainUser, false
	case errors.Is(err, state.ErrCorrupt):
		f.Retryable = false
	}
	return t.failed(f)
}

// stateErr is the first error that the state met.
func (t *Task) stateErr() error {
	if err := t.store.Err(); err != nil {
		return t.keyedFailure(err)
	}
	return nil
}

func (t *Task) block(channel int, blocked bool) {
	for i := range t.gates {
		g := &t.gates[i]
		if c := channel - g.first; c >= 0 && c < g.Gate.Channels() {
			g.Gate.Block(c, blocked)
			return
		}
	}
}

func (t *Task) unblock() {
	for i := range t.gates {
		for c := range t.gates[i].Gate.Channels() {
			t.gates[i].Gate.Block(c, false)
		}
	}
}

// InjectBarrier starts an epoch at a source task.
func (t *Task) InjectBarrier(b flow.Barrier) { t.inject(b, false) }

func (t *Task) inject(b flow.Barrier, hold bool) {
	t.order(func() error {
		if hold {
			t.hold = b.Epoch
		}
		if len(t.replays) > 0 {
			// What is still to be taken in would be in no snapshot.
			t.held = append(t.held, b)
			return nil
		}
		return t.barrier(0, b)
	})
}

// Hold starts an epoch at a source task, which then reads nothing more: the job is to end with
// the epoch, and what came behind it would be read again by whoever goes on.
func (t *Task) Hold(b flow.Barrier) { t.inject(b, true) }

// AbortEpoch makes the task go on without the epoch: it is not aligned, or not
// written, any further. What sinks have prepared for it stays for the next. A source that
// was held by it reads again.
func (t *Task) AbortEpoch(e flow.Epoch) {
	t.order(func() error {
		if t.hold == e {
			t.hold = 0
		}
		if d := t.aligner.Abort(e); d.Unblock {
			t.unblock()
		}
		t.dropFlight(e, errAborted)
		t.saves.drop(e, errAborted)
		return nil
	})
}

// Committed tells the operators that an epoch is committed.
func (t *Task) Committed(e flow.Epoch) {
	t.order(func() error {
		t.prepared.Committed(e)
		for _, n := range t.nodes {
			t.at = n
			if err := n.op.Committed(e); err != nil {
				return t.failure(n, err)
			}
		}
		return nil
	})
}
