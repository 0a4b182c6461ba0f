package operator

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// The names of the states of NewDistinct and NewTopN. They are stored.
const (
	DistinctState = "seen"
	TopNState     = "top"
)

// NewDistinct makes an operator that lets pass the first record of each key.
func NewDistinct[K comparable, T any](key Key[T, K]) Operator {
	return &distinct[K, T]{hasher: hasher[T, K]{key: key}}
}

type distinct[K comparable, T any] struct {
	one[T, T]
	hasher[T, K]
	cells *state.Cells[K, struct{}, bool]
	batch flow.Batch[T]
}

func (d *distinct[K, T]) Inlet(flow.Port) any { return d }

func (d *distinct[K, T]) Open(ctx *Context) (err error) {
	if err := d.one.Open(ctx); err != nil {
		return err
	}
	d.cells, err = state.NewCells[K, struct{}, bool](ctx.State, state.Descriptor{Operator: ctx.Operator, Name: DistinctState})
	return err
}

func (d *distinct[K, T]) Receive(b *flow.Batch[T]) error {
	d.enter(b)
	hashes := d.hashes(b)[:len(b.Values)]
	d.batch.Truncate()
	for i := range b.Values {
		d.cursor.I = i
		seen, fresh := d.cells.Ref(hashes[i], d.key.Of(b.Values[i]), struct{}{})
		if fresh {
			*seen = true
			d.batch.Append(b.Values[i], b.Time(i))
		}
	}
	d.cursor.Leave()
	if len(d.batch.Values) == 0 {
		return nil
	}
	return d.out.Send(&d.batch)
}

// Ranking is the best records of a key, the best one first.
type Ranking[K, T any] struct {
	Key K
	Top []T
}

// NewTopN makes an operator that keeps the n best records of each key, and sends
// them all whenever one comes among them. less(a, b) says that a is better; of
// equals the earlier is better. n is at least 1.
func NewTopN[K comparable, T any](key Key[T, K], n int, less func(a, b T) bool) Operator {
	return &topN[K, T]{hasher: hasher[T, K]{key: key}, n: n, less: less}
}

type topN[K comparable, T any] struct {
	one[T, Ranking[K, T]]
	hasher[T, K]
	n     int
	less  func(a, b T) bool
	cells *state.Cells[K, struct{}, []T]
	batch flow.Batch[Ranking[K, T]]
}

func (o *topN[K, T]) Inlet(flow.Port) any { return o }

func (o *topN[K, T]) Open(ctx *Context) (err error) {
	if err := o.one.Open(ctx); err != nil {
		return err
	}
	o.cells, err = state.NewCells[K, struct{}, []T](ctx.State, state.Descriptor{Operator: ctx.Operator, Name: TopNState})
	return err
}

func (o *topN[K, T]) Receive(b *flow.Batch[T]) error {
	o.enter(b)
	hashes := o.hashes(b)[:len(b.Values)]
	o.batch.Truncate()
	for i := range b.Values {
		o.cursor.I = i
		k := o.key.Of(b.Values[i])
		top, _ := o.cells.Ref(hashes[i], k, struct{}{})
		if Rank(top, o.n, b.Values[i], o.less) {
			// Whoever receives the ranking may keep it, so it gets its own copy.
			o.batch.Append(Ranking[K, T]{k, append([]T(nil), *top...)}, b.Time(i))
		}
	}
	o.cursor.Leave()
	if len(o.batch.Values) == 0 {
		return nil
	}
	err := o.out.Send(&o.batch)
	o.batch.Reset()
	return err
}

// Rank puts v in its place among the n best, the best one first, and drops what is
// too much. It reports whether v has got a place. Equals stand in the order in
// which they came.
func Rank[T any](top *[]T, n int, v T, less func(a, b T) bool) bool {
	s := *top
	// The place is behind all that v is not better than.
	lo, hi := 0, len(s)
	for lo < hi {
		if m := (lo + hi) / 2; less(v, s[m]) {
			hi = m
		} else {
			lo = m + 1
		}
	}
	if lo >= n {
		return false
	}
	if len(s) < n {
		s = append(s, v)
	}
	copy(s[lo+1:], s[lo:len(s)-1])
	s[lo] = v
	*top = s
	return true
}
