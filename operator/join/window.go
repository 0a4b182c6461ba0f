package join

import (
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/operator/window"
)

// Window joins the records of a key that are in the same window. All pairs are
// given when the window is complete.
type Window[K comparable, L, R any] struct {
	Keys[K, L, R]
	Kind Kind
	// Assigner makes tumbling, sliding, cumulative, session or global windows. The
	// gap of sessions is between records of either side.
	Assigner window.Assigner
}

// NewWindow makes the operator. A result has the time of its window's last
// instant.
func NewWindow[K comparable, L, R, Out any](cfg Window[K, L, R], out func(w window.Window, p Pair[L, R]) Out) (operator.Operator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if a := cfg.Assigner; a.Kind == window.KindCount || a.Dynamic {
		return nil, fmt.Errorf("join: no join in windows %v; take tumbling, sliding, cumulative, session or global ones", a)
	}
	if cfg.Name == "" {
		cfg.Name = "join"
	}
	inner, err := window.NewFold(window.Config[K, either[L, R]]{
		Spec: window.Spec{Assigner: cfg.Assigner},
		Name: cfg.Name,
		Key: operator.Key[either[L, R], K]{
			Of: func(e either[L, R]) K {
				if e.IsRight {
					return cfg.Right.Of(e.Right)
				}
				return cfg.Left.Of(e.Left)
			},
			// Batches are given with their hashes.
			Hash: func([]either[L, R], []flow.Hash) []flow.Hash { panic("join: a batch without hashes") },
		},
	}, fold[K](cfg.Kind, out))
	if err != nil {
		return nil, err
	}
	o := &windows[K, L, R]{Operator: inner}
	o.in = inner.Inlet(0).(operator.Receiver[either[L, R]])
	o.left = half[K, L, R, L]{join: o, key: cfg.Left, wrap: func(l L) either[L, R] { return either[L, R]{Left: l} }}
	o.right = half[K, L, R, R]{join: o, key: cfg.Right, wrap: func(r R) either[L, R] { return either[L, R]{Right: r, IsRight: true} }}
	return o, nil
}

// either is a record of one of the sides: the input of the window operator that
// does the work.
type either[L, R any] struct {
	Left    L
	Right   R
	IsRight bool
}

// met are the records of one key in one window.
type met[L, R any] struct {
	Left  []L `msgpack:"l"`
	Right []R `msgpack:"r"`
}

func fold[K comparable, L, R, Out any](kind Kind, out func(window.Window, Pair[L, R]) Out) window.Fold[K, either[L, R], met[L, R], Out] {
	return window.Fold[K, either[L, R], met[L, R], Out]{
		Add: func(m *met[L, R], e either[L, R]) {
			if e.IsRight {
				m.Right = append(m.Right, e.Right)
			} else {
				m.Left = append(m.Left, e.Left)
			}
		},
		Merge: func(into, from *met[L, R]) {
			into.Left = append(into.Left, from.Left...)
			into.Right = append(into.Right, from.Right...)
		},
		Emit: func(_ K, w window.Window, _ window.Pane, m *met[L, R], emit func(Out)) {
			switch {
			case len(m.Right) == 0 && kind.keepsLeft():
				for _, l := range m.Left {
					emit(out(w, onlyLeft[L, R](l)))
				}
			case len(m.Left) == 0 && kind.keepsRight():
				for _, r := range m.Right {
					emit(out(w, onlyRight[L](r)))
				}
			default:
				for _, l := range m.Left {
					for _, r := range m.Right {
						emit(out(w, both(l, r)))
					}
				}
			}
		},
		Keeps: true,
	}
}

// windows is a window operator over both sides. It gives it two inlets, and two
// outlets for late records.
type windows[K comparable, L, R any] struct {
	operator.Operator
	in    operator.Receiver[either[L, R]]
	left  half[K, L, R, L]
	right half[K, L, R, R]
	lateL operator.Output[L]
	lateR operator.Output[R]
	size  int
}

// half is one of the inlets.
type half[K comparable, L, R, T any] struct {
	join *windows[K, L, R]
	key  operator.Key[T, K]
	wrap func(T) either[L, R]
	both flow.Batch[either[L, R]]
	buf  []flow.Hash
}

// Receive hands a batch on.
func (h *half[K, L, R, T]) Receive(b *flow.Batch[T]) error {
	hashes := b.Hashes
	if len(hashes) != len(b.Values) {
		h.buf = h.key.Hash(b.Values, h.buf[:0])
		hashes = h.buf
	}
	h.both.Values = h.both.Values[:0]
	for _, v := range b.Values {
		h.both.Values = append(h.both.Values, h.wrap(v))
	}
	h.both.Times, h.both.Hashes = b.Times, hashes
	err := h.join.in.Receive(&h.both)
	clear(h.both.Values)
	h.both.Times, h.both.Hashes = nil, nil
	return err
}

func (o *windows[K, L, R]) Inlet(p flow.Port) any {
	switch p {
	case 0:
		return &o.left
	case 1:
		return &o.right
	}
	return nil
}

func (o *windows[K, L, R]) Outlet(out flow.Outlet) operator.Attacher {
	switch out {
	case 0:
		return o.Operator.Outlet(0)
	case LateLeft:
		return &o.lateL
	case LateRight:
		return &o.lateR
	}
	return nil
}

// Open opens the window operator, in a task to which it goes by the join's name.
func (o *windows[K, L, R]) Open(ctx *operator.Context) error {
	o.size = max(1, ctx.BatchSize)
	if o.lateL.Attached() || o.lateR.Attached() {
		if err := o.Operator.Outlet(window.LateOutlet).Attach(&lateSplit[K, L, R]{join: o}); err != nil {
			return err
		}
	}
	own := *ctx
	own.Task = alias{ctx.Task, o}
	return o.Operator.Open(&own)
}

// Failing tells the record or window in hand.
func (o *windows[K, L, R]) Failing() string { return o.Operator.(operator.Failer).Failing() }

// alias stands in for the operator within when it asks to be woken.
type alias struct {
	operator.Task
	op operator.Operator
}

func (a alias) WakeAt(_ operator.Operator, t flow.Time) { a.Task.WakeAt(a.op, t) }

// lateSplit sends late records back to their sides.
type lateSplit[K comparable, L, R any] struct {
	join  *windows[K, L, R]
	left  flow.Batch[L]
	right flow.Batch[R]
}

func (s *lateSplit[K, L, R]) Receive(b *flow.Batch[either[L, R]]) error {
	s.left.Reset()
	s.right.Reset()
	for i, e := range b.Values {
		if e.IsRight {
			s.right.Append(e.Right, b.Time(i))
		} else {
			s.left.Append(e.Left, b.Time(i))
		}
	}
	if s.left.Len() > 0 {
		if err := s.join.lateL.Send(&s.left); err != nil {
			return err
		}
	}
	if s.right.Len() > 0 {
		return s.join.lateR.Send(&s.right)
	}
	return nil
}
