package window

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// counted runs count windows: the panes of sliding windows over the numbers of a
// key's records. A result carries the time of the record that made the window
// full.
type counted[K comparable, In, Acc, R any] struct {
	core[K, In, Acc, R]
	grid  grid
	cells *state.Cells[K, struct{}, tally[Acc]]
}

type tally[Acc any] struct {
	Seen  int64       `msgpack:"n"` // records of the key so far
	Panes []pane[Acc] `msgpack:"p"`
	Stack stack[Acc]  `msgpack:"-"`
}

func (o *counted[K, In, Acc, R]) Open(ctx *operator.Context) (err error) {
	if err = o.open(ctx); err != nil {
		return err
	}
	o.cells, err = state.NewCells[K, struct{}, tally[Acc]](ctx.State, o.state(""))
	return err
}

func (o *counted[K, In, Acc, R]) Receive(b *flow.Batch[In]) error {
	if err := o.begin(b); err != nil {
		return err
	}
	for i := range b.Values {
		o.cursor.I = i
		k := o.key(b.Values[i])
		s, _ := o.cells.Ref(o.hashes[i], k, struct{}{})
		number := flow.Time(s.Seen)
		s.Seen++
		p, span := o.grid.paneAt(number)
		first, last := o.grid.windows(p)
		if first <= last {
			n := len(s.Panes)
			if n == 0 || s.Panes[n-1].Number != p {
				s.Panes = append(s.Panes, pane[Acc]{Number: p, Acc: o.new()})
				n++
			}
			o.fold(&s.Panes[n-1].Acc, b.Values[i])
			if number == o.grid.window(first).Last() && number == span.Last() {
				o.full(s, k, first, o.times[i])
			}
		}
	}
	o.cursor.Leave()
	return o.end()
}

// full gives the result of window j, the oldest that the newest pane is in.
func (o *counted[K, In, Acc, R]) full(s *tally[Acc], k K, j int64, t flow.Time) {
	o.out.At(t)
	first, end := o.grid.panes(j)
	p := Pane{Timing: OnTime, Last: true}
	if end-first == 1 {
		o.give(&o.out, k, All, p, &s.Panes[len(s.Panes)-1].Acc)
	} else {
		acc := &o.scratch
		*acc = o.new()
		if o.lists {
			merged(&o.folder, s.Panes, first, end, acc)
		} else {
			s.Stack.run(&o.folder, s.Panes, first, end, acc)
		}
		o.give(&o.out, k, All, p, acc)
	}
	next, _ := o.grid.panes(j + 1)
	n := search(s.Panes, next)
	s.Panes = dropPanes(s.Panes, n)
	s.Stack.drop(n)
}

// Watermark passes t on: count windows know no time.
func (o *counted[K, In, Acc, R]) Watermark(t flow.Time) (flow.Time, error) { return t, nil }

func (o *counted[K, In, Acc, R]) Barrier(flow.Barrier) ([]byte, error) { return nil, nil }
func (o *counted[K, In, Acc, R]) fire()                                {}
func (o *counted[K, In, Acc, R]) next() (flow.Time, bool)              { return 0, false }
