package async

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/operator"
)

// closeWait is how long Close waits for functions whose context has ended.
const closeWait = 10 * time.Second

// NewMap makes an operator that turns each record into what f answers. f is called
// by many goroutines at once and must heed its context. Its outlet
// operator.DeadLetter has the records that were refused.
func NewMap[In, Out any](f func(context.Context, In) (Out, error), o Options) operator.Operator {
	return newCaller(o, func(v In) In { return v }, f, func(_ In, answer Out) Out { return answer }, nil)
}

// entry is a record inside the operator.
type entry[In, Out any] struct {
	in       In
	time     flow.Time
	number   int64 // of the subtask's input
	out      Out
	err      error // in place of out
	attempts int
}

// book remembers answers and knows the calls that are under way, so that a
// question need not be asked twice.
type book[Q, R, E any] interface {
	// find returns the answer to q if it is known.
	find(q Q, now flow.Time) (R, bool)
	// underWay returns the call that asks q, or nil.
	underWay(q Q) *call[Q, R, E]
	begin(c *call[Q, R, E])
	// end tells that a call is over.
	end(c *call[Q, R, E], now flow.Time)
}

// caller is the operator: question and answer are called on the task's goroutine,
// ask on others.
type caller[In, Q, R, Out any] struct {
	operator.Base
	opt      Options
	question func(In) Q
	ask      func(context.Context, Q) (R, error)
	answer   func(In, R) Out
	book     book[Q, R, entry[In, Out]] // nil: every record is a question of its own

	out     operator.Output[Out]
	emit    operator.Emitter[Out]
	refused operator.Refusals
	cursor  operator.Cursor[In]
	leaving *entry[In, Out] // whose answer is handled
	seen    int64           // records of earlier batches
	order   order[entry[In, Out]]
	inside  int
	free    []*ticket[entry[In, Out]]
	// oldest and newest are the ends of the chain of all that is inside, as it came.
	oldest, newest *ticket[entry[In, Out]]
	item           *codec.Codec[kept[In]] // nil where records cannot be stored
	kept           [][]byte               // of the last barrier
	restored       []kept[In]             // yet to be asked again
	released       flow.Time              // the watermark that was last let go
	draining       bool
	failed         error // what drain met while the task yielded

	ctx     context.Context
	cancel  context.CancelFunc
	asked   chan *call[Q, R, entry[In, Out]] // has room for all calls
	calls   int                              // that were begun and not settled
	workers int                              // goroutines that take from asked
	running sync.WaitGroup                   // of the workers
	mail    func() error
	landed  []*call[Q, R, entry[In, Out]] // of drain
	mu      struct {
		sync.Mutex
		landed []*call[Q, R, entry[In, Out]]
	}
}

func newCaller[In, Q, R, Out any](o Options, question func(In) Q, ask func(context.Context, Q) (R, error),
	answer func(In, R) Out, b book[Q, R, entry[In, Out]]) *caller[In, Q, R, Out] {
	o.EnsureDefaults()
	return &caller[In, Q, R, Out]{opt: o, question: question, ask: ask, answer: answer, book: b}
}

func (o *caller[In, Q, R, Out]) Inlet(flow.Port) any { return o }

func (o *caller[In, Q, R, Out]) Outlet(p flow.Outlet) operator.Attacher {
	switch p {
	case 0:
		return &o.out
	case operator.DeadLetter:
		return o.refused.Outlet()
	}
	return nil
}

func (o *caller[In, Q, R, Out]) Open(ctx *operator.Context) error {
	o.Context = ctx
	if err := o.opt.Validate(); err != nil {
		return err
	}
	o.out.Metrics = ctx.Metrics
	o.emit.Bind(&o.out, ctx.BatchSize)
	o.ctx, o.cancel = context.WithCancel(ctx.Task.Context())
	o.mail = o.drain
	o.asked = make(chan *call[Q, R, entry[In, Out]], o.opt.Capacity)
	o.released = flow.MinTime
	if c, err := codec.For[kept[In]](); err == nil {
		o.item = c
	}
	o.order = &unordered[entry[In, Out]]{}
	if o.opt.Ordered {
		o.order = &ordered[entry[In, Out]]{}
	}
	return nil
}

