package operator

import (
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// Processor is a process function: what is done with each record of a keyed
// stream, and with the timers that it sets. All calls are on one goroutine; the
// emitter and the context are lent for the call.
type Processor[K comparable, In, Out any] struct {
	// Each handles one record. States are those of the record's key.
	Each func(c *Keyed[K], v In, out *Emitter[Out])
	// Timer handles a timer that has come due. Nil where none is set.
	Timer func(c *Keyed[K], t Timer, out *Emitter[Out])
	// Close is called once at the end, nil where there is nothing to free.
	Close func() error
}

// Timer is a timer that has come due.
type Timer struct {
	// At is the time it was set for.
	At flow.Time
	// Processing is true for a timer in processing time.
	Processing bool
}

// Keyed is the context of a call: the key in hand and its time. It belongs to the
// operator and must not be kept.
type Keyed[K comparable] struct {
	state.Current[K]
	time      flow.Time
	watermark flow.Time
	timers    timerService[K]
	task      Task
}

// Time is the event time of the record in hand, or of the event-time timer;
// flow.MinTime where the record has none.
func (c *Keyed[K]) Time() flow.Time { return c.time }

// Watermark is the operator's event time.
func (c *Keyed[K]) Watermark() flow.Time { return c.watermark }

// Now is the processing time.
func (c *Keyed[K]) Now() flow.Time { return c.task.Now() }

// SetTimer sets a timer in event time for the key in hand: it comes due when the
// watermark reaches at. A timer for the same time is set once.
func (c *Keyed[K]) SetTimer(at flow.Time) { c.timers.set(c, at, false) }

// SetProcessingTimer sets a timer in processing time for the key in hand.
func (c *Keyed[K]) SetProcessingTimer(at flow.Time) { c.timers.set(c, at, true) }

// DeleteTimer takes back an event-time timer of the key in hand.
func (c *Keyed[K]) DeleteTimer(at flow.Time) { c.timers.event.Delete(c.Hash, c.Key, struct{}{}, at) }

// DeleteProcessingTimer takes back a processing-time timer of the key in hand.
func (c *Keyed[K]) DeleteProcessingTimer(at flow.Time) {
	c.timers.processing.Delete(c.Hash, c.Key, struct{}{}, at)
}

// timerService is the timers of one keyed operator.
type timerService[K comparable] struct {
	event, processing *state.Timers[K, struct{}]
	op                Operator
}

func (s *timerService[K]) open(ctx *Context, op Operator) (err error) {
	s.op = op
	if s.event, err = state.NewTimers[K, struct{}](ctx.State, state.Descriptor{Operator: ctx.Operator, Name: "timers/event"}); err != nil {
		return err
	}
	s.processing, err = state.NewTimers[K, struct{}](ctx.State, state.Descriptor{Operator: ctx.Operator, Name: "timers/processing"})
	return err
}

func (s *timerService[K]) set(c *Keyed[K], at flow.Time, processing bool) {
	if !processing {
		s.event.Add(c.Hash, c.Key, struct{}{}, at)
		return
	}
	s.processing.Add(c.Hash, c.Key, struct{}{}, at)
	c.task.WakeAt(s.op, at)
}

// fire calls f for the timers due at upTo, each with its key in hand. Timers that
// f sets and that are due as well are fired too.
func (s *timerService[K]) fire(c *Keyed[K], upTo flow.Time, processing bool, f func(Timer)) {
	timers := s.event
	if processing {
		timers = s.processing
	}
	for {
		h, k, _, at, ok := timers.Pop(upTo)
		if !ok {
			break
		}
		c.Hash, c.Key = h, k
		c.time = at
		if processing {
			c.time = c.watermark
		}
		f(Timer{At: at, Processing: processing})
	}
	if processing {
		if at, ok := timers.Next(); ok {
			c.task.WakeAt(s.op, at)
		}
	}
}

// ProcessConfig is what a process operator is made from.
type ProcessConfig[K comparable, In, Out any] struct {
	Key Key[In, K]
	// Make declares states and returns the functions; see [Setup].
	Make func(*Setup[K]) Processor[K, In, Out]
	// Declared is what Make declared when the pipeline was built; see [Declare].
	Declared *Declared
}

// Declare calls make once to learn what it declares.
func Declare[K comparable, P any](make func(*Setup[K]) P) (d *Declared, err error) {
	d = &Declared{}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the process function panicked while it declared its states: %v (states may only be used in the functions that it returns)", p)
		}
	}()
	make(&Setup[K]{decl: d, cur: &state.Current[K]{}})
	return d, d.err
}

