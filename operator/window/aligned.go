package window

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// aligned runs tumbling and global windows that fire by the watermark: the case
// that there mostly is. A record costs one look into a table.
type aligned[K comparable, In, Acc, R any] struct {
	core[K, In, Acc, R]
	grid  grid
	cells *state.Cells[K, int64, cell[Acc]]
	crowd *crowd[K]

	// The window of the record before, and how it stands with the clock.
	span   Window
	j      int64
	status status
}

// cell is what is kept of one key in one window.
type cell[Acc any] struct {
	Acc   Acc   `msgpack:"a"`
	Panes int32 `msgpack:"p,omitempty"` // results given
	Dirty bool  `msgpack:"d,omitempty"` // has records that no result covers
}

// status is how a window stands with the clock.
type status uint8

const (
	open     status = iota // not complete
	retained               // complete, and still takes records
	closed                 // over: records are late
)

func (c *core[K, In, Acc, R]) statusOf(w Window) status {
	switch {
	case c.clock < w.Last():
		return open
	case c.expired(w):
		return closed
	}
	return retained
}

func (o *aligned[K, In, Acc, R]) Open(ctx *operator.Context) (err error) {
	if err = o.open(ctx); err != nil {
		return err
	}
	if o.cells, err = state.NewCells[K, int64, cell[Acc]](ctx.State, o.state("")); err != nil {
		return err
	}
	o.crowd, err = openCrowd[K](ctx.State, o.marks.delegates, ctx.Operator, o.state("").Name)
	return err
}

func (o *aligned[K, In, Acc, R]) Receive(b *flow.Batch[In]) error {
	if err := o.begin(b); err != nil {
		return err
	}
	hashes, times := o.hashes[:len(b.Values)], o.times[:len(b.Values)]
	if o.status == open {
		o.cells.Ahead(hashes, o.j) // mostly they are all of the window of the last ones
	}
	for i := range b.Values {
		o.cursor.I = i
		if t := times[i]; t < o.span.Start || t >= o.span.End {
			if err := o.enter(i, t); err != nil {
				return err
			}
		}
		if o.status != open {
			o.addLate(b.Values[i], hashes[i], times[i])
			continue
		}
		k := o.key(b.Values[i])
		c, fresh := o.cells.Ref(hashes[i], k, o.j)
		if fresh {
			c.Acc = o.new()
			o.crowd.add(hashes[i], k, o.j, o.span.Last())
		}
		c.Dirty = true
		o.fold(&c.Acc, b.Values[i])
	}
	o.cursor.Leave()
	return o.end()
}

// enter goes over to the window that t is in.
func (o *aligned[K, In, Acc, R]) enter(i int, t flow.Time) error {
	if o.grid.kind == KindGlobal {
		o.j, o.span = 0, All
	} else {
		if !timeOK(t) {
			return o.badTime(i, t)
		}
		o.j, o.span = o.grid.paneAt(t)
	}
	o.status = o.statusOf(o.span)
	return nil
}

// addLate handles a record whose window is complete.
func (o *aligned[K, In, Acc, R]) addLate(v In, h flow.Hash, t flow.Time) {
	if o.status == closed {
		o.tooLate(v, t)
		return
	}
	k := o.key(v)
	c, fresh := o.cells.Ref(h, k, o.j)
	if fresh {
		c.Acc = o.new()
		o.crowd.add(h, k, o.j, o.span.expiry(o.lateness))
	}
	o.fold(&c.Acc, v)
	o.give1(c, k, o.span, Late)
}

// give1 gives the result of one key in one window.
func (o *aligned[K, In, Acc, R]) give1(c *cell[Acc], k K, w Window, timing Timing) {
	o.result(k, w, Pane{Index: int(c.Panes), Timing: timing, Last: o.expired(w)}, &c.Acc)
	c.Panes++
	c.Dirty = false
	if o.cfg.Mode == Discarding {
		c.Acc = o.new()
	}
}

func (o *aligned[K, In, Acc, R]) fire() {
	o.span = Window{} // its status may have changed
	for {
		p, at, ok := o.crowd.due(o.clock)
		if !ok {
			return
		}
		w := o.grid.window(p.window)
		expiry := w.expiry(o.lateness)
		switch {
		case o.lateness == 0:
			for _, m := range o.crowd.members(p) {
				if c := o.cells.Find(m.Hash, m.Key, p.window); c != nil {
					o.result(m.Key, w, Pane{Timing: OnTime, Last: true}, &c.Acc)
					o.cells.Delete(m.Hash, m.Key, p.window)
				}
			}
			o.crowd.forget(p)
		case at < expiry:
			for _, m := range o.crowd.members(p) {
				if c, fresh := o.cells.Ref(m.Hash, m.Key, p.window); !fresh && c.Dirty {
					o.give1(c, m.Key, w, OnTime)
				}
			}
			o.crowd.see(p, expiry)
		default:
			for _, m := range o.crowd.members(p) {
				o.cells.Delete(m.Hash, m.Key, p.window)
			}
			o.crowd.forget(p)
		}
	}
}

func (o *aligned[K, In, Acc, R]) next() (flow.Time, bool) { return o.crowd.timers.Next() }
