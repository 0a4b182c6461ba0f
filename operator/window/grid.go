package window

import (
	"math"

	"github.com/weirflow/weir/flow"
)

// grid numbers the windows of an aligned assigner and the panes that they are
// made of. A pane is the time between two neighbouring edges of windows, so that
// a window is a run of panes:
//
//	sliding 5 every 2     cumulative 4 by 1
//	panes  0 1 2 3 4      panes  0 1 2 3 4 5 6 7
//	       |-||-||-|             |--+--+--+--|--...
//	window |0------|             0
//	          |1------|          0==1
//	             ...             0=====2      4 (a new run)
//
// Where size is not a multiple of slide, two panes make a slide: a part of
// size mod slide, and the rest. That is never more panes than the greatest common
// divisor would give, and mostly far fewer.
//
// The numbers of windows rise with their ends, those of panes with time.
type grid struct {
	kind   Kind
	size   flow.Time
	slide  flow.Time
	offset flow.Time
	rest   flow.Time // size mod slide
	n      int64     // whole slides in a window
}

const (
	noWindow    = math.MaxInt64 // after all windows
	beforeFirst = math.MinInt64 // before all windows
)

// limit bounds event times in windows: numbers and sums of times within it do not
// overflow. It is 146,000 years from 1970.
const limit = flow.Time(1) << 62

func gridOf(a Assigner) grid {
	g := grid{kind: a.Kind, size: flow.Span(a.Size), slide: flow.Span(a.Slide), offset: flow.Span(a.Offset)}
	switch a.Kind {
	case KindTumbling:
		g.slide, g.n = g.size, 1
		return g
	case KindGlobal:
		return g
	case KindCount:
		g.size, g.slide, g.kind = flow.Time(a.N), flow.Time(a.Every), KindSliding
		// Record 1 has number 0; windows end after every a.Every records.
		g.offset = -g.size
	}
	g.offset %= g.slide * max(1, g.perRun())
	g.rest, g.n = g.size%g.slide, int64(g.size/g.slide)
	return g
}

func (g *grid) perRun() flow.Time {
	if g.kind == KindCumulative {
		return g.size / g.slide
	}
	return 1
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// slideOf numbers the slides.
func (g *grid) slideOf(t flow.Time) int64 { return floorDiv(int64(t-g.offset), int64(g.slide)) }

// start is where slide number n begins.
func (g *grid) start(n int64) flow.Time { return flow.Time(n)*g.slide + g.offset }

// paneAt is the pane that t is in, and its span.
func (g *grid) paneAt(t flow.Time) (p int64, span Window) {
	if g.kind == KindGlobal {
		return 0, All
	}
	n := g.slideOf(t)
	start := g.start(n)
	switch {
	case g.rest == 0:
		return n, Window{start, start + g.slide}
	case t < start+g.rest:
		return 2 * n, Window{start, start + g.rest}
	}
	return 2*n + 1, Window{start + g.rest, start + g.slide}
}

// window is window number j.
func (g *grid) window(j int64) Window {
	switch g.kind {
	case KindGlobal:
		return All
	case KindCumulative:
		return Window{g.start(floorDiv(j, g.n) * g.n), g.start(j + 1)}
	}
	s := g.start(j)
	return Window{s, s + g.size}
}

// panes is the run of panes [first, end) that window j is made of.
func (g *grid) panes(j int64) (first, end int64) {
	switch {
	case g.kind == KindCumulative:
		return floorDiv(j, g.n) * g.n, j + 1
	case g.rest == 0:
		return j, j + max(1, g.n) // of the global window n is 0
	}
	return 2 * j, 2*j + 2*g.n + 1
}

// windows is the run of windows [first, last] that pane p is in; first > last if
// it is in none.
func (g *grid) windows(p int64) (first, last int64) {
	switch {
	case g.kind == KindCumulative:
		return p, floorDiv(p, g.n)*g.n + g.n - 1
	case g.rest == 0:
		return p - max(1, g.n) + 1, p
	}
	return -floorDiv(2*g.n-p, 2), floorDiv(p, 2)
}

// complete is the number of the newest window that is complete at watermark t.
func (g *grid) complete(t flow.Time) int64 {
	switch {
	case t <= -limit:
		return beforeFirst
	case t >= limit:
		if g.kind == KindGlobal && t < All.Last() {
			return beforeFirst
		}
		return noWindow - 1
	case g.kind == KindGlobal:
		return beforeFirst
	case g.kind == KindCumulative:
		return g.slideOf(t+1) - 1
	}
	return g.slideOf(t + 1 - g.size)
}