// NewProcess makes the instance of a process function.
func NewProcess[K comparable, In, Out any](cfg ProcessConfig[K, In, Out]) Operator {
	return &process[K, In, Out]{cfg: cfg, hasher: hasher[In, K]{key: cfg.Key}, sides: map[string]Attacher{}}
}

type process[K comparable, In, Out any] struct {
	one[In, Out]
	hasher[In, K]
	cfg   ProcessConfig[K, In, Out]
	fn    Processor[K, In, Out]
	ctx   Keyed[K]
	emit  Emitter[Out]
	setup Setup[K]
	sides map[string]Attacher
	timer Timer // in hand
}

func (p *process[K, In, Out]) Inlet(flow.Port) any { return p }

func (p *process[K, In, Out]) Outlet(o flow.Outlet) Attacher {
	if o == 0 {
		return &p.out
	}
	return outlets(p.cfg.Declared, p.sides, o)
}

func (p *process[K, In, Out]) Open(ctx *Context) error {
	if err := p.one.Open(ctx); err != nil {
		return err
	}
	p.emit.Bind(&p.out, ctx.BatchSize)
	p.ctx.task, p.ctx.watermark = ctx.Task, flow.MinTime
	if err := p.ctx.timers.open(ctx, p); err != nil {
		return err
	}
	p.setup = Setup[K]{ctx: ctx, cur: &p.ctx.Current, decl: &Declared{}, side: p.sides}
	p.cursor.EnterNote(func() string { return "its setup" })
	p.fn = p.cfg.Make(&p.setup)
	p.cursor.LeaveNote()
	if p.setup.decl.err != nil {
		return p.setup.decl.err
	}
	if p.fn.Each == nil {
		return fmt.Errorf("%w: the processor has no Each", ErrUser)
	}
	return nil
}

func (p *process[K, In, Out]) Receive(b *flow.Batch[In]) error {
	p.enter(b)
	hs := p.hashes(b)
	for i, v := range b.Values {
		p.cursor.I = i
		p.ctx.Hash, p.ctx.Key = hs[i], p.key.Of(v)
		p.at(b.Time(i))
		p.fn.Each(&p.ctx, v, &p.emit)
	}
	p.cursor.Leave()
	return p.flush()
}

func (p *process[K, In, Out]) at(t flow.Time) {
	p.ctx.time = t
	p.emit.At(t)
	p.setup.at(t)
}

func (p *process[K, In, Out]) flush() error {
	err := p.emit.Flush()
	if e := p.setup.flush(); err == nil {
		err = e
	}
	return err
}

func (p *process[K, In, Out]) Watermark(t flow.Time) (flow.Time, error) {
	p.ctx.watermark = t
	p.fire(t, false)
	return t, p.flush()
}

func (p *process[K, In, Out]) ProcessingTime(now flow.Time) error {
	p.fire(now, true)
	return p.flush()
}

func (p *process[K, In, Out]) fire(upTo flow.Time, processing bool) {
	p.ctx.timers.fire(&p.ctx, upTo, processing, func(t Timer) {
		if p.fn.Timer == nil {
			return
		}
		p.at(p.ctx.time)
		p.timer = t
		p.cursor.EnterNote(p.describeTimer)
		p.fn.Timer(&p.ctx, t, &p.emit)
		p.cursor.LeaveNote()
	})
}

func (p *process[K, In, Out]) describeTimer() string {
	return fmt.Sprintf("timer of %s for key %v", p.timer.At, p.ctx.Key)
}

func (p *process[K, In, Out]) Close() error {
	if p.fn.Close != nil {
		return p.fn.Close()
	}
	return nil
}
