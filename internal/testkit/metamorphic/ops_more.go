package metamorphic

import (
	"context"
	"errors"
	"runtime"

	"github.com/weirflow/weir/sdk"
)

var updateOp = &op{
	name: "update", inputs: 1, outputs: 1, grow: 1, draw: small("factor"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return one(sdk.Update(in[0], func(r *Record) { *r = mapped(n, *r) }, b.opts(n)...))
	},
	eval: mapOp.eval,
}

const (
	asyncName  = "async"
	lookupName = "lookup-join"
)

// asyncOp asks goroutines, which answer in any order; some records are refused. p[1]
// says whether order is kept.
var asyncOp = &op{
	name: asyncName, inputs: 1, outputs: 1, grow: 1, draw: small("capacity"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return one(sdk.AsyncMap(in[0], func(_ context.Context, r Record) (Record, error) {
			for range mix(b.c.Seed, uint64(r.Pos), uint64(r.Val)) % 4 {
				runtime.Gosched()
			}
			return answered(n, r)
		}, sdk.Async{Ordered: n.p[1] > 0, Capacity: int(n.p[0])}, b.tryOpts(n, sdk.SkipBad(0, 0))...))
	},
	eval: each(func(n *node, r Record, emit func(Record)) {
		if r, err := answered(n, r); err == nil {
			emit(r)
		}
	}),
}

var errNoAnswer = errors.New("no answer")

func answered(n *node, r Record) (Record, error) {
	if mod(r.Val, 11) == 3 {
		return r, errNoAnswer
	}
	r.Val += 5
	if n.p[1] == 0 {
		r = r.unordered()
	}
	return r, nil
}

var lookupOp = &op{
	name: lookupName, inputs: 1, outputs: 1, grow: 1, draw: small("capacity"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		l := sdk.Lookup{Async: sdk.Async{Ordered: true, Capacity: int(n.p[0])}, CacheSize: int(n.p[1])}
		return one(sdk.LookupJoin(in[0], func(r Record) int64 { return mod(r.Val, 6) },
			func(_ context.Context, k int64) (int64, bool, error) {
				runtime.Gosched()
				return k * k, k != 2, nil
			},
			func(r Record, found int64, ok bool) Record {
				if !ok {
					found = -1
				}
				return looked(r, found)
			}, l, b.tryOpts(n, sdk.FailOnBad())...))
	},
	eval: each(func(_ *node, r Record, emit func(Record)) {
		k := mod(r.Val, 6)
		if k == 2 {
			emit(looked(r, -1))
		} else {
			emit(looked(r, k*k))
		}
	}),
}

func looked(r Record, found int64) Record {
	r.Val = r.Val*2 + found
	return r
}

// rekeyed puts the records behind an operator that was keyed by lane into their new
// lanes.
func rekeyed(b *build, n *node, s *sdk.Stream[Record]) []*sdk.Stream[Record] {
	return one(sdk.Map(s, func(r Record) Record { return r.keyed(r.lane(n.p[0])) }, b.named(n, "lane")...))
}

