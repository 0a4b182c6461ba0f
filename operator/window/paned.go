package window

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// paned runs sliding and cumulative windows that fire by the watermark. A record
// goes to the one pane of its key that it is in, whatever the overlap, and the
// cost of a result does not grow with the overlap either: see [stack]. A key
// stands in the list of one window at a time, the next one that will give it a
// result.
type paned[K comparable, In, Acc, R any] struct {
	core[K, In, Acc, R]
	grid  grid
	cells *state.Cells[K, struct{}, panes[Acc]]
	crowd *crowd[K] // keys by their next window
	gone  *crowd[K] // keys without a next window, by the window whose end they wait for

	// The newest windows that are complete, and that are over.
	complete, over int64
	// collapse says that panes of complete windows are merged into one: cumulative
	// windows need no more, once no result can be given again.
	collapse bool

	// The pane of the record before, and the windows that it is in.
	span        Window
	pane        int64
	first, last int64

	again stack[Acc] // for results given again
}

// panes is what is kept of one key.
type panes[Acc any] struct {
	Panes []pane[Acc] `msgpack:"p"`
	// Next is the window in whose list the key is, or noWindow.
	Next int64 `msgpack:"n"`
	// Again counts the results of windows that gave some because of late records.
	Again []given    `msgpack:"a,omitempty"`
	Stack stack[Acc] `msgpack:"-"`
}

type given struct {
	Window int64 `msgpack:"w"`
	Panes  int   `msgpack:"p"`
}

func (o *paned[K, In, Acc, R]) Open(ctx *operator.Context) (err error) {
	if err = o.open(ctx); err != nil {
		return err
	}
	o.collapse = o.grid.kind == KindCumulative && o.lateness == 0
	o.measure()
	if o.cells, err = state.NewCells[K, struct{}, panes[Acc]](ctx.State, o.state("")); err != nil {
		return err
	}
	name := o.state("").Name
	if o.crowd, err = openCrowd[K](ctx.State, o.marks.delegates, ctx.Operator, name); err != nil {
		return err
	}
	o.gone, err = openCrowd[K](ctx.State, o.marks.delegates, ctx.Operator, name+".gone")
	return err
}

// measure sets what depends on the clock.
func (o *paned[K, In, Acc, R]) measure() {
	o.complete = o.grid.complete(o.clock)
	o.over = o.grid.complete(o.clock.Plus(-o.lateness))
}

func (o *paned[K, In, Acc, R]) Receive(b *flow.Batch[In]) error {
	if err := o.begin(b); err != nil {
		return err
	}
	hashes, times := o.hashes[:len(b.Values)], o.times[:len(b.Values)]
	for i := range b.Values {
		o.cursor.I = i
		t := times[i]
		if t < o.span.Start || t >= o.span.End {
			if !timeOK(t) {
				return o.badTime(i, t)
			}
			o.pane, o.span = o.grid.paneAt(t)
			o.first, o.last = o.grid.windows(o.pane)
		}
		if o.last <= o.over {
			if o.first <= o.last {
				o.tooLate(b.Values[i], t)
			}
			continue
		}
		if o.first > o.last {
			continue // between two windows
		}
		k := o.key(b.Values[i])
		s, fresh := o.cells.Ref(hashes[i], k, struct{}{})
		if fresh {
			s.Next = noWindow
		}
		// No window that the pane is in has been complete: nothing is derived from it.
		if n := len(s.Panes) - 1; n >= 0 && s.Panes[n].Number == o.pane && o.first > o.complete {
			o.fold(&s.Panes[n].Acc, b.Values[i])
			continue
		}
		o.add(s, hashes[i], k, b.Values[i])
	}
	o.cursor.Leave()
	return o.end()
}

// add is the way of records that are not of their key's newest pane, or change
// what has been derived already.
func (o *paned[K, In, Acc, R]) add(s *panes[Acc], h flow.Hash, k K, v In) {
	late := o.lateness > 0 && o.first <= o.complete
	if late {
		o.countAgain(s)
	}
	i := search(s.Panes, o.pane)
	var younger *Acc
	if i < len(s.Panes) && s.Panes[i].Number == o.pane {
		younger = s.Stack.changed(i)
	} else {
		s.Panes = append(s.Panes, pane[Acc]{})
		copy(s.Panes[i+1:], s.Panes[i:])
		s.Panes[i] = pane[Acc]{Number: o.pane, Acc: o.new()}
		younger = s.Stack.inserted(i)
		o.book(s, h, k, max(o.first, o.complete+1), o.last)
	}
	o.fold(&s.Panes[i].Acc, v)
	if younger != nil {
		o.fold(younger, v)
	}
	if late {
		o.giveAgain(s, k, v)
	}
}

