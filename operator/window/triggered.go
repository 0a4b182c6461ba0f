package window

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// triggered runs aligned and global windows under a trigger other than the
// default. A record is added to each window that it is in, and the trigger is
// asked for each.
type triggered[K comparable, In, Acc, R any] struct {
	core[K, In, Acc, R]
	grid    grid
	trigger Trigger
	words   int
	call    Call

	cells *state.Cells[K, int64, entry[Acc]]
	due   *state.Timers[K, int64] // by the clock of the windows
	ask   *state.Timers[K, int64] // by processing time
}

// entry is what is kept of one key in one window.
type entry[Acc any] struct {
	Acc   Acc             `msgpack:"a"`
	Count int64           `msgpack:"c,omitempty"` // records in Acc
	Panes int32           `msgpack:"p,omitempty"` // results given
	Words [MaxWords]int64 `msgpack:"w,omitempty"` // the trigger's
}

func (o *triggered[K, In, Acc, R]) Open(ctx *operator.Context) (err error) {
	if err = o.open(ctx); err != nil {
		return err
	}
	if o.cells, err = state.NewCells[K, int64, entry[Acc]](ctx.State, o.state("")); err != nil {
		return err
	}
	if o.due, err = state.NewTimers[K, int64](ctx.State, o.state("due")); err != nil {
		return err
	}
	o.ask, err = state.NewTimers[K, int64](ctx.State, o.state("ask"))
	return err
}

func (o *triggered[K, In, Acc, R]) Receive(b *flow.Batch[In]) error {
	if err := o.begin(b); err != nil {
		return err
	}
	o.call.Now = o.Task.Now()
	over := o.grid.complete(o.clock.Plus(-o.lateness))
	for i := range b.Values {
		o.cursor.I = i
		t := o.times[i]
		if o.grid.kind != KindGlobal && !timeOK(t) {
			return o.badTime(i, t)
		}
		p, _ := o.grid.paneAt(t)
		first, last := o.grid.windows(p)
		if first > last {
			continue
		}
		if last <= over {
			o.tooLate(b.Values[i], t)
			continue
		}
		k := o.key(b.Values[i])
		for j := max(first, over+1); j <= last; j++ {
			o.add(o.hashes[i], k, j, b.Values[i], t)
		}
	}
	o.cursor.Leave()
	return o.end()
}

func (o *triggered[K, In, Acc, R]) add(h flow.Hash, k K, j int64, v In, t flow.Time) {
	w := o.grid.window(j)
	e, fresh := o.cells.Ref(h, k, j)
	if fresh {
		e.Acc = o.new()
		if at := w.Last(); o.clock < at {
			o.due.Add(h, k, j, at)
		}
		if at := w.expiry(o.lateness); o.lateness > 0 {
			o.due.Add(h, k, j, at)
		}
	}
	o.fold(&e.Acc, v)
	e.Count++
	c := o.prepare(w, t)
	d := o.trigger.OnElement(c, e.Words[:o.words])
	o.book(h, k, j)
	timing := Early
	if c.Complete() {
		timing = Late
	}
	o.follow(d, e, k, w, timing)
}

func (o *triggered[K, In, Acc, R]) prepare(w Window, t flow.Time) *Call {
	o.call.Window, o.call.Time, o.call.Watermark = w, t, o.clock
	return &o.call
}

// book adds the timers that the trigger has just asked for.
func (o *triggered[K, In, Acc, R]) book(h flow.Hash, k K, j int64) {
	for _, at := range o.call.event {
		o.due.Add(h, k, j, at)
	}
	for _, at := range o.call.processing {
		o.ask.Add(h, k, j, at)
	}
	o.call.event, o.call.processing = o.call.event[:0], o.call.processing[:0]
}

// follow does what the trigger has decided.
func (o *triggered[K, In, Acc, R]) follow(d Decision, e *entry[Acc], k K, w Window, timing Timing) {
	if d == Continue || e.Count == 0 {
		return
	}
	o.result(k, w, Pane{Index: int(e.Panes), Timing: timing, Last: o.expired(w)}, &e.Acc)
	e.Panes++
	if d == FireAndPurge || o.cfg.Mode == Discarding {
		e.Acc, e.Count = o.new(), 0
	}
}

func (o *triggered[K, In, Acc, R]) fire() {
	o.call.Now = o.Task.Now()
	for {
		h, k, j, at, ok := o.due.Pop(o.clock)
		if !ok {
			return
		}
		if o.cells.Find(h, k, j) == nil {
			continue
		}
		e, _ := o.cells.Ref(h, k, j)
		w := o.grid.window(j)
		c := o.prepare(w, at)
		timing := Late
		switch {
		case at < w.Last():
			timing = Early
			c.Watermark = at
		case at == w.Last():
			timing = OnTime
		}
		if expiry := w.expiry(o.lateness); at <= expiry {
			if at < expiry || o.lateness == 0 {
				o.follow(o.trigger.OnEventTime(c, e.Words[:o.words]), e, k, w, timing)
				o.book(h, k, j)
			}
			if at == expiry {
				o.cells.Delete(h, k, j)
			}
		}
	}
}

// triggerNow calls triggers whose processing time has come.
func (o *triggered[K, In, Acc, R]) triggerNow(now flow.Time) {
	o.call.Now = now
	for {
		h, k, j, at, ok := o.ask.Pop(now)
		if !ok {
			return
		}
		if o.cells.Find(h, k, j) == nil {
			continue
		}
		e, _ := o.cells.Ref(h, k, j)
		w := o.grid.window(j)
		c := o.prepare(w, at)
		timing := Early
		if c.Complete() {
			timing = Late
		}
		o.follow(o.trigger.OnProcessingTime(c, e.Words[:o.words]), e, k, w, timing)
		o.book(h, k, j)
	}
}

func (o *triggered[K, In, Acc, R]) next() (flow.Time, bool)    { return o.due.Next() }
func (o *triggered[K, In, Acc, R]) nextNow() (flow.Time, bool) { return o.ask.Next() }