var reduceOp = &op{
	name: "reduce", inputs: 1, outputs: 1, grow: 1, keyed: true, final: true, draw: small("key classes"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return rekeyed(b, n, sdk.Reduce(byLane(n, in[0]), func(acc, r Record) Record {
			if acc.Lane != 0 && acc.Ord >= r.Ord {
				b.watch.blame(n, "order: %v was reduced behind %v", r, acc)
			}
			r.Val += 3 * acc.Val
			return r
		}, b.opts(n)...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		lanes(n, in[0], func(k laneKey, rs []Record) {
			val := int64(0)
			for i, r := range rs {
				r.Val += 3 * val
				val = r.Val
				if !n.final || i == len(rs)-1 {
					out = append(out, r.keyed(k))
				}
			}
		})
		return [][]Record{out}
	},
}

// summary is an accumulator that does not depend on the order of records, but for
// Last, which is the one of the highest place.
type summary struct {
	Sum, Count int64
	Mixed      uint64
	Last       Record
}

func (s *summary) add(r Record) {
	s.Sum += r.Val
	s.Mixed += mix(uint64(r.Val), uint64(r.Time))
	if s.Count == 0 || r.Ord >= s.Last.Ord {
		s.Last = r
	}
	s.Count++
}

func (s *summary) merge(o *summary) {
	if o.Count == 0 {
		return
	}
	s.Sum += o.Sum
	s.Mixed += o.Mixed
	if s.Count == 0 || o.Last.Ord >= s.Last.Ord {
		s.Last = o.Last
	}
	s.Count += o.Count
}

// value is what a result says of a summary.
func (s *summary) value(words ...int64) int64 {
	h := mix(s.Mixed, uint64(s.Count), uint64(s.Sum))
	for _, w := range words {
		h = mix(h, uint64(w))
	}
	return int64(h >> 30)
}

func summarise(rs []Record) (s summary) {
	for _, r := range rs {
		s.add(r)
	}
	return s
}

// summarising hands the accumulator on as it is: what is made of it is up to the
// operator behind.
var summarising = sdk.Aggregator[Record, summary, summary]{
	Add:    func(acc *summary, r Record) { acc.add(r) },
	Merge:  func(into, from *summary) { into.merge(from) },
	Result: func(acc *summary) summary { return *acc },
}

var aggregateOp = &op{
	name: "aggregate", inputs: 1, outputs: 1, grow: 1, keyed: true, final: true, draw: small("key classes"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		sums := sdk.Aggregate(byLane(n, in[0]), summarising, b.opts(n)...)
		return one(sdk.Map(sums, func(kv sdk.KeyValue[laneKey, summary]) Record {
			return summed(kv.Key, kv.Value)
		}, b.named(n, "lane")...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		lanes(n, in[0], func(k laneKey, rs []Record) {
			var s summary
			for i, r := range rs {
				s.add(r)
				if !n.final || i == len(rs)-1 {
					out = append(out, summed(k, s))
				}
			}
		})
		return [][]Record{out}
	},
}

func summed(k laneKey, s summary) Record {
	r := s.Last.keyed(k)
	r.Val = s.value()
	return r
}

var distinctOp = &op{
	name: "distinct", inputs: 1, outputs: 1, grow: 1, keyed: true, draw: small("key classes"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		keyed := sdk.KeyBy(in[0], func(r Record) valueKey { return valueKey{r.lane(n.p[0]), mod(r.Val, n.p[1]+1)} })
		return one(sdk.Map(sdk.Distinct(keyed, b.opts(n)...), func(r Record) Record { return distinguished(n, r) }, b.named(n, "lane")...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		seen := map[valueKey]bool{}
		for _, r := range in[0] {
			k := valueKey{r.lane(n.p[0]), mod(r.Val, n.p[1]+1)}
			if !seen[k] {
				seen[k] = true
				out = append(out, distinguished(n, r))
			}
		}
		return [][]Record{out}
	},
}

type valueKey struct {
	Lane  laneKey
	Value int64
}

func distinguished(n *node, r Record) Record {
	if r.Lane != 0 {
		r.Lane = mix(r.Lane, uint64(mod(r.Key, n.p[0])), uint64(mod(r.Val, n.p[1]+1)))
	}
	return r
}

// topOp keeps the best few of a lane. Of a ranking it gives the record that changed
// it: the one with the highest place.
var topOp = &op{
	name: "topn", inputs: 1, outputs: 1, grow: 1, keyed: true, final: true, draw: small("key classes"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		tops := sdk.TopN(byLane(n, in[0]), int(n.p[1])+1, better, b.opts(n)...)
		return one(sdk.Map(tops, func(t sdk.Ranking[laneKey, Record]) Record { return ranked(t.Key, t.Top) }, b.named(n, "lane")...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		lanes(n, in[0], func(k laneKey, rs []Record) {
			if n.final {
				out = append(out, ranked(k, naiveTop(rs, int(n.p[1])+1)))
				return
			}
			for i, r := range rs {
				// The place of r among all up to it: equals that came before stand before it.
				var top []Record
				for _, other := range rs[:i] {
					if !better(r, other) {
						top = append(top, other)
					}
				}
				if len(top) > int(n.p[1]) {
					continue
				}
				out = append(out, ranked(k, naiveTop(rs[:i+1], int(n.p[1])+1)))
			}
		})
		return [][]Record{out}
	},
}

func better(a, b Record) bool {
	if x, y := mod(a.Val, 7), mod(b.Val, 7); x != y {
		return x > y
	}
	return a.Ord > b.Ord
}

// naiveTop picks the best one n times over.
func naiveTop(rs []Record, n int) (top []Record) {
	taken := map[int]bool{}
	for len(top) < n && len(top) < len(rs) {
		best := -1
		for i, r := range rs {
			if !taken[i] && (best < 0 || better(r, rs[best])) {
				best = i
			}
		}
		taken[best] = true
		top = append(top, rs[best])
	}
	return top
}

func ranked(k laneKey, top []Record) Record {
	last, val := top[0], uint64(0)
	for _, r := range top {
		val = mix(val, uint64(r.Val), uint64(r.Ord))
		if r.Ord > last.Ord {
			last = r
		}
	}
	last.Val = int64(val >> 30)
	return last.keyed(k)
}
