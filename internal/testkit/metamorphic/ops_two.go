package metamorphic

import (
	"fmt"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/sdk"
)

// both is what a window of coOp has of each side.
type both struct{ Left, Right summary }

// coOp sums up two streams together, by tumbling windows of a key.
var coOp = &op{
	name: "coprocess", inputs: 2, outputs: 1, grow: 0.6, keyed: true, timed: true, draw: drawWindow, say: sayWindow,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return one(sdk.CoProcess(byClass(b, n, in[0]), byClass(b, n, in[1]),
			func(s *sdk.Setup[int64]) sdk.CoProcessor[int64, Record, Record, Record] {
				cells := sdk.NewMap[int64, both](s, "cells")
				add := func(side func(*both) *summary) func(*sdk.Context[int64], Record, *sdk.Out[Record]) {
					return func(c *sdk.Context[int64], r Record, _ *sdk.Out[Record]) {
						b.watch.onTime(n, r, c.Time(), c.Watermark())
						end := ceiling(r.Time, n.p[1])
						x, _ := cells.Get(end)
						side(&x).add(r)
						cells.Set(end, x)
						c.SetTimer(sdk.Time(end - 1))
					}
				}
				return sdk.CoProcessor[int64, Record, Record, Record]{
					Left:  add(func(x *both) *summary { return &x.Left }),
					Right: add(func(x *both) *summary { return &x.Right }),
					Timer: func(c *sdk.Context[int64], t sdk.Timer, out *sdk.Out[Record]) {
						x, _ := cells.Get(int64(t.At) + 1)
						out.Emit(met(n, c.Key, int64(t.At)+1, x))
						cells.Delete(int64(t.At) + 1)
					},
				}
			}, b.opts(n)...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		type id struct{ key, end int64 }
		cells := map[id]both{}
		for i, rs := range in {
			for _, r := range rs {
				at := id{mod(r.Key, n.p[0]), ceiling(r.Time, n.p[1])}
				x := cells[at]
				if i == 0 {
					x.Left.add(r)
				} else {
					x.Right.add(r)
				}
				cells[at] = x
			}
		}
		var out []Record
		for at, x := range cells {
			out = append(out, met(n, at.key, at.end, x))
		}
		return [][]Record{byPlace(out)}
	},
}

func met(n *node, key, end int64, x both) Record {
	return windowed(n, key, span{end - n.p[1], end}, x.Left.value(x.Right.value()))
}

// rulesOp sends its second stream to all subtasks. When a window of the first ends,
// all rules that are not younger are known: those are counted.
var rulesOp = &op{
	name: "process-broadcast", inputs: 2, outputs: 1, grow: 0.6, keyed: true, timed: true, draw: drawWindow, say: sayWindow,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return one(sdk.ProcessBroadcast(byClass(b, n, in[0]), in[1],
			func(s *sdk.Setup[int64]) sdk.BroadcastProcessor[int64, Record, Record, Record] {
				rules := sdk.NewBroadcastState[int64, int64](s, "rules")
				cells := sdk.NewMap[int64, summary](s, "cells")
				return sdk.BroadcastProcessor[int64, Record, Record, Record]{
					Each: func(c *sdk.Context[int64], r Record, _ *sdk.Out[Record]) {
						b.watch.onTime(n, r, c.Time(), c.Watermark())
						end := ceiling(r.Time, n.p[1])
						x, _ := cells.Get(end)
						x.add(r)
						cells.Set(end, x)
						c.SetTimer(sdk.Time(end - 1))
					},
					Broadcast: func(c *sdk.BroadcastContext, r Record, _ *sdk.Out[Record]) {
						b.watch.onTime(n, r, c.Time(), c.Watermark())
						rule := mod(r.Val, 20)
						if since, ok := rules.Get(rule); !ok || r.Time < since {
							rules.Set(c, rule, r.Time)
						}
					},
					Timer: func(c *sdk.Context[int64], t sdk.Timer, out *sdk.Out[Record]) {
						known := int64(0)
						rules.Each(func(rule, since int64) bool {
							if since <= int64(t.At) {
								known += rule + 1
							}
							return true
						})
						x, _ := cells.Get(int64(t.At) + 1)
						cells.Delete(int64(t.At) + 1)
						out.Emit(ruled(n, c.Key, int64(t.At)+1, x, known))
					},
				}
			}, b.opts(n)...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		since := map[int64]int64{}
		for _, r := range in[1] {
			rule := mod(r.Val, 20)
			if t, ok := since[rule]; !ok || r.Time < t {
				since[rule] = r.Time
			}
		}
		var out []Record
		for key, all := range classes(n, in[0]) {
			byEnd := map[int64][]Record{}
			for _, r := range all {
				byEnd[ceiling(r.Time, n.p[1])] = append(byEnd[ceiling(r.Time, n.p[1])], r)
			}
			for end, rs := range byEnd {
				known := int64(0)
				for rule, t := range since {
					if t < end {
						known += rule + 1
					}
				}
				out = append(out, ruled(n, key, end, summarise(rs), known))
			}
		}
		return [][]Record{byPlace(out)}
	},
}

func ruled(n *node, key, end int64, x summary, known int64) Record {
	return windowed(n, key, span{end - n.p[1], end}, x.value(known))
}

// joinKey spreads records more than key classes do, so that not all meet all.
func joinKey(n *node, r Record) laneKey {
	return laneKey{uint64(mod(r.Key, n.p[0])), mod(r.Val, 16)}
}

func joinSide(n *node, s *sdk.Stream[Record]) *sdk.Keyed[laneKey, Record] {
	return sdk.KeyBy(s, func(r Record) laneKey { return joinKey(n, r) })
}

// paired is the record that a pair becomes.
func paired(p sdk.Pair[Record, Record], words ...int64) Record {
	r := Record{Origin: merged, Time: -1 << 62}
	val := uint64(1)
	if p.HasLeft {
		r.Key, r.Time = p.Left.Key, p.Left.Time
		val = mix(val, 7, uint64(p.Left.Val), uint64(p.Left.Time), p.Left.Lane)
	}
	if p.HasRight {
		r.Key += p.Right.Key
		r.Time = max(r.Time, p.Right.Time)
		val = mix(val, 8, uint64(p.Right.Val), uint64(p.Right.Time), p.Right.Lane)
	}
	for _, w := range words {
		val = mix(val, uint64(w))
	}
	r.Val = int64(val >> 30)
	if p.Retract {
		r.Ord = retracted
	}
	return r
}

// nested joins by trying all pairs of a key. keep says whether two meet.
func nested(n *node, in [][]Record, kind sdk.JoinKind, meet func(l, r Record) bool, give func(sdk.Pair[Record, Record])) {
	rights := map[laneKey][]Record{}
	for _, r := range in[1] {
		rights[joinKey(n, r)] = append(rights[joinKey(n, r)], r)
	}
	matched := map[laneKey]map[int]bool{}
	for _, l := range in[0] {
		k, alone := joinKey(n, l), true
		for i, r := range rights[k] {
			if !meet(l, r) {
				continue
			}
			alone = false
			if matched[k] == nil {
				matched[k] = map[int]bool{}
			}
			matched[k][i] = true
			give(sdk.Pair[Record, Record]{Left: l, Right: r, HasLeft: true, HasRight: true})
		}
		if alone && kind != sdk.InnerJoin {
			give(sdk.Pair[Record, Record]{Left: l, HasLeft: true})
		}
	}
	if kind != sdk.FullJoin {
		return
	}
	for k, rs := range rights {
		for i, r := range rs {
			if !matched[k][i] {
				give(sdk.Pair[Record, Record]{Right: r, HasRight: true})
			}
		}
	}
}

var intervalJoinOp = &op{
	name: "interval-join", inputs: 2, outputs: 1, grow: 2, keyed: true, timed: true, small: true,
	draw: func(t *rapid.T, n *node) {
		drawWindow(t, n)
		n.p[2] = rapid.SampledFrom([]int64{-1000, -20, 0, 3}).Draw(t, "lower")
		n.p[3] = n.p[2] + n.p[1]
	},
	say: func(n *node) string { return fmt.Sprintf("%d to %d, %d key classes", n.p[2], n.p[3], n.p[0]) },
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		s, lateLeft, lateRight := sdk.IntervalJoin(joinSide(n, in[0]), joinSide(n, in[1]), micros(n.p[2]), micros(n.p[3]),
			func(l, r Record) Record {
				return paired(sdk.Pair[Record, Record]{Left: l, Right: r, HasLeft: true, HasRight: true})
			}, b.opts(n)...)
		return noneLate(b, n, s, lateLeft, lateRight)
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		nested(n, in, sdk.InnerJoin,
			func(l, r Record) bool { return l.Time+n.p[2] <= r.Time && r.Time <= l.Time+n.p[3] },
			func(p sdk.Pair[Record, Record]) { out = append(out, paired(p)) })
		return [][]Record{out}
	},
}

// noneLate blames whatever comes out as late.
func noneLate(b *build, n *node, s, left, right *sdk.Stream[Record]) []*sdk.Stream[Record] {
	late := sdk.Filter(sdk.Union(left, right), func(r Record) bool {
		b.watch.blame(n, "%v came out as late", r)
		return false
	}, b.named(n, "late")...)
	return one(sdk.Union(s, late))
}

func drawJoin(t *rapid.T, n *node) {
	drawWindow(t, n)
	n.p[5] = rapid.Int64Range(0, 2).Draw(t, "join")
}

func joinKind(n *node) sdk.JoinKind {
	return []sdk.JoinKind{sdk.InnerJoin, sdk.LeftJoin, sdk.FullJoin}[n.p[5]]
}

func sayJoin(n *node) string { return fmt.Sprintf("%v, %s", joinKind(n), sayWindow(n)) }

var windowJoinOp = &op{
	name: "window-join", inputs: 2, outputs: 1, grow: 2, keyed: true, timed: true, small: true,
	draw: func(t *rapid.T, n *node) {
		drawJoin(t, n)
		n.p[2], n.p[3] = kindSliding, max(1, n.p[1]/rapid.Int64Range(1, 3).Draw(t, "parts"))
	},
	say: func(n *node) string { return fmt.Sprintf("%s, slide %d", sayJoin(n), n.p[3]) },
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		s, lateLeft, lateRight := sdk.WindowJoin(joinSide(n, in[0]), joinSide(n, in[1]), assigner(n), joinKind(n),
			func(w sdk.WindowSpan, p sdk.Pair[Record, Record]) Record { return pairedIn(spanOf(w), p) }, b.opts(n)...)
		return noneLate(b, n, s, lateLeft, lateRight)
	},
	eval: func(n *node, in [][]Record) [][]Record {
		inputs := map[span][][]Record{}
		for i, rs := range in {
			for _, r := range rs {
				for _, w := range aligned(n, r.Time) {
					if inputs[w] == nil {
						inputs[w] = make([][]Record, 2)
					}
					inputs[w][i] = append(inputs[w][i], r)
				}
			}
		}
		var out []Record
		for w, in := range inputs {
			nested(n, in, joinKind(n), func(l, r Record) bool { return true },
				func(p sdk.Pair[Record, Record]) { out = append(out, pairedIn(w, p)) })
		}
		return [][]Record{out}
	},
}

