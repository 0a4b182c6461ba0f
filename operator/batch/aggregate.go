package batch

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// Part is an accumulator on its way: with the time of the last record in it.
type Part[A any] struct {
	// At is the time as a number that is 0 where there is none.
	At  uint64 `msgpack:"t"`
	Acc A      `msgpack:"a"`
}

// stampOf and timeOf turn times into numbers that are small where there is no time.
func stampOf(t flow.Time) uint64    { return uint64(t) ^ 1<<63 }
func timeOf(stamp uint64) flow.Time { return flow.Time(stamp ^ 1<<63) }

// mergeable is what grouping by accumulators that can be merged needs.
type mergeable[K comparable, In, A, Out any] struct {
	of     func(In) K
	hash   operator.HashFunc[In]
	make   func() A
	add    func(acc *A, v *In, t flow.Time)
	merge  func(into, from *A)
	result func(k K, acc *A) (Out, flow.Time)
}

// impl is an operator with a combining one in front of its exchange.
func (m mergeable[K, In, A, Out]) impl() (*operator.BatchImpl, error) {
	c, err := operator.NewCombine[K, A](func() operator.Operator {
		return &combiner[K, In, A, Out]{base: base[In, operator.KeyValue[K, A]]{hash: m.hash}, m: m}
	})
	if err != nil {
		return nil, err
	}
	hash := c.Hash.(operator.HashFunc[operator.KeyValue[K, A]])
	return &operator.BatchImpl{Combine: c, New: func() operator.Operator {
		return &grouping[K, In, A, Out]{base: base[operator.KeyValue[K, A], Out]{hash: hash}, m: m}
	}}, nil
}

// combiner makes less of the records in front of an exchange.
type combiner[K comparable, In, A, Out any] struct {
	base[In, operator.KeyValue[K, A]]
	m       mergeable[K, In, A, Out]
	partial *Partial[K, A]
}

func (c *combiner[K, In, A, Out]) Inlet(flow.Port) any { return c }

// Open makes the table.
func (c *combiner[K, In, A, Out]) Open(ctx *operator.Context) (err error) {
	c.open(ctx, func() error { return c.partial.Flush() })
	c.partial, err = NewPartial(PartialOptions[K, A]{New: c.m.make, Emit: c.out.Send, Memory: partialMemory(ctx.Batch.Memory)})
	return err
}

// partialMemory is a small part of what there is, and no more than what fits into a cache.
func partialMemory(memory int) int {
	if memory == 0 {
		memory = DefaultMemory
	}
	return min(4<<20, memory/8)
}

// Receive adds the records to the table.
func (c *combiner[K, In, A, Out]) Receive(b *flow.Batch[In]) error {
	hashes := c.enter(b)
	for i := range b.Values {
		c.cursor.I = i
		acc, err := c.partial.Upsert(hashes[i], c.m.of(b.Values[i]))
		if err != nil {
			return err
		}
		c.m.add(acc, &b.Values[i], b.Time(i))
	}
	c.cursor.Leave()
	return nil
}

// grouping merges what combiners send, and gives each key's result in the end.
type grouping[K comparable, In, A, Out any] struct {
	base[operator.KeyValue[K, A], Out]
	m       mergeable[K, In, A, Out]
	grouper *Grouper[K, A]
	results operator.Cursor[operator.KeyValue[K, A]]
}

func (g *grouping[K, In, A, Out]) Inlet(flow.Port) any { return g }

// Open makes the groups.
func (g *grouping[K, In, A, Out]) Open(ctx *operator.Context) (err error) {
	g.open(ctx, g.emit)
	g.grouper, err = NewGrouper[K](GrouperOptions[A]{New: g.m.make, Merge: g.m.merge,
		Memory: ctx.Batch.Memory, FS: ctx.Batch.FS, Dir: ctx.Batch.Dir})
	return err
}

// Receive merges groups.
func (g *grouping[K, In, A, Out]) Receive(b *flow.Batch[operator.KeyValue[K, A]]) error {
	hashes := g.enter(b)
	ctx := g.Task.Context()
	for i := range b.Values {
		g.cursor.I = i
		if err := g.grouper.Merge(ctx, hashes[i], &b.Values[i]); err != nil {
			return err
		}
	}
	g.cursor.Leave()
	return nil
}

func (g *grouping[K, In, A, Out]) emit() error {
	g.cursor.EnterNote(note("the merging of groups that were on disk"))
	err := g.grouper.Emit(g.Task.Context(), func(b *flow.Batch[operator.KeyValue[K, A]]) error {
		g.batch.Truncate()
		g.results.Enter(b)
		for i := range b.Values {
			g.results.I = i
			out, t := g.m.result(b.Values[i].Key, &b.Values[i].Value)
			g.batch.Append(out, t)
		}
		g.results.Leave()
		err := g.out.Send(&g.batch)
		g.batch.Reset()
		return err
	})
	g.cursor.LeaveNote()
	return err
}

