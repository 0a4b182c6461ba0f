package join

import (
	"fmt"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// Interval is an inner join of records of a key that are near in event time: a
// left one at t meets the right ones from t+Lower to t+Upper, both included.
type Interval[K comparable, L, R any] struct {
	Keys[K, L, R]
	Lower, Upper time.Duration
}

// Validate refuses an interval that holds nothing.
func (c *Interval[K, L, R]) Validate() error {
	if c.Lower > c.Upper {
		return fmt.Errorf("join: an interval from %v to %v is empty; swap the bounds", c.Lower, c.Upper)
	}
	return c.Keys.Validate()
}

// NewInterval makes the operator. A result has the later of the two times.
func NewInterval[K comparable, L, R, Out any](cfg Interval[K, L, R], out func(L, R) Out) (operator.Operator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	o := &interval[K, L, R, Out]{lower: flow.Span(cfg.Lower), upper: flow.Span(cfg.Upper), make: out}
	o.init(cfg.Keys)
	o.timed = true
	o.left.handle, o.right.handle = o.onLeft, o.onRight
	return o, nil
}

// interval keeps both sides of a key in one value, each in the order of time. A
// key has one timer, set for the moment when all that was kept when it was set
// can go; what is over before that goes when its key has a record.
type interval[K comparable, L, R, Out any] struct {
	sides[K, L, R, Out]
	lower, upper flow.Time
	make         func(L, R) Out
	cells        *state.Cells[K, struct{}, nearby[L, R]]
	timers       *state.Timers[K, struct{}]
}

type nearby[L, R any] struct {
	Left  []timed[L] `msgpack:"l"`
	Right []timed[R] `msgpack:"r"`
	Timer bool       `msgpack:"t"` // whether the key has one
}

func (o *interval[K, L, R, Out]) Open(ctx *operator.Context) (err error) {
	if err = o.open(ctx); err != nil {
		return err
	}
	if o.cells, err = state.NewCells[K, struct{}, nearby[L, R]](ctx.State, o.state("records")); err != nil {
		return err
	}
	o.timers, err = state.NewTimers[K, struct{}](ctx.State, o.state("cleanup"))
	return err
}

func (o *interval[K, L, R, Out]) onLeft(h flow.Hash, k K, v L, t flow.Time) {
	if t <= o.clock {
		tooLate(&o.core, &o.left, v, t)
		return
	}
	n, _ := o.cells.Ref(h, k, struct{}{})
	last := t.Plus(o.upper)
	for i := from(n.Right, t.Plus(o.lower)); i < len(n.Right) && n.Right[i].At <= last; i++ {
		o.out.EmitAt(o.make(v, n.Right[i].Value), max(t, n.Right[i].At))
	}
	if last > o.clock {
		n.Left = insert(n.Left, timed[L]{t, v})
	}
	o.tidy(h, k, n)
}

func (o *interval[K, L, R, Out]) onRight(h flow.Hash, k K, v R, t flow.Time) {
	if t <= o.clock {
		tooLate(&o.core, &o.right, v, t)
		return
	}
	n, _ := o.cells.Ref(h, k, struct{}{})
	last := t.Plus(-o.lower)
	for i := from(n.Left, t.Plus(-o.upper)); i < len(n.Left) && n.Left[i].At <= last; i++ {
		o.out.EmitAt(o.make(n.Left[i].Value, v), max(t, n.Left[i].At))
	}
	if last > o.clock {
		n.Right = insert(n.Right, timed[R]{t, v})
	}
	o.tidy(h, k, n)
}

// tidy drops what no record to come can meet, and sees to the timer.
func (o *interval[K, L, R, Out]) tidy(h flow.Hash, k K, n *nearby[L, R]) {
	if o.clock != flow.MinTime {
		// A left record is needed while right ones up to its time plus upper come.
		for len(n.Left) > 0 && n.Left[0].At.Plus(o.upper) <= o.clock {
			n.Left = drop(n.Left, 1)
		}
		for len(n.Right) > 0 && n.Right[0].At.Plus(-o.lower) <= o.clock {
			n.Right = drop(n.Right, 1)
		}
	}
	l, r := len(n.Left), len(n.Right)
	switch {
	case l+r == 0 && !n.Timer:
		o.cells.Delete(h, k, struct{}{})
	case l+r > 0 && !n.Timer:
		at := flow.MinTime
		if l > 0 {
			at = n.Left[l-1].At.Plus(o.upper)
		}
		if r > 0 {
			at = max(at, n.Right[r-1].At.Plus(-o.lower))
		}
		n.Timer = true
		o.timers.Add(h, k, struct{}{}, at)
	}
}

func (o *interval[K, L, R, Out]) Watermark(t flow.Time) (flow.Time, error) {
	if t > o.clock {
		o.clock = t
	}
	for {
		h, k, _, _, ok := o.timers.Pop(o.clock)
		if !ok {
			return t, o.end()
		}
		n, _ := o.cells.Ref(h, k, struct{}{})
		n.Timer = false
		o.tidy(h, k, n)
	}
}