// Failing tells the record in hand.
func (o *caller[In, Q, R, Out]) Failing() string {
	if o.leaving != nil {
		return describe(o.leaving)
	}
	return o.cursor.Failing()
}

func describe[In, Out any](e *entry[In, Out]) string {
	s := fmt.Sprintf("record %d of this subtask's input: %s", e.number, operator.Excerpt(fmt.Sprintf("%+v", e.in), 200))
	if e.time != flow.MinTime {
		s += " (time " + e.time.String() + ")"
	}
	return s
}

func (o *caller[In, Q, R, Out]) Receive(b *flow.Batch[In]) error {
	o.Metrics.RecordsIn.Add(int64(len(b.Values)))
	if err := o.askAgain(); err != nil {
		return err
	}
	return o.takeAll(b)
}

// takeAll brings the records of a batch inside, as there is room.
func (o *caller[In, Q, R, Out]) takeAll(b *flow.Batch[In]) error {
	now := o.Task.Now()
	o.cursor.Enter(b)
	for i, v := range b.Values {
		if o.inside >= o.opt.Capacity {
			if err := o.wait(func() bool { return o.inside < o.opt.Capacity }); err != nil {
				return err
			}
			now = o.Task.Now()
		}
		o.cursor.I = i
		o.take(v, b.Time(i), o.seen+int64(i)+1, now)
	}
	o.cursor.Leave()
	o.seen += int64(len(b.Values))
	return o.drain()
}

// take brings a record inside and finds or makes the call that it waits for.
func (o *caller[In, Q, R, Out]) take(v In, t flow.Time, number int64, now flow.Time) {
	q := o.question(v)
	tk := o.ticket()
	tk.entry = entry[In, Out]{in: v, time: t, number: number}
	o.order.add(tk)
	o.link(tk)
	o.inside++
	if o.book != nil {
		if r, ok := o.book.find(q, now); ok {
			tk.entry.out = o.answer(v, r)
			o.order.finish(tk)
			return
		}
		if c := o.book.underWay(q); c != nil {
			c.waiters = append(c.waiters, tk)
			return
		}
	}
	c := &call[Q, R, entry[In, Out]]{question: q, waiters: []*ticket[entry[In, Out]]{tk}}
	if o.book != nil {
		o.book.begin(c)
	}
	// Goroutines stay for the next call: one with a stack that has grown already
	// is worth a microsecond.
	if o.calls++; o.calls > o.workers {
		o.workers++
		o.running.Go(o.work)
	}
	o.asked <- c
}

// work runs one call after the other.
func (o *caller[In, Q, R, Out]) work() {
	done := false
	defer func() {
		if !done { // the function has ended its goroutine: another takes its place
			o.running.Go(o.work)
		}
	}()
	for c := range o.asked {
		o.run(c)
	}
	done = true
}

func (o *caller[In, Q, R, Out]) run(c *call[Q, R, entry[In, Out]]) {
	defer o.land(c)
	c.run(o.ctx, &o.opt, &o.Metrics.Retries, o.ask)
}

// land hands a call that is over to the task.
func (o *caller[In, Q, R, Out]) land(c *call[Q, R, entry[In, Out]]) {
	o.mu.Lock()
	o.mu.landed = append(o.mu.landed, c)
	first := len(o.mu.landed) == 1
	o.mu.Unlock()
	if first {
		o.Task.Mail(o.mail)
	}
}

// wait drains until done, yielding in between.
func (o *caller[In, Q, R, Out]) wait(done func() bool) error {
	err := o.Task.Yield(func() bool {
		if err := o.drain(); err != nil {
			o.failed = err
		}
		return o.failed != nil || done()
	})
	if o.failed != nil {
		return o.failed
	}
	return err
}

// drain handles the calls that have landed and lets go what may leave.
func (o *caller[In, Q, R, Out]) drain() error {
	if o.draining {
		return nil // the one that is at it will see to the rest
	}
	o.draining = true
	defer func() { o.draining = false }()
	for {
		o.mu.Lock()
		o.landed, o.mu.landed = o.mu.landed, o.landed[:0]
		o.mu.Unlock()
		for _, c := range o.landed {
			o.settle(c)
		}
		some := len(o.landed) > 0
		clear(o.landed)
		if err := o.release(); err != nil {
			return err
		}
		if !some {
			return nil
		}
	}
}