// Failing tells the record or group in hand.
func (g *grouping[K, In, A, Out]) Failing() string {
	if s := g.results.Failing(); s != "" {
		return s
	}
	return g.cursor.Failing()
}

// Close removes the files.
func (g *grouping[K, In, A, Out]) Close() error {
	if g.grouper == nil {
		return nil
	}
	return g.grouper.Close()
}

// NewAggregate is a running aggregate in batch mode: it sends the key and the result of
// each group once. Where accumulators can be merged they are in front of the exchange
// already.
func NewAggregate[K comparable, In, Acc, Out any](key operator.Key[In, K], a operator.Aggregator[In, Acc, Out]) (*operator.BatchImpl, error) {
	make := a.New
	if make == nil {
		make = func() (acc Acc) { return acc }
	}
	result := func(k K, p *Part[Acc]) (operator.KeyValue[K, Out], flow.Time) {
		return operator.KeyValue[K, Out]{Key: k, Value: a.Result(&p.Acc)}, timeOf(p.At)
	}
	if a.Merge == nil {
		return folding(key, func(p *Part[Acc], fresh bool, v *In, t flow.Time) {
			if fresh {
				p.Acc = make()
			}
			p.At = stampOf(t)
			a.Add(&p.Acc, *v)
		}, result), nil
	}
	return mergeable[K, In, Part[Acc], operator.KeyValue[K, Out]]{
		of: key.Of, hash: key.Hash,
		make:   func() Part[Acc] { return Part[Acc]{Acc: make()} },
		add:    func(p *Part[Acc], v *In, t flow.Time) { p.At = stampOf(t); a.Add(&p.Acc, *v) },
		merge:  func(into, from *Part[Acc]) { into.At = from.At; a.Merge(&into.Acc, &from.Acc) },
		result: result,
	}.impl()
}

// First is the first record of a key.
type First[T any] struct {
	Some bool   `msgpack:"s"`
	At   uint64 `msgpack:"t"`
	V    T      `msgpack:"v"`
}

// NewDistinct sends the first record of each key.
func NewDistinct[K comparable, T any](key operator.Key[T, K]) (*operator.BatchImpl, error) {
	return mergeable[K, T, First[T], T]{
		of: key.Of, hash: key.Hash,
		add: func(f *First[T], v *T, t flow.Time) {
			if !f.Some {
				*f = First[T]{true, stampOf(t), *v}
			}
		},
		merge: func(into, from *First[T]) {
			if !into.Some {
				*into = *from
			}
		},
		result: func(_ K, f *First[T]) (T, flow.Time) { return f.V, timeOf(f.At) },
	}.impl()
}

// Best are the best records of a key so far.
type Best[T any] struct {
	// Seen is the number of records that have come.
	Seen uint64      `msgpack:"n"`
	Top  []Ranked[T] `msgpack:"r"`
}

// Ranked is one of them: Nth is its place among those that have come.
type Ranked[T any] struct {
	V   T      `msgpack:"v"`
	At  uint64 `msgpack:"t"`
	Nth uint64 `msgpack:"n"`
}

// NewTopN sends the n best records of each key. The time of a ranking is that of the
// record in it that came last, which is the one that changed it last.
func NewTopN[K comparable, T any](key operator.Key[T, K], n int, less func(a, b T) bool) (*operator.BatchImpl, error) {
	better := func(a, b Ranked[T]) bool { return less(a.V, b.V) }
	return mergeable[K, T, Best[T], operator.Ranking[K, T]]{
		of: key.Of, hash: key.Hash,
		add: func(acc *Best[T], v *T, t flow.Time) {
			operator.Rank(&acc.Top, n, Ranked[T]{*v, stampOf(t), acc.Seen}, better)
			acc.Seen++
		},
		merge: func(into, from *Best[T]) {
			for _, r := range from.Top {
				r.Nth += into.Seen
				if !operator.Rank(&into.Top, n, r, better) {
					break // what follows is no better
				}
			}
			into.Seen += from.Seen
		},
		result: func(k K, acc *Best[T]) (operator.Ranking[K, T], flow.Time) {
			r := operator.Ranking[K, T]{Key: k, Top: make([]T, len(acc.Top))}
			last := 0
			for i := range acc.Top {
				r.Top[i] = acc.Top[i].V
				if acc.Top[i].Nth > acc.Top[last].Nth {
					last = i
				}
			}
			if len(acc.Top) == 0 {
				return r, flow.MinTime
			}
			return r, timeOf(acc.Top[last].At)
		},
	}.impl()
}