func pairedIn(w span, p sdk.Pair[Record, Record]) Record {
	r := paired(p, w.start)
	r.Time = w.end - 1
	return r
}

// temporalJoinOp tells of the version only when it is from, since of several of one
// time any may hold.
var temporalJoinOp = &op{
	name: "temporal-join", inputs: 2, outputs: 1, grow: 0.5, keyed: true, timed: true, draw: drawJoin, say: sayJoin,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		s, lateLeft, lateRight := sdk.TemporalJoin(joinSide(n, in[0]), joinSide(n, in[1]), temporalKind(n),
			func(p sdk.Pair[Record, Record]) Record { return versioned(p.Left, p.Right.Time, p.HasRight) }, b.opts(n)...)
		return noneLate(b, n, s, lateLeft, lateRight)
	},
	eval: func(n *node, in [][]Record) [][]Record {
		versions := map[laneKey][]int64{}
		for _, r := range in[1] {
			k := joinKey(n, r)
			versions[k] = append(versions[k], r.Time)
		}
		var out []Record
		for _, l := range in[0] {
			best, ok := int64(0), false
			for _, t := range versions[joinKey(n, l)] {
				if t <= l.Time && (!ok || t > best) {
					best, ok = t, true
				}
			}
			if ok || temporalKind(n) == sdk.LeftJoin {
				out = append(out, versioned(l, best, ok))
			}
		}
		return [][]Record{out}
	},
}

