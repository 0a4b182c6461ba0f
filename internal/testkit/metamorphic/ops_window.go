package metamorphic

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/sdk"
)

const (
	kindTumbling int64 = iota
	kindSliding
	kindCumulative
	kindSession
	kindSessionBy
	kindGlobal
)

var kindNames = []string{"tumbling", "sliding", "cumulative", "session", "session by record", "global"}

// The results of a window, and how it is computed.
const (
	byAggregate int64 = iota
	byReduce
	byProcess
)

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// span is a window of the oracle: [start, end).
type span struct{ start, end int64 }

// drawWindows draws p[1], size; p[2], kind; p[3], slide or step; p[4], offset; p[5],
// how.
func drawWindows(t *rapid.T, n *node) {
	drawWindow(t, n)
	n.p[2] = rapid.Int64Range(kindTumbling, kindGlobal).Draw(t, "kind")
	parts := rapid.Int64Range(1, 4).Draw(t, "parts")
	n.p[3] = max(1, n.p[1]/parts)
	if n.p[2] == kindCumulative {
		n.p[1] = n.p[3] * parts
	}
	n.p[4] = rapid.Int64Range(0, min(n.p[3], 3)).Draw(t, "offset")
	n.p[5] = rapid.Int64Range(byAggregate, byProcess).Draw(t, "how")
}

func sayWindows(n *node) string {
	how := []string{"aggregate", "reduce", "process"}[n.p[5]]
	return fmt.Sprintf("%s, size %d, slide %d, offset %d, %d key classes, %s", kindNames[n.p[2]], n.p[1], n.p[3], n.p[4], n.p[0], how)
}

func assigner(n *node) sdk.Windowing {
	var w sdk.Windowing
	switch size := micros(n.p[1]); n.p[2] {
	case kindTumbling:
		w = sdk.Tumbling(size)
	case kindSliding:
		w = sdk.Sliding(size, micros(n.p[3]))
	case kindCumulative:
		w = sdk.Cumulative(size, micros(n.p[3]))
	case kindSession:
		return sdk.Session(size)
	default:
		return sdk.Global()
	}
	return w.WithOffset(micros(n.p[4]))
}

// gap is that of sessions, of which some have one by record.
func gap(n *node, r Record) int64 {
	if n.p[2] == kindSessionBy {
		return n.p[1] * (1 + mod(r.Val, 3))
	}
	return n.p[1]
}

// aligned are the windows that hold t, by trying all that could.
func aligned(n *node, t int64) (ws []span) {
	size, slide, offset := n.p[1], n.p[3], n.p[4]
	floor := func(step int64) int64 { return t - mod(t-offset, step) }
	switch n.p[2] {
	case kindTumbling:
		ws = append(ws, span{floor(size), floor(size) + size})
	case kindSliding:
		for start := floor(slide); start > t-size; start -= slide {
			ws = append(ws, span{start, start + size})
		}
	case kindCumulative:
		start := floor(size)
		for end := start + slide; end <= start+size; end += slide {
			if t < end {
				ws = append(ws, span{start, end})
			}
		}
	}
	return ws
}

// windows divides the records of one key.
func windows(n *node, rs []Record) map[span][]Record {
	m := map[span][]Record{}
	switch n.p[2] {
	case kindGlobal:
		m[span{int64(sdk.Time(-1 << 63)), 1<<63 - 1}] = rs
	case kindSession, kindSessionBy:
		sorted := slices.Clone(rs)
		slices.SortStableFunc(sorted, func(a, b Record) int { return int(min(1, max(-1, a.Time-b.Time))) })
		var in []Record
		var w span
		for _, r := range sorted {
			if len(in) > 0 && r.Time >= w.end {
				m[w], in = in, nil
			}
			if len(in) == 0 {
				w = span{r.Time, r.Time}
			}
			w.end = max(w.end, r.Time+gap(n, r))
			in = append(in, r)
		}
		if len(in) > 0 {
			m[w] = in
		}
	default:
		for _, r := range rs {
			for _, w := range aligned(n, r.Time) {
				m[w] = append(m[w], r)
			}
		}
	}
	return m
}

