package metamorphic

import (
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/sdk"
)

// drawWindow draws p[0], key classes, and p[1], a size in event time.
func drawWindow(t *rapid.T, n *node) {
	n.p[0] = rapid.Int64Range(1, 9).Draw(t, "key classes")
	n.p[1] = rapid.SampledFrom([]int64{1, 7, 100, 10_000, 1_000_000}).Draw(t, "size")
}

func sayWindow(n *node) string { return fmt.Sprintf("%d key classes, size %d", n.p[0], n.p[1]) }

func ceiling(t, size int64) int64 { return t - mod(t, size) + size }

// cell is what a window of timerOp has summed up.
type cell struct {
	Sum, Count int64
	Fired      bool
}

// timerOp is a tumbling window written by hand with map state and event-time
// timers. Each window fires at its end, and again two windows later by a timer
// that the first one sets. A timer that is set and deleted must never fire.
var timerOp = &op{
	name: "timers", inputs: 1, outputs: 1, grow: 0.7, keyed: true, timed: true, draw: drawWindow, say: sayWindow,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		keyed := sdk.KeyBy(in[0], func(r Record) int64 { return mod(r.Key, n.p[0]) })
		size := n.p[1]
		return one(sdk.Process(keyed, func(s *sdk.Setup[int64]) sdk.Processor[int64, Record, Record] {
			cells := sdk.NewMap[int64, cell](s, "cells")
			emit := func(c *sdk.Context[int64], end, at, again int64, out *sdk.Out[Record]) {
				x, _ := cells.Get(end)
				out.Emit(fired(n, c.Key, x, at, again))
			}
			return sdk.Processor[int64, Record, Record]{
				Each: func(c *sdk.Context[int64], r Record, _ *sdk.Out[Record]) {
					b.watch.onTime(n, r, c.Time(), c.Watermark())
					end := ceiling(r.Time, size)
					x, _ := cells.Get(end)
					x.Sum += r.Val
					x.Count++
					cells.Set(end, x)
					c.SetTimer(sdk.Time(end - 1))
					if size > 1 {
						c.SetTimer(sdk.Time(end))
						c.DeleteTimer(sdk.Time(end))
					}
				},
				Timer: func(c *sdk.Context[int64], t sdk.Timer, out *sdk.Out[Record]) {
					at := int64(t.At)
					first, second := at+1, at+1-2*size
					none := true
					if x, ok := cells.Get(first); ok && !x.Fired {
						emit(c, first, at, 0, out)
						x.Fired, none = true, false
						cells.Set(first, x)
						c.SetTimer(t.At + sdk.Time(2*size))
					}
					if x, ok := cells.Get(second); ok && x.Fired {
						emit(c, second, at, 1, out)
						cells.Delete(second)
						none = false
					}
					if none || c.Time() != t.At || t.Processing {
						b.watch.blame(n, "timer at %d of key %d, time %d: nobody set it", at, c.Key, c.Time())
					}
				},
			}
		}, b.opts(n)...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		type id struct{ key, end int64 }
		cells := map[id]cell{}
		for _, r := range in[0] {
			at := id{mod(r.Key, n.p[0]), ceiling(r.Time, n.p[1])}
			x := cells[at]
			x.Sum += r.Val
			x.Count++
			cells[at] = x
		}
		var out []Record
		for at, x := range cells {
			out = append(out, fired(n, at.key, x, at.end-1, 0), fired(n, at.key, x, at.end-1+2*n.p[1], 1))
		}
		return [][]Record{byPlace(out)}
	},
}

func fired(n *node, key int64, x cell, at, again int64) Record {
	return Record{Key: key, Val: x.Sum*10 + x.Count, Time: at,
		Lane: mix(uint64(n.id), uint64(key)), Ord: at*2 + again, Origin: merged}
}

// byPlace orders records along their lanes.
func byPlace(rs []Record) []Record {
	byLane := map[uint64][]Record{}
	for _, r := range rs {
		byLane[r.Lane] = append(byLane[r.Lane], r)
	}
	rs = rs[:0]
	for _, lane := range slices.Sorted(maps.Keys(byLane)) {
		slices.SortFunc(byLane[lane], func(a, b Record) int { return int(min(1, max(-1, a.Ord-b.Ord))) })
		rs = append(rs, byLane[lane]...)
	}
	return rs
}