func temporalKind(n *node) sdk.JoinKind {
	if n.p[5] == 0 {
		return sdk.InnerJoin
	}
	return sdk.LeftJoin
}

func versioned(l Record, from int64, ok bool) Record {
	if !ok {
		from = 1
	}
	return Record{Key: l.Key, Val: int64(mix(uint64(l.Val), uint64(from)) >> 30), Time: l.Time, Origin: merged}
}

// innerJoinOp gives a pair when the second of the two comes; its time is made to be
// that of the younger one.
var innerJoinOp = &op{
	name: "inner-join", inputs: 2, outputs: 1, grow: 2, keyed: true, small: true, draw: small("key classes"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		s := sdk.Join(joinSide(n, in[0]), joinSide(n, in[1]), sdk.InnerJoin,
			func(p sdk.Pair[Record, Record]) Record { return paired(p) }, b.opts(n)...)
		return one(sdk.AssignTime(s, func(r Record) sdk.Time { return sdk.Time(r.Time) }, b.named(n, "time")...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		nested(n, in, sdk.InnerJoin, func(l, r Record) bool { return true },
			func(p sdk.Pair[Record, Record]) { out = append(out, paired(p)) })
		return [][]Record{out}
	},
}

var outerJoinOp = &op{
	name: "outer-join", inputs: 2, outputs: 1, grow: 2, keyed: true, small: true, net: true,
	draw: func(t *rapid.T, n *node) {
		small("key classes")(t, n)
		n.p[5] = rapid.Int64Range(1, 2).Draw(t, "join")
	},
	say: func(n *node) string { return fmt.Sprintf("%v, %d key classes", joinKind(n), n.p[0]) },
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		s := sdk.Join(joinSide(n, in[0]), joinSide(n, in[1]), joinKind(n),
			func(p sdk.Pair[Record, Record]) Record { return paired(p) }, b.opts(n)...)
		return one(sdk.AssignTime(s, func(r Record) sdk.Time { return sdk.Time(r.Time) }, b.named(n, "time")...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		nested(n, in, joinKind(n), func(l, r Record) bool { return true },
			func(p sdk.Pair[Record, Record]) { out = append(out, paired(p)) })
		return [][]Record{out}
	},
}