func classes(n *node, rs []Record) map[int64][]Record {
	m := map[int64][]Record{}
	for _, r := range rs {
		k := mod(r.Key, n.p[0])
		m[k] = append(m[k], r)
	}
	return m
}

// windowed is the record that a window's result becomes.
func windowed(n *node, key int64, w span, val int64) Record {
	return Record{Key: key, Val: val, Time: w.end - 1, Lane: mix(uint64(n.id), uint64(key)), Ord: w.end, Origin: merged}
}

// greatest is a reduce function that does not depend on order. What it keeps of
// the two is a record by itself.
func greatest(a, b Record) Record {
	a, b = value(a), value(b)
	if a.Val > b.Val || a.Val == b.Val && a.Time > b.Time {
		return a
	}
	return b
}

func value(r Record) Record { return Record{Val: r.Val, Time: r.Time} }

func byClass(b *build, n *node, s *sdk.Stream[Record]) *sdk.Keyed[int64, Record] {
	return sdk.KeyBy(s, func(r Record) int64 { return mod(r.Key, n.p[0]) })
}

const windowName = "window"

// windowOp has a second output, of late records, which has none.
var windowOp = &op{
	name: windowName, inputs: 1, outputs: 2, grow: 2, keyed: true, timed: true, draw: drawWindows, say: sayWindows,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		var opts []sdk.WindowOption
		if b.rnd.IntN(2) == 0 && n.p[2] != kindGlobal {
			opts = append(opts, sdk.AllowedLateness(micros(n.p[1]))) // no record is late
		}
		var w *sdk.Windowed[int64, Record]
		if n.p[2] == kindSessionBy {
			w = sdk.SessionBy(byClass(b, n, in[0]), func(r Record) time.Duration { return micros(gap(n, r)) }, opts...)
		} else {
			w = sdk.Window(byClass(b, n, in[0]), assigner(n), opts...)
		}
		switch n.p[5] {
		case byAggregate:
			results, late := sdk.AggregateWindow(w, summarising, b.opts(n)...)
			return []*sdk.Stream[Record]{sdk.Map(results, func(r sdk.WindowResult[int64, summary]) Record {
				return windowed(n, r.Key, spanOf(r.Window), r.Value.value())
			}, b.named(n, "result")...), late}
		case byReduce:
			results, late := sdk.ReduceWindow(w, greatest, b.opts(n)...)
			return []*sdk.Stream[Record]{sdk.Map(results, func(r sdk.WindowResult[int64, Record]) Record {
				return windowed(n, r.Key, spanOf(r.Window), r.Value.Val+r.Value.Time)
			}, b.named(n, "result")...), late}
		}
		results, late := sdk.ProcessWindow(w, func(key int64, w sdk.WindowSpan, _ sdk.Pane, rs []Record, emit func(Record)) {
			s := summarise(rs)
			emit(windowed(n, key, spanOf(w), s.value()))
		}, b.opts(n)...)
		return []*sdk.Stream[Record]{results, late}
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		for key, rs := range classes(n, in[0]) {
			for w, rs := range windows(n, rs) {
				s := summarise(rs)
				val := s.value()
				if n.p[5] == byReduce {
					best := value(rs[0])
					for _, r := range rs[1:] {
						best = greatest(best, r)
					}
					val = best.Val + best.Time
				}
				out = append(out, windowed(n, key, w, val))
			}
		}
		return [][]Record{byPlace(out), nil}
	},
}

func spanOf(w sdk.WindowSpan) span { return span{int64(w.Start), int64(w.End)} }

