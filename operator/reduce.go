package operator

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// The names of the states of running reduces and aggregates. They are stored.
const (
	ReduceState    = "reduce"
	AggregateState = "aggregate"
)

// NewReduce makes an operator that folds the records of each key into one, and
// sends what it has come to after each record. f is called with what the earlier
// records came to, and the new one.
func NewReduce[K comparable, T any](key Key[T, K], f func(acc, v T) T) Operator {
	return &reducer[K, T]{hasher: hasher[T, K]{key: key}, f: f}
}

type reducer[K comparable, T any] struct {
	one[T, T]
	hasher[T, K]
	f     func(acc, v T) T
	cells *state.Cells[K, struct{}, T]
	batch flow.Batch[T]
}

func (r *reducer[K, T]) Inlet(flow.Port) any { return r }

func (r *reducer[K, T]) Open(ctx *Context) (err error) {
	if err := r.one.Open(ctx); err != nil {
		return err
	}
	r.cells, err = state.NewCells[K, struct{}, T](ctx.State, state.Descriptor{Operator: ctx.Operator, Name: ReduceState})
	return err
}

func (r *reducer[K, T]) Receive(b *flow.Batch[T]) error {
	r.enter(b)
	vals := b.Values
	hashes := r.hashes(b)[:len(vals)]
	out := column(&r.batch, len(vals))[:len(vals)]
	of, f, cells := r.key.Of, r.f, r.cells
	cells.Ahead(hashes, struct{}{})
	for i := range vals {
		r.cursor.I = i
		acc, fresh := cells.Ref(hashes[i], of(vals[i]), struct{}{})
		if fresh {
			*acc = vals[i]
		} else {
			*acc = f(*acc, vals[i])
		}
		out[i] = *acc
	}
	r.cursor.Leave()
	r.batch.Times = b.Times
	return r.out.Send(&r.batch)
}

// column makes the values of an operator's own batch n long, for it to write each
// of them. What was in them stays until then.
func column[T any](b *flow.Batch[T], n int) []T {
	if cap(b.Values) < n {
		b.Values = make([]T, n)
	}
	b.Values = b.Values[:n]
	return b.Values
}

// NewRunning makes an operator that adds each record to its key's accumulator, and
// sends the key with the accumulator's result after each record.
func NewRunning[K comparable, In, Acc, Out any](key Key[In, K], a Aggregator[In, Acc, Out]) Operator {
	return &running[K, In, Acc, Out]{hasher: hasher[In, K]{key: key}, a: a}
}

type running[K comparable, In, Acc, Out any] struct {
	one[In, KeyValue[K, Out]]
	hasher[In, K]
	a     Aggregator[In, Acc, Out]
	cells *state.Cells[K, struct{}, Acc]
	batch flow.Batch[KeyValue[K, Out]]
}

func (r *running[K, In, Acc, Out]) Inlet(flow.Port) any { return r }

func (r *running[K, In, Acc, Out]) Open(ctx *Context) (err error) {
	if err := r.one.Open(ctx); err != nil {
		return err
	}
	r.cells, err = state.NewCells[K, struct{}, Acc](ctx.State, state.Descriptor{Operator: ctx.Operator, Name: AggregateState})
	return err
}

func (r *running[K, In, Acc, Out]) Receive(b *flow.Batch[In]) error {
	r.enter(b)
	vals := b.Values
	hashes := r.hashes(b)[:len(vals)]
	out := column(&r.batch, len(vals))[:len(vals)]
	of, add, result, cells := r.key.Of, r.a.Add, r.a.Result, r.cells
	cells.Ahead(hashes, struct{}{})
	for i := range vals {
		r.cursor.I = i
		k := of(vals[i])
		acc, fresh := cells.Ref(hashes[i], k, struct{}{})
		if fresh && r.a.New != nil {
			*acc = r.a.New()
		}
		add(acc, vals[i])
		out[i] = KeyValue[K, Out]{k, result(acc)}
	}
	r.cursor.Leave()
	r.batch.Times = b.Times
	return r.out.Send(&r.batch)
}