// book puts the key into the list of window j if that comes before its next; if
// all windows up to last are complete it books the end of what is kept instead.
func (o *paned[K, In, Acc, R]) book(s *panes[Acc], h flow.Hash, k K, j, last int64) {
	switch {
	case j <= last && j < s.Next:
		s.Next = j
		o.crowd.add(h, k, j, o.grid.window(j).Last())
	case j > last && s.Next == noWindow:
		o.gone.add(h, k, last, o.grid.window(last).expiry(o.lateness))
	}
}

func (o *paned[K, In, Acc, R]) fire() {
	o.measure()
	for {
		p, _, ok := o.crowd.due(o.clock)
		if !ok {
			break
		}
		w := o.grid.window(p.window)
		members := o.crowd.members(p)
		o.crowd.forget(p)
		for _, m := range members {
			o.fireKey(m, p.window, w)
		}
	}
	if o.lateness == 0 {
		return
	}
	for {
		p, _, ok := o.gone.due(o.clock)
		if !ok {
			return
		}
		for _, m := range o.gone.members(p) {
			if s, fresh := o.cells.Ref(m.Hash, m.Key, struct{}{}); fresh || o.prune(s, o.over) {
				o.cells.Delete(m.Hash, m.Key, struct{}{})
			} else if s.Next == noWindow {
				_, last := o.grid.windows(s.Panes[len(s.Panes)-1].Number)
				o.book(s, m.Hash, m.Key, last+1, last)
			}
		}
		o.gone.forget(p)
	}
}

// fireKey gives the result of window j for one key and books the next.
func (o *paned[K, In, Acc, R]) fireKey(m member[K], j int64, w Window) {
	s, fresh := o.cells.Ref(m.Hash, m.Key, struct{}{})
	if fresh {
		o.cells.Delete(m.Hash, m.Key, struct{}{})
		return
	}
	if s.Next != j {
		return // booked for an earlier window since, or twice
	}
	first, end := o.grid.panes(j)
	p := Pane{Timing: OnTime, Last: j <= o.over}
	if o.collapse {
		if acc := o.collapsed(s, first, end); acc != nil {
			o.result(m.Key, w, p, acc)
		}
	} else {
		var some bool
		o.scratch = o.new()
		if o.lists {
			some = merged(&o.folder, s.Panes, first, end, &o.scratch)
		} else {
			some = s.Stack.run(&o.folder, s.Panes, first, end, &o.scratch)
		}
		if some {
			o.result(m.Key, w, p, &o.scratch)
		}
	}
	s.Next = noWindow
	if o.prune(s, min(j, o.over)) {
		o.cells.Delete(m.Hash, m.Key, struct{}{})
		return
	}
	o.bookNext(s, m, j)
}

// bookNext books the first window after j that has a pane of the key.
func (o *paned[K, In, Acc, R]) bookNext(s *panes[Acc], m member[K], j int64) {
	first, _ := o.grid.panes(j + 1)
	i := search(s.Panes, first)
	for ; i < len(s.Panes); i++ {
		if from, last := o.grid.windows(s.Panes[i].Number); last > j {
			o.book(s, m.Hash, m.Key, max(j+1, from), last)
			return
		}
	}
	_, last := o.grid.windows(s.Panes[i-1].Number)
	o.book(s, m.Hash, m.Key, last+1, last)
}

// prune drops the panes that are in no window after over. It reports whether
// nothing is left.
func (o *paned[K, In, Acc, R]) prune(s *panes[Acc], over int64) (empty bool) {
	n := 0
	for n < len(s.Panes) {
		if _, last := o.grid.windows(s.Panes[n].Number); last > over {
			break
		}
		n++
	}
	if n > 0 {
		s.Panes = dropPanes(s.Panes, n)
		s.Stack.drop(n)
	}
	if len(s.Again) > 0 {
		kept := s.Again[:0]
		for _, g := range s.Again {
			if g.Window > over {
				kept = append(kept, g)
			}
		}
		s.Again = kept
	}
	return len(s.Panes) == 0
}

// collapsed merges the panes [first, end) into the first of them, and returns it.
func (o *paned[K, In, Acc, R]) collapsed(s *panes[Acc], first, end int64) *Acc {
	i := search(s.Panes, first)
	hi := search(s.Panes, end)
	if i == hi {
		return nil
	}
	for x := i + 1; x < hi; x++ {
		o.merge(&s.Panes[i].Acc, &s.Panes[x].Acc)
	}
	if n := i + 1 + copy(s.Panes[i+1:], s.Panes[hi:]); n < len(s.Panes) {
		clear(s.Panes[n:])
		s.Panes = s.Panes[:n]
	}
	return &s.Panes[i].Acc
}

func (o *paned[K, In, Acc, R]) next() (flow.Time, bool) { return o.crowd.timers.Next() }