// settle gives a call's outcome to the records that wait for it.
func (o *caller[In, Q, R, Out]) settle(c *call[Q, R, entry[In, Out]]) {
	o.calls--
	if o.book != nil {
		o.book.end(c, o.Task.Now())
	}
	for _, tk := range c.waiters {
		e := &tk.entry
		e.attempts = c.attempts
		if e.err = c.err; c.err == nil {
			o.leaving = e
			e.out = o.answer(e.in, c.answer)
			o.leaving = nil
		}
		o.order.finish(tk)
	}
}

// release lets go what may leave.
func (o *caller[In, Q, R, Out]) release() error {
	for {
		tk, at, ok := o.order.next()
		if !ok {
			return o.flush()
		}
		if tk == nil {
			if err := o.flush(); err != nil {
				return err
			}
			o.released = at
			if err := o.Task.Advance(o, at); err != nil {
				return err
			}
			continue
		}
		o.inside--
		if e := &tk.entry; e.err != nil {
			if err := o.refuse(e); err != nil {
				return err
			}
		} else {
			o.emit.EmitAt(e.out, e.time)
		}
		o.unlink(tk)
		tk.entry = entry[In, Out]{}
		o.free = append(o.free, tk)
	}
}

func (o *caller[In, Q, R, Out]) flush() error {
	err := o.emit.Flush()
	if e := o.refused.Flush(); err == nil {
		err = e
	}
	return err
}

// refuse follows the policy for a record without an answer. A panic is no answer
// of the outside's, and always fails the job.
func (o *caller[In, Q, R, Out]) refuse(e *entry[In, Out]) error {
	if err := o.ctx.Err(); err != nil {
		return context.Cause(o.ctx) // the task has ended, and not the call's luck
	}
	var err error
	if _, ok := e.err.(*panicked); ok || o.opt.Bad.Mode == operator.BadFail { //nolint:errorlint // set by attempt, unwrapped
		err = failure(&o.opt, e.err, e.attempts, describe(e))
	} else {
		err = o.refused.Refuse(o.Context, o.opt.Bad, operator.BadRecord{
			Where: fmt.Sprintf("record %d of this subtask's input", e.number), Raw: fmt.Appendf(nil, "%+v", e.in),
			Reason: reason(e.err, e.attempts), Time: e.time,
		}, e.number-1)
	}
	if err == nil {
		return nil
	}
	// What comes by mail does not come through the chain, so that nobody but us
	// knows which operator it is.
	f := *flow.FailureOf(err)
	f.Operator, f.Name = o.Operator, o.Name
	return &f
}

// ticket takes one that is free, or makes one.
func (o *caller[In, Q, R, Out]) ticket() *ticket[entry[In, Out]] {
	n := len(o.free)
	if n == 0 {
		return &ticket[entry[In, Out]]{}
	}
	tk := o.free[n-1]
	o.free = o.free[:n-1]
	return tk
}

// Watermark holds t back until the records before it have left.
func (o *caller[In, Q, R, Out]) Watermark(t flow.Time) (flow.Time, error) {
	if err := o.askAgain(); err != nil {
		return o.released, err
	}
	if o.order.empty() {
		o.released = t
		return t, nil
	}
	o.order.mark(t)
	return o.released, nil
}

// Holding reports whether anything is inside.
func (o *caller[In, Q, R, Out]) Holding() bool { return !o.order.empty() || len(o.restored) > 0 }

// EndInput waits until nothing is inside.
func (o *caller[In, Q, R, Out]) EndInput(flow.Port) error {
	if err := o.askAgain(); err != nil {
		return err
	}
	return o.wait(o.order.empty)
}

// Close ends the calls that are under way and waits for their functions to return.
func (o *caller[In, Q, R, Out]) Close() error {
	if o.cancel == nil {
		return nil
	}
	o.cancel()
	close(o.asked)
	gone := make(chan struct{})
	go func() {
		o.running.Wait()
		close(gone)
	}()
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-gone:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: a call has not returned %v after its context has ended, and is left behind: the function must heed its context",
			operator.ErrUser, closeWait)
	}
}
