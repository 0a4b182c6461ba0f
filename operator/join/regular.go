package join

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// Regular joins each left record with each right one of its key, whenever they
// come. Both sides are kept for ever. A left or full join gives a record
// unmatched when it comes, and takes that back when the first one comes that it
// meets.
type Regular[K comparable, L, R any] struct {
	Keys[K, L, R]
	Kind Kind
}

// NewRegular makes the operator. A result has the time of the record that made it.
func NewRegular[K comparable, L, R, Out any](cfg Regular[K, L, R], out func(Pair[L, R]) Out) (operator.Operator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	o := &regular[K, L, R, Out]{kind: cfg.Kind, make: out}
	o.init(cfg.Keys)
	o.left.handle, o.right.handle = o.onLeft, o.onRight
	return o, nil
}

type regular[K comparable, L, R, Out any] struct {
	sides[K, L, R, Out]
	kind   Kind
	make   func(Pair[L, R]) Out
	lefts  *state.Lists[K, L]
	rights *state.Lists[K, R]
}

func (o *regular[K, L, R, Out]) Open(ctx *operator.Context) (err error) {
	if err = o.open(ctx); err != nil {
		return err
	}
	if o.lefts, err = state.NewLists[K, L](ctx.State, o.state("left")); err != nil {
		return err
	}
	o.rights, err = state.NewLists[K, R](ctx.State, o.state("right"))
	return err
}

func (o *regular[K, L, R, Out]) give(p Pair[L, R]) { o.out.Emit(o.make(p)) }

func (o *regular[K, L, R, Out]) onLeft(h flow.Hash, k K, v L, t flow.Time) {
	o.out.At(t)
	first := o.kind.keepsRight() && len(o.lefts.Get(h, k)) == 0
	o.lefts.Append(h, k, v)
	rights := o.rights.Get(h, k)
	if len(rights) == 0 && o.kind.keepsLeft() {
		o.give(onlyLeft[L, R](v))
	}
	for _, r := range rights {
		if first {
			p := onlyRight[L](r)
			p.Retract = true
			o.give(p)
		}
		o.give(both(v, r))
	}
}

func (o *regular[K, L, R, Out]) onRight(h flow.Hash, k K, v R, t flow.Time) {
	o.out.At(t)
	first := o.kind.keepsLeft() && len(o.rights.Get(h, k)) == 0
	o.rights.Append(h, k, v)
	lefts := o.lefts.Get(h, k)
	if len(lefts) == 0 && o.kind.keepsRight() {
		o.give(onlyRight[L](v))
	}
	for _, l := range lefts {
		if first {
			p := onlyLeft[L, R](l)
			p.Retract = true
			o.give(p)
		}
		o.give(both(l, v))
	}
}
