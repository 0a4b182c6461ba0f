package window

import (
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// LateOutlet is where records leave that came too late for all their windows.
const LateOutlet flow.Outlet = 1

// core is what all window operators share: keys and times of a batch, the clock,
// results and late records.
type core[K comparable, In, Acc, R any] struct {
	operator.Base
	folder[Acc]
	cfg   Config[K, In]
	key   func(In) K
	fold  func(acc *Acc, in In)
	give  func(e *operator.Emitter[R], k K, w Window, p Pane, acc *Acc)
	lists bool // accumulators are lists: nothing is gained by merging ahead

	engine     engine
	processing bool // windows follow the machine's clock

	results  operator.Output[R]
	lateOut  operator.Output[In]
	out      operator.Emitter[R]
	lateEmit operator.Emitter[In]
	late     int64 // of this batch

	cursor  operator.Cursor[In]
	note    func() string
	noteKey K
	noteWin Window

	// clock is the watermark; in processing-time windows the time up to which no
	// record can come any more.
	clock     flow.Time
	lateness  flow.Time
	wakeAsked flow.Time

	// scratch is where panes are merged: a variable of a function would be on the
	// heap, one for each result.
	scratch Acc

	hashes  []flow.Hash // of the batch in hand
	times   []flow.Time
	hashBuf []flow.Hash
	timeBuf []flow.Time

	marks *Marks
}

// engine is the part of an operator that differs from one kind of window to the
// other.
type engine interface {
	operator.Operator
	// fire fires what is due up to the clock, which has just been moved.
	fire()
	// next is the clock's time at which something is due.
	next() (flow.Time, bool)
	// nextNow is the processing time at which a trigger wants to be called.
	nextNow() (flow.Time, bool)
}

func (c *core[K, In, Acc, R]) init(e engine) {
	c.engine, c.key = e, c.cfg.Key.Of
	c.processing = c.cfg.Assigner.ProcessingTime && c.cfg.Assigner.timed()
	c.clock, c.wakeAsked = flow.MinTime, flow.MaxTime
	c.lateness = flow.Span(c.cfg.Lateness)
	c.note = func() string {
		return fmt.Sprintf("window %v of key %s", c.noteWin, operator.Excerpt(fmt.Sprintf("%+v", c.noteKey), 200))
	}
}

// open is the common part of Open.
func (c *core[K, In, Acc, R]) open(ctx *operator.Context) error {
	c.Context = ctx
	size := max(1, ctx.BatchSize)
	c.results.Metrics = ctx.Metrics
	c.out.Bind(&c.results, size)
	c.lateEmit.Bind(&c.lateOut, size)
	marks, clock, err := OpenMarks(ctx, c.state("clock").Name)
	c.marks, c.clock = marks, clock
	return err
}

// state describes a part of the operator's state.
func (c *core[K, In, Acc, R]) state(part string) state.Descriptor {
	name := c.cfg.Name
	if name == "" {
		name = "window"
	}
	if part != "" {
		name += "." + part
	}
	return state.Descriptor{Operator: c.Operator, Name: name}
}

// Inlet returns the operator, which receives records itself.
func (c *core[K, In, Acc, R]) Inlet(p flow.Port) any {
	if p != 0 {
		return nil
	}
	return c.engine
}

// Outlet returns the results, or the late records.
func (c *core[K, In, Acc, R]) Outlet(o flow.Outlet) operator.Attacher {
	switch o {
	case 0:
		return &c.results
	case LateOutlet:
		return &c.lateOut
	}
	return nil
}

// Failing tells the record or window in hand.
func (c *core[K, In, Acc, R]) Failing() string { return c.cursor.Failing() }

// Watermark fires what is complete.
func (c *core[K, In, Acc, R]) Watermark(t flow.Time) (flow.Time, error) {
	if !c.processing || t == flow.MaxTime {
		c.moveTo(t)
	}
	return t, c.end()
}

// ProcessingTime fires windows and triggers that wait for the clock.
func (c *core[K, In, Acc, R]) ProcessingTime(now flow.Time) error {
	c.wakeAsked = flow.MaxTime
	if c.processing {
		c.moveTo(now - 1)
	}
	if t, ok := c.engine.(interface{ triggerNow(flow.Time) }); ok {
		t.triggerNow(now)
	}
	return c.end()
}

// EndInput calls the triggers that wait for the clock: nothing more comes, so that
// there is nothing to wait for. After a stop the records that such a trigger has not
// covered yet would otherwise give no result.
func (c *core[K, In, Acc, R]) EndInput(flow.Port) error {
	if t, ok := c.engine.(interface{ triggerNow(flow.Time) }); ok {
		t.triggerNow(flow.MaxTime - 1)
	}
	return c.end()
}

// Barrier stores the clock, so that after a restart late records are late still.
func (c *core[K, In, Acc, R]) Barrier(flow.Barrier) ([]byte, error) {
	if !c.processing {
		c.marks.Save(c.clock)
	}
	return nil, c.State.Err()
}

// moveTo moves the clock and fires.
func (c *core[K, In, Acc, R]) moveTo(t flow.Time) {
	if t <= c.clock {
		return
	}
	c.clock = t
	c.cursor.EnterNote(c.note)
	c.engine.fire()
	c.cursor.LeaveNote()
}

// begin prepares a batch: hashes and times are set for each of its records.
func (c *core[K, In, Acc, R]) begin(b *flow.Batch[In]) error {
	c.Metrics.RecordsIn.Add(int64(len(b.Values)))
	if c.hashes = b.Hashes; len(b.Hashes) != len(b.Values) {
		c.hashBuf = c.cfg.Key.Hash(b.Values, c.hashBuf[:0])
		c.hashes = c.hashBuf
	}
	c.times = b.Times
	switch timed := c.cfg.Assigner.timed(); {
	case c.processing:
		now := c.Task.Now()
		if c.clock < flow.MaxTime {
			now = max(now, c.clock+1)
		}
		c.moveTo(now - 1)
		c.fillTimes(len(b.Values), now)
	case len(b.Times) == len(b.Values):
	case timed:
		return c.badTime(0, flow.MinTime)
	default:
		c.fillTimes(len(b.Values), flow.MinTime)
	}
	c.cursor.Enter(b)
	return nil
}

func (c *core[K, In, Acc, R]) fillTimes(n int, t flow.Time) {
	if len(c.timeBuf) < n || c.timeBuf[0] != t {
		c.timeBuf = append(c.timeBuf[:0], make([]flow.Time, max(n, len(c.timeBuf)))...)
		for i := range c.timeBuf {
			c.timeBuf[i] = t
		}
	}
	c.times = c.timeBuf[:n]
}

// badTime is the error of record i of a batch, which has a time that no window
// can have.
func (c *core[K, In, Acc, R]) badTime(i int, t flow.Time) error {
	if t == flow.MinTime {
		return fmt.Errorf("window: record %d of a batch for %q has no event time, and windows %v need one: "+
			"give the source a watermark strategy that sets timestamps, or take processing-time windows", i+1, c.Name, c.cfg.Assigner)
	}
	return fmt.Errorf("window: record %d of a batch for %q has the event time %d, in microseconds since 1970; "+
		"that is more than 146,000 years away: check the unit in which the source reads timestamps", i+1, c.Name, int64(t))
}

// timeOK reports whether t can be in a window.
func timeOK(t flow.Time) bool { return -limit < t && t < limit }

// end is the end of every call: nothing is held back.
func (c *core[K, In, Acc, R]) end() error {
	if c.late > 0 {
		c.Metrics.Late.Add(c.late)
		c.late = 0
	}
	if err := c.out.Flush(); err != nil {
		return err
	}
	if err := c.lateEmit.Flush(); err != nil {
		return err
	}
	c.wake()
	return c.State.Err()
}

// wake asks for a call when something is due by the clock.
func (c *core[K, In, Acc, R]) wake() {
	at := flow.MaxTime
	if c.processing {
		if t, ok := c.engine.next(); ok {
			at = t.Plus(1)
		}
	}
	if t, ok := c.engine.nextNow(); ok {
		at = min(at, t)
	}
	if at < c.wakeAsked {
		c.wakeAsked = at
		c.Task.WakeAt(c.engine, at)
	}
}

// tooLate counts a record and sends it to the late outlet.
func (c *core[K, In, Acc, R]) tooLate(v In, t flow.Time) {
	c.late++
	if c.lateOut.Attached() {
		c.lateEmit.EmitAt(v, t)
	}
}

// result sends one result.
func (c *core[K, In, Acc, R]) result(k K, w Window, p Pane, acc *Acc) {
	c.noteKey, c.noteWin = k, w
	c.out.At(w.Last())
	c.give(&c.out, k, w, p, acc)
}

// expired reports whether nothing will follow in w.
func (c *core[K, In, Acc, R]) expired(w Window) bool { return c.clock >= w.expiry(c.lateness) }

// nextNow is overridden by engines with triggers.
func (c *core[K, In, Acc, R]) nextNow() (flow.Time, bool) { return 0, false }
