package join

import (
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// Temporal joins left records with a table that changes: each right record is a
// version of its key, valid from its event time on. A left record meets the
// version that was valid at its own time. It waits until the watermark has
// reached that time, so that no version can come in between.
//
// A left record that comes late is sent to LateLeft. A version that comes late is
// counted, and valid for the left records that still wait or will come.
type Temporal[K comparable, L, R any] struct {
	Keys[K, L, R]
	// Kind is Inner or Left.
	Kind Kind
	// Ends reports whether a version says that there is none from its time on.
	// Default: never.
	Ends func(R) bool
}

// NewTemporal makes the operator. A result has the left record's time.
func NewTemporal[K comparable, L, R, Out any](cfg Temporal[K, L, R], out func(Pair[L, R]) Out) (operator.Operator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Kind == Full {
		return nil, fmt.Errorf("join: a temporal join is inner or left; a version that nobody asks for is no result")
	}
	o := &temporal[K, L, R, Out]{kind: cfg.Kind, ends: cfg.Ends, make: out}
	o.init(cfg.Keys)
	o.timed = true
	o.left.handle, o.right.handle = o.onLeft, o.onRight
	return o, nil
}

type temporal[K comparable, L, R, Out any] struct {
	sides[K, L, R, Out]
	kind   Kind
	ends   func(R) bool
	make   func(Pair[L, R]) Out
	cells  *state.Cells[K, struct{}, history[L, R]]
	timers *state.Timers[K, struct{}]
}

// history is what is kept of one key, both in the order of time.
type history[L, R any] struct {
	Waiting  []timed[L] `msgpack:"w"`
	Versions []timed[R] `msgpack:"v"`
	Timer    flow.Time  `msgpack:"t"` // the earliest that is set, or noTimer
}

const noTimer = flow.MaxTime

func (o *temporal[K, L, R, Out]) Open(ctx *operator.Context) (err error) {
	if err = o.open(ctx); err != nil {
		return err
	}
	if o.cells, err = state.NewCells[K, struct{}, history[L, R]](ctx.State, o.state("versions")); err != nil {
		return err
	}
	o.timers, err = state.NewTimers[K, struct{}](ctx.State, o.state("timers"))
	return err
}

func (o *temporal[K, L, R, Out]) ref(h flow.Hash, k K) *history[L, R] {
	s, fresh := o.cells.Ref(h, k, struct{}{})
	if fresh {
		s.Timer = noTimer
	}
	return s
}

func (o *temporal[K, L, R, Out]) onLeft(h flow.Hash, k K, v L, t flow.Time) {
	if t <= o.clock {
		tooLate(&o.core, &o.left, v, t)
		return
	}
	s := o.ref(h, k)
	s.Waiting = insert(s.Waiting, timed[L]{t, v})
	o.watch(h, k, s)
}

func (o *temporal[K, L, R, Out]) onRight(h flow.Hash, k K, v R, t flow.Time) {
	if t <= o.clock {
		o.count++
	}
	s := o.ref(h, k)
	// Of versions of one time the one that comes last holds.
	if i := from(s.Versions, t); i < len(s.Versions) && s.Versions[i].At == t {
		s.Versions[i].Value = v
	} else {
		s.Versions = insert(s.Versions, timed[R]{t, v})
	}
	o.settle(h, k, s)
}

// settle drops what is over, and sees to the timer for what is not.
func (o *temporal[K, L, R, Out]) settle(h flow.Hash, k K, s *history[L, R]) {
	o.tidy(s)
	if len(s.Waiting) == 0 && len(s.Versions) == 0 {
		o.cells.Delete(h, k, struct{}{})
		return
	}
	o.watch(h, k, s)
}

// valid is the version at t, or nil.
func (o *temporal[K, L, R, Out]) valid(s *history[L, R], t flow.Time) *R {
	i := from(s.Versions, t+1) - 1
	if i < 0 || o.ends != nil && o.ends(s.Versions[i].Value) {
		return nil
	}
	return &s.Versions[i].Value
}

// tidy drops the versions that end before the watermark. No left record can ask
// for them, for those at or before the watermark have been answered.
func (o *temporal[K, L, R, Out]) tidy(s *history[L, R]) {
	if o.clock == flow.MinTime || o.clock == flow.MaxTime {
		return
	}
	if n := from(s.Versions, o.clock+1) - 1; n > 0 {
		s.Versions = drop(s.Versions, n)
	}
	if len(s.Versions) > 0 && s.Versions[0].At <= o.clock && o.ends != nil && o.ends(s.Versions[0].Value) {
		s.Versions = drop(s.Versions, 1)
	}
}

// watch sees to a timer for the first record that waits, or for the version that
// will end others.
func (o *temporal[K, L, R, Out]) watch(h flow.Hash, k K, s *history[L, R]) {
	at := noTimer
	if len(s.Waiting) > 0 {
		at = s.Waiting[0].At
	} else if n := len(s.Versions); n > 1 || n == 1 && o.ends != nil && o.ends(s.Versions[0].Value) {
		at = s.Versions[n-1].At
	}
	if at < s.Timer {
		s.Timer = at
		o.timers.Add(h, k, struct{}{}, at)
	}
}

func (o *temporal[K, L, R, Out]) Watermark(t flow.Time) (flow.Time, error) {
	if t > o.clock {
		o.clock = t
	}
	for {
		h, k, _, at, ok := o.timers.Pop(o.clock)
		if !ok {
			return t, o.end()
		}
		s := o.ref(h, k)
		if s.Timer <= at {
			s.Timer = noTimer
		}
		n := from(s.Waiting, o.clock)
		for n < len(s.Waiting) && s.Waiting[n].At == o.clock {
			n++
		}
		for i := range s.Waiting[:n] {
			o.answer(s, &s.Waiting[i])
		}
		if o.clock == flow.MaxTime {
			// Nothing comes any more: whoever waited was answered, and no version is
			// needed again. To look for the next end would find the same for ever.
			o.cells.Delete(h, k, struct{}{})
			continue
		}
		s.Waiting = drop(s.Waiting, n)
		o.settle(h, k, s)
	}
}

func (o *temporal[K, L, R, Out]) answer(s *history[L, R], l *timed[L]) {
	var p Pair[L, R]
	if r := o.valid(s, l.At); r != nil {
		p = both(l.Value, *r)
	} else if o.kind == Left {
		p = onlyLeft[L, R](l.Value)
	} else {
		return
	}
	o.out.EmitAt(o.make(p), l.At)
}
