package window

import (
	"fmt"
	"slices"
	"time"

	"github.com/weirflow/weir/flow"
)

type duration = time.Duration

const micro = time.Microsecond

// naive is the meaning of windows under the default trigger, without any regard
// to cost: all elements of all windows, in lists that are searched from end to
// end.
type naive struct {
	spec  Spec
	clock flow.Time
	wins  []*naiveWindow
	late  []int
}

type naiveWindow struct {
	key      int
	w        Window
	elements []int
	panes    int
	covered  int // elements that an earlier result covers, in discarding mode
}

func (n *naive) lateness() flow.Time { return flow.Span(n.spec.Lateness) }

func (n *naive) windowsOf(r rec) (ws []Window) {
	a := n.spec.Assigner
	size, slide, off := flow.Span(a.Size), flow.Span(a.Slide), flow.Span(a.Offset)
	switch a.Kind {
	case KindGlobal:
		return []Window{All}
	case KindTumbling:
		slide = size
	case KindSession:
		if a.Dynamic {
			size = r.Gap
		}
		return []Window{{r.At, r.At + size}}
	case KindCumulative:
		start := r.At.FloorTo(size, off)
		for end := start + slide; end <= start+size; end += slide {
			if r.At < end {
				ws = append(ws, Window{start, end})
			}
		}
		return ws
	}
	for start := (r.At - size).FloorTo(slide, off); start <= r.At; start += slide {
		if w := (Window{start, start + size}); w.Contains(r.At) {
			ws = append(ws, w)
		}
	}
	return ws
}

func (n *naive) find(key int, w Window) *naiveWindow {
	for _, x := range n.wins {
		if x.key == key && x.w == w {
			return x
		}
	}
	x := &naiveWindow{key: key, w: w}
	n.wins = append(n.wins, x)
	return x
}

// record gives the results that follow at once.
func (n *naive) record(r rec) (out []string) {
	ws := n.windowsOf(r)
	if len(ws) == 0 {
		return nil
	}
	n.forget()
	taken := false
	for _, w := range ws {
		var x *naiveWindow
		if n.spec.Assigner.Kind == KindSession {
			if x = n.session(r.Key, w); x == nil {
				continue
			}
		} else if n.clock >= w.expiry(n.lateness()) {
			continue
		} else {
			x = n.find(r.Key, w)
		}
		taken = true
		x.elements = append(x.elements, r.ID)
		if x.w.Last() <= n.clock {
			out = append(out, n.give(x, Late))
		}
	}
	if !taken {
		n.late = append(n.late, r.ID)
	}
	return out
}

// session is the session that a record's own window w becomes part of.
func (n *naive) session(key int, w Window) *naiveWindow {
	merged := &naiveWindow{key: key, w: w}
	var rest []*naiveWindow
	any := false
	for _, x := range n.wins {
		if x.key != key || !x.w.Overlaps(w) {
			rest = append(rest, x)
			continue
		}
		any = true
		merged.w = Window{min(merged.w.Start, x.w.Start), max(merged.w.End, x.w.End)}
		if n.spec.Mode == Discarding {
			x.elements, x.covered = x.elements[x.covered:], 0
		}
		merged.elements = append(merged.elements, x.elements...)
		merged.panes = max(merged.panes, x.panes)
	}
	if !any && n.clock >= w.expiry(n.lateness()) {
		return nil
	}
	n.wins = append(rest, merged)
	return merged
}

func (n *naive) forget() {
	n.wins = slices.DeleteFunc(n.wins, func(x *naiveWindow) bool { return n.clock >= x.w.expiry(n.lateness()) })
}

func (n *naive) give(x *naiveWindow, timing Timing) string {
	from := 0
	if n.spec.Mode == Discarding {
		from, x.covered = x.covered, len(x.elements)
	}
	e := slices.Clone(x.elements[from:])
	slices.Sort(e)
	p := Pane{x.panes, timing, n.clock >= x.w.expiry(n.lateness())}
	x.panes++
	return show(x.key, x.w, p, fmt.Sprint(e))
}

func (n *naive) watermark(t flow.Time) (out []string) {
	before := n.clock
	n.clock = max(n.clock, t)
	for _, x := range n.wins {
		if last := x.w.Last(); before < last && last <= n.clock && len(x.elements) > x.covered {
			out = append(out, n.give(x, OnTime))
		}
	}
	n.forget()
	return out
}

func show(key int, w Window, p Pane, value string) string {
	return fmt.Sprintf("%d [%d,%d) %d %v last=%t %s", key, w.Start, w.End, p.Index, p.Timing, p.Last, value)
}
