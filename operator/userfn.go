package operator

import (
	"fmt"

	"github.com/weirflow/weir/flow"
)

// userfn is what operators of two inputs that run functions of the user's own have
// in common: the key in hand, timers, the main output and side outputs.
type userfn[K comparable, Out any] struct {
	Base
	out      Output[Out]
	declared *Declared
	sides    map[string]Attacher
	setup    Setup[K]
	key      Keyed[K]
	emit     Emitter[Out]
	onTimer  func(c *Keyed[K], t Timer, out *Emitter[Out])
	onClose  func() error
	timer    Timer // in hand
	note     Cursor[struct{}]
}

func (u *userfn[K, Out]) Outlet(o flow.Outlet) Attacher {
	if o == 0 {
		return &u.out
	}
	if u.sides == nil {
		u.sides = map[string]Attacher{}
	}
	return outlets(u.declared, u.sides, o)
}

// open prepares all but the user's functions, which make makes.
func (u *userfn[K, Out]) open(ctx *Context, op Operator, make func(*Setup[K])) error {
	u.Context = ctx
	u.out.Metrics = ctx.Metrics
	u.emit.Bind(&u.out, ctx.BatchSize)
	u.key.task, u.key.watermark = ctx.Task, flow.MinTime
	if err := u.key.timers.open(ctx, op); err != nil {
		return err
	}
	u.setup = Setup[K]{ctx: ctx, cur: &u.key.Current, decl: &Declared{}, side: u.sides}
	u.note.EnterNote(func() string { return "its setup" })
	make(&u.setup)
	u.note.LeaveNote()
	return u.setup.decl.err
}

func (u *userfn[K, Out]) at(t flow.Time) {
	u.key.time = t
	u.emit.At(t)
	u.setup.at(t)
}

func (u *userfn[K, Out]) flush() error {
	err := u.emit.Flush()
	if e := u.setup.flush(); err == nil {
		err = e
	}
	return err
}

func (u *userfn[K, Out]) Watermark(t flow.Time) (flow.Time, error) {
	u.key.watermark = t
	u.fire(t, false)
	return t, u.flush()
}

func (u *userfn[K, Out]) ProcessingTime(now flow.Time) error {
	u.fire(now, true)
	return u.flush()
}

func (u *userfn[K, Out]) fire(upTo flow.Time, processing bool) {
	u.key.timers.fire(&u.key, upTo, processing, func(t Timer) {
		if u.onTimer == nil {
			return
		}
		u.at(u.key.time)
		u.timer = t
		u.note.EnterNote(u.describeTimer)
		u.onTimer(&u.key, t, &u.emit)
		u.note.LeaveNote()
	})
}

func (u *userfn[K, Out]) describeTimer() string {
	return fmt.Sprintf("timer of %s for key %v", u.timer.At, u.key.Key)
}

func (u *userfn[K, Out]) Close() error {
	if u.onClose != nil {
		return u.onClose()
	}
	return nil
}

// keyedPort is an input of such an operator: records with a key.
type keyedPort[K comparable, In, Out any] struct {
	hasher[In, K]
	cursor Cursor[In]
	fn     *userfn[K, Out]
	each   func(c *Keyed[K], v In, out *Emitter[Out])
}

func (p *keyedPort[K, In, Out]) Receive(b *flow.Batch[In]) error {
	u := p.fn
	u.Metrics.RecordsIn.Add(int64(len(b.Values)))
	hashes := p.hashes(b)
	p.cursor.Enter(b)
	for i, v := range b.Values {
		p.cursor.I = i
		u.key.Hash, u.key.Key = hashes[i], p.key.Of(v)
		u.at(b.Time(i))
		p.each(&u.key, v, &u.emit)
	}
	p.cursor.Leave()
	return u.flush()
}

// failing is the first of the descriptions that says something.
func failing(of ...Failer) string {
	for _, f := range of {
		if s := f.Failing(); s != "" {
			return s
		}
	}
	return ""
}