// countWindowOp makes windows of records of a lane: p[1] of them, one every p[2].
var countWindowOp = &op{
	name: "count-window", inputs: 1, outputs: 1, grow: 1, keyed: true,
	draw: func(t *rapid.T, n *node) {
		n.p[0] = rapid.Int64Range(1, 9).Draw(t, "key classes")
		n.p[1] = rapid.Int64Range(1, 6).Draw(t, "records")
		n.p[2] = rapid.Int64Range(1, n.p[1]).Draw(t, "every")
	},
	say: func(n *node) string {
		return fmt.Sprintf("%d records, every %d, %d key classes", n.p[1], n.p[2], n.p[0])
	},
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		w := sdk.CountSliding(n.p[1], n.p[2])
		if n.p[1] == n.p[2] {
			w = sdk.CountWindow(n.p[1])
		}
		results, _ := sdk.AggregateWindow(sdk.Window(byLane(n, in[0]), w), summarising, b.opts(n)...)
		return one(sdk.Map(results, func(r sdk.WindowResult[laneKey, summary]) Record { return summed(r.Key, r.Value) }, b.named(n, "result")...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		lanes(n, in[0], func(k laneKey, rs []Record) {
			for end := n.p[2]; end <= int64(len(rs)); end += n.p[2] {
				out = append(out, summed(k, summarise(rs[max(0, end-n.p[1]):end])))
			}
		})
		return [][]Record{out}
	},
}

// triggerOp gives results of a lane's tumbling windows every p[2] records, and with
// p[3] at their end as well. With p[4] each covers what came since the one before.
var triggerOp = &op{
	name: "triggered-window", inputs: 1, outputs: 1, grow: 1, keyed: true, timed: true,
	draw: func(t *rapid.T, n *node) {
		drawWindow(t, n)
		n.p[2] = rapid.Int64Range(1, 4).Draw(t, "every")
		n.p[3] = rapid.Int64Range(0, 1).Draw(t, "at the end")
		if n.p[3] == 0 {
			n.p[4] = rapid.Int64Range(0, 1).Draw(t, "discarding")
		}
	},
	say: func(n *node) string {
		return fmt.Sprintf("%s, every %d, at the end %d, discarding %d", sayWindow(n), n.p[2], n.p[3], n.p[4])
	},
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		trigger := sdk.EveryCount(n.p[2])
		if n.p[3] == 1 {
			trigger = sdk.EarlyLate(trigger, nil)
		}
		opts := []sdk.WindowOption{sdk.TriggerOn(trigger)}
		if n.p[4] == 1 {
			opts = append(opts, sdk.Discarding())
		}
		results, _ := sdk.AggregateWindow(sdk.Window(byLane(n, in[0]), sdk.Tumbling(micros(n.p[1])), opts...), summarising, b.opts(n)...)
		return one(sdk.Map(results, func(r sdk.WindowResult[laneKey, summary]) Record {
			return triggered(r.Key, spanOf(r.Window), r.Value, r.Pane.Index)
		}, b.named(n, "result")...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		lanes(n, in[0], func(k laneKey, all []Record) {
			byWindow := map[int64][]Record{}
			for _, r := range all {
				end := ceiling(r.Time, n.p[1])
				byWindow[end] = append(byWindow[end], r)
			}
			for end, rs := range byWindow {
				w, index := span{end - n.p[1], end}, 0
				for to := n.p[2]; to <= int64(len(rs)); to += n.p[2] {
					from := int64(0)
					if n.p[4] == 1 {
						from = to - n.p[2]
					}
					out = append(out, triggered(k, w, summarise(rs[from:to]), index))
					index++
				}
				if n.p[3] == 1 {
					out = append(out, triggered(k, w, summarise(rs), index))
				}
			}
		})
		return [][]Record{out}
	},
}

func triggered(k laneKey, w span, s summary, index int) Record {
	return Record{Key: int64(mix(k.Lane, uint64(k.Key)) >> 40), Val: s.value(int64(index), w.start), Time: w.end - 1, Origin: merged}
}
