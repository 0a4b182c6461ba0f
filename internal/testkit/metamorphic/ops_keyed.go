package metamorphic

import (
	"fmt"
	"strings"

	"github.com/weirflow/weir/sdk"
)

// byLane keys by lane and class of keys: what is computed in order is the same in
// every run.
func byLane(n *node, s *sdk.Stream[Record]) *sdk.Keyed[laneKey, Record] {
	return sdk.KeyBy(s, func(r Record) laneKey { return r.lane(n.p[0]) })
}

// lanes is the naive way to do the same: a map from lane to records in order.
func lanes(n *node, in []Record, f func(k laneKey, rs []Record)) {
	m := map[laneKey][]Record{}
	var order []laneKey
	for _, r := range in {
		k := r.lane(n.p[0])
		if m[k] == nil {
			order = append(order, k)
		}
		m[k] = append(m[k], r)
	}
	for _, k := range order {
		f(k, m[k])
	}
}

// checked wraps a function on the records of a lane in the checks of order, time
// and key.
func checked(b *build, n *node, s *sdk.Setup[laneKey], f func(c *sdk.Context[laneKey], r Record, out *sdk.Out[Record])) func(*sdk.Context[laneKey], Record, *sdk.Out[Record]) {
	last := sdk.NewValue[int64](s, "last")
	return func(c *sdk.Context[laneKey], r Record, out *sdk.Out[Record]) {
		if r.Lane != 0 {
			if ord, ok := last.Get(); ok && ord >= r.Ord {
				b.watch.blame(n, "order: %v came behind place %d", r, ord)
			}
			last.Set(r.Ord)
		}
		if k := r.lane(n.p[0]); k != c.Key {
			b.watch.blame(n, "key in hand is %v for %v", c.Key, r)
		}
		b.watch.onTime(n, r, c.Time(), c.Watermark())
		b.yield(r)
		f(c, r, out)
	}
}

var sumOp = &op{
	name: "running-sum", inputs: 1, outputs: 1, grow: 1, keyed: true, draw: small("key classes"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return one(sdk.Process(byLane(n, in[0]), func(s *sdk.Setup[laneKey]) sdk.Processor[laneKey, Record, Record] {
			sum := sdk.NewValue[int64](s, "sum")
			return sdk.Processor[laneKey, Record, Record]{
				Each: checked(b, n, s, func(c *sdk.Context[laneKey], r Record, out *sdk.Out[Record]) {
					v, _ := sum.Get()
					v += r.Val
					if mod(v, 17) == n.p[1] {
						sum.Clear()
					} else {
						sum.Set(v)
					}
					r.Val = v
					out.Emit(r.keyed(c.Key))
				}),
			}
		}, b.opts(n)...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		lanes(n, in[0], func(k laneKey, rs []Record) {
			sum := int64(0)
			for _, r := range rs {
				sum += r.Val
				r.Val = sum
				if mod(sum, 17) == n.p[1] {
					sum = 0
				}
				out = append(out, r.keyed(k))
			}
		})
		return [][]Record{out}
	},
}

// sideOp numbers the records of a lane and sends every few of them aside.
var sideOp = &op{
	name: "side", inputs: 1, outputs: 2, grow: 1, keyed: true, draw: small("key classes"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		tag := sdk.NewTag[Record]("aside")
		s := sdk.Process(byLane(n, in[0]), func(s *sdk.Setup[laneKey]) sdk.Processor[laneKey, Record, Record] {
			count := sdk.NewValue[int64](s, "count")
			aside := sdk.NewSide[Record](s, tag)
			return sdk.Processor[laneKey, Record, Record]{
				Each: checked(b, n, s, func(c *sdk.Context[laneKey], r Record, out *sdk.Out[Record]) {
					i, _ := count.Get()
					count.Set(i + 1)
					r.Val += i
					if i%(n.p[1]+2) == 0 {
						aside.Emit(r.keyed(c.Key))
					} else {
						out.Emit(r.keyed(c.Key))
					}
				}),
			}
		}, b.opts(n)...)
		return []*sdk.Stream[Record]{s, sdk.Side(s, tag)}
	},
	eval: func(n *node, in [][]Record) [][]Record {
		out := make([][]Record, 2)
		lanes(n, in[0], func(k laneKey, rs []Record) {
			for i, r := range rs {
				to := 0
				if int64(i)%(n.p[1]+2) == 0 {
					to = 1
				}
				r.Val += int64(i)
				out[to] = append(out[to], r.keyed(k))
			}
		})
		return out
	},
}

// listOp collects some values in list state, and emits them folded as one.
var listOp = &op{
	name: "list", inputs: 1, outputs: 1, grow: 0.5, keyed: true, draw: small("key classes"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return one(sdk.Process(byLane(n, in[0]), func(s *sdk.Setup[laneKey]) sdk.Processor[laneKey, Record, Record] {
			list := sdk.NewList[int64](s, "list")
			return sdk.Processor[laneKey, Record, Record]{
				Each: checked(b, n, s, func(c *sdk.Context[laneKey], r Record, out *sdk.Out[Record]) {
					list.Append(r.Val)
					if vs := list.Get(); int64(len(vs)) > n.p[1] {
						r.Val = 0
						for _, v := range vs {
							r.Val = r.Val*3 + v
						}
						list.Clear()
						out.Emit(r.keyed(c.Key))
					}
				}),
			}
		}, b.opts(n)...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		lanes(n, in[0], func(k laneKey, rs []Record) {
			fold := int64(0)
			for i, r := range rs {
				fold = fold*3 + r.Val
				if int64(i+1)%(n.p[1]+1) == 0 {
					r.Val, fold = fold, 0
					out = append(out, r.keyed(k))
				}
			}
		})
		return [][]Record{out}
	},
}

// tallyOp uses the states that sumOp and listOp do not.
var tallyOp = &op{
	name: "tally", inputs: 1, outputs: 1, grow: 1, keyed: true, draw: small("key classes"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return one(sdk.Process(byLane(n, in[0]), func(s *sdk.Setup[laneKey]) sdk.Processor[laneKey, Record, Record] {
			counts := sdk.NewMap[int64, int64](s, "counts")
			most := sdk.NewReducing(s, "most", func(a, b int64) int64 { return max(a, b) })
			spread := sdk.NewAggregating(s, "spread",
				func(acc *extent, v int64) { acc.add(v) }, func(acc *extent) int64 { return acc.High - acc.Low })
			return sdk.Processor[laneKey, Record, Record]{
				Each: checked(b, n, s, func(c *sdk.Context[laneKey], r Record, out *sdk.Out[Record]) {
					class := mod(r.Val, 5)
					count, _ := counts.Get(class)
					if count++; count > n.p[1] {
						counts.Delete(class)
					} else {
						counts.Set(class, count)
					}
					kinds := int64(0)
					counts.Each(func(class, count int64) bool { kinds += class * count; return true })
					most.Add(r.Val)
					spread.Add(r.Val)
					high, _ := most.Get()
					wide, _ := spread.Get()
					r.Val = count + 10*kinds + 1000*int64(counts.Len()) + high + 7*wide
					out.Emit(r.keyed(c.Key))
				}),
			}
		}, b.opts(n)...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		lanes(n, in[0], func(k laneKey, rs []Record) {
			counts := map[int64]int64{}
			var all extent
			for _, r := range rs {
				class := mod(r.Val, 5)
				counts[class]++
				count := counts[class]
				if count > n.p[1] {
					delete(counts, class)
				}
				kinds := int64(0)
				for class, count := range counts {
					kinds += class * count
				}
				all.add(r.Val)
				r.Val = count + 10*kinds + 1000*int64(len(counts)) + all.High + 7*(all.High-all.Low)
				out = append(out, r.keyed(k))
			}
		})
		return [][]Record{out}
	},
}

type extent struct {
	Low, High int64
	Any       bool
}

func (e *extent) add(v int64) {
	if !e.Any {
		*e = extent{v, v, true}
	}
	e.Low, e.High = min(e.Low, v), max(e.High, v)
}

// text is a record that holds pointers, keyed by a string.
type text struct {
	Key   string
	Notes []string
	In    Record
}

func textOf(n *node, r Record) text {
	k := r.lane(n.p[0])
	return text{fmt.Sprintf("%x/%d", k.Lane, k.Key), []string{strings.Repeat("x", int(mod(r.Val, 5))), fmt.Sprint(r.Val)}, r}
}

var textOp = &op{
	name: "text", inputs: 1, outputs: 1, grow: 1, keyed: true, draw: small("key classes"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		texts := sdk.Map(in[0], func(r Record) text { return textOf(n, r) },
			append(b.named(n, "write"), sdk.Parallelism(b.p.Nodes[n.in[0].node].par))...)
		keyed := sdk.KeyBy(texts, func(t text) string { return t.Key })
		noted := sdk.Process(keyed, func(s *sdk.Setup[string]) sdk.Processor[string, text, text] {
			notes := sdk.NewList[string](s, "notes")
			return sdk.Processor[string, text, text]{
				Each: func(c *sdk.Context[string], t text, out *sdk.Out[text]) {
					b.watch.onTime(n, t.In, c.Time(), c.Watermark())
					t.Notes = append(t.Notes, notes.Get()...)
					notes.Set(t.Notes[:1])
					out.Emit(t)
				},
			}
		}, b.opts(n)...)
		return one(sdk.Map(noted, func(t text) Record {
			r := t.In.keyed(t.In.lane(n.p[0]))
			r.Val = int64(mix(uint64(len(strings.Join(t.Notes, "/"))), uint64(len(t.Notes))) >> 50)
			return r
		}, b.named(n, "read")...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		lanes(n, in[0], func(k laneKey, rs []Record) {
			var before []string
			for _, r := range rs {
				notes := append(textOf(n, r).Notes, before...)
				before = notes[:1:1]
				size := len(notes) - 1
				for _, s := range notes {
					size += len(s)
				}
				r = r.keyed(k)
				r.Val = int64(mix(uint64(size), uint64(len(notes))) >> 50)
				out = append(out, r)
			}
		})
		return [][]Record{out}
	},
}
