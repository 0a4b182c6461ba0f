package window

import (
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// sessions runs session windows. All sessions of a key that are kept are one
// value, in the order of time; they never overlap. A record either extends one,
// makes one, or joins several.
//
// A session's end moves with each record, its timer does not: when the timer
// comes and the end is later by now, a new one is set. So a session has one timer
// at a time, however many records it has.
type sessions[K comparable, In, Acc, R any] struct {
	core[K, In, Acc, R]
	gap     flow.Time
	trigger Trigger // nil: the default
	words   int
	call    Call

	cells *state.Cells[K, struct{}, []session[Acc]]
	due   *state.Timers[K, struct{}]
	ask   *state.Timers[K, struct{}] // by processing time
}

type session[Acc any] struct {
	Window Window          `msgpack:"s"`
	Acc    Acc             `msgpack:"a"`
	Count  int64           `msgpack:"c,omitempty"` // records in Acc
	Panes  int32           `msgpack:"p,omitempty"` // results given
	Timer  flow.Time       `msgpack:"t"`           // noTimer if there is none
	Words  [MaxWords]int64 `msgpack:"w,omitempty"` // the trigger's
}

const noTimer = flow.MaxTime

func (o *sessions[K, In, Acc, R]) Open(ctx *operator.Context) (err error) {
	if err = o.open(ctx); err != nil {
		return err
	}
	if o.cells, err = state.NewCells[K, struct{}, []session[Acc]](ctx.State, o.state("")); err != nil {
		return err
	}
	if o.due, err = state.NewTimers[K, struct{}](ctx.State, o.state("due")); err != nil {
		return err
	}
	o.ask, err = state.NewTimers[K, struct{}](ctx.State, o.state("ask"))
	return err
}

func (o *sessions[K, In, Acc, R]) Receive(b *flow.Batch[In]) error {
	if err := o.begin(b); err != nil {
		return err
	}
	if o.trigger != nil {
		o.call.Now = o.Task.Now()
	}
	gap := o.gap
	for i := range b.Values {
		o.cursor.I = i
		t := o.times[i]
		if !timeOK(t) {
			return o.badTime(i, t)
		}
		if o.cfg.Gap != nil {
			d := o.cfg.Gap(b.Values[i])
			if gap = flow.Span(d); gap < 1 || gap > limit {
				return fmt.Errorf("window: the session gap of record %d of a batch for %q is %v; it must be at least 1µs",
					i+1, o.Name, d)
			}
		}
		o.add(o.hashes[i], o.key(b.Values[i]), Window{t, t + gap}, b.Values[i], t)
	}
	o.cursor.Leave()
	return o.end()
}

// overlapping is the run of sessions [i, m) that have a time in common with w.
// Records mostly belong to the newest, so it looks from the end.
func overlapping[Acc any](ss []session[Acc], w Window) (i, m int) {
	m = len(ss)
	for m > 0 && ss[m-1].Window.Start >= w.End {
		m--
	}
	i = m
	for i > 0 && ss[i-1].Window.End > w.Start {
		i--
	}
	return i, m
}

func (o *sessions[K, In, Acc, R]) add(h flow.Hash, k K, w Window, v In, t flow.Time) {
	if o.expired(w) {
		p := o.cells.Find(h, k, struct{}{})
		late := p == nil
		if !late {
			i, m := overlapping(*p, w)
			late = i == m
		}
		if late {
			o.tooLate(v, t)
			return
		}
	}
	p, _ := o.cells.Ref(h, k, struct{}{})
	i, m := overlapping(*p, w)
	if i == m {
		*p = append(*p, session[Acc]{})
		copy((*p)[i+1:], (*p)[i:])
		(*p)[i] = session[Acc]{Window: w, Acc: o.new(), Timer: noTimer}
		m = i + 1
	}
	s := &(*p)[i]
	s.Window = Window{min(s.Window.Start, w.Start), max((*p)[m-1].Window.End, w.End)}
	if m > i+1 {
		o.join(*p, i, m)
		n := i + 1 + copy((*p)[i+1:], (*p)[m:])
		clear((*p)[n:])
		*p = (*p)[:n]
	}
	o.fold(&s.Acc, v)
	s.Count++
	if o.trigger == nil {
		if s.Window.Last() <= o.clock {
			o.give1(s, k, Late)
		}
	} else {
		c := o.prepare(s, t)
		timing := Early
		if c.Complete() {
			timing = Late
		}
		o.follow(o.trigger.OnElement(c, s.Words[:o.words]), s, k, timing)
		o.book(h, k)
	}
	o.watch(h, k, s, o.clock)
}

// join merges the sessions (i, m) into session i, of which the window is merged
// already.
func (o *sessions[K, In, Acc, R]) join(ss []session[Acc], i, m int) {
	s := &ss[i]
	for x := i + 1; x < m; x++ {
		other := &ss[x]
		o.merge(&s.Acc, &other.Acc)
		s.Count += other.Count
		s.Panes = max(s.Panes, other.Panes)
		s.Timer = min(s.Timer, other.Timer)
		if o.trigger != nil {
			o.trigger.OnMerge(o.prepare(s, o.clock), s.Words[:o.words], other.Words[:o.words])
		}
	}
}

// watch sees to a timer for what comes next to s after the time now: its end, or
// the end of what is kept of it.
func (o *sessions[K, In, Acc, R]) watch(h flow.Hash, k K, s *session[Acc], now flow.Time) {
	at := s.Window.Last()
	if at <= now {
		at = s.Window.expiry(o.lateness)
	}
	// A timer before the end will set the one at the end.
	if s.Timer > at {
		s.Timer = at
		o.due.Add(h, k, struct{}{}, at)
	}
}

func (o *sessions[K, In, Acc, R]) give1(s *session[Acc], k K, timing Timing) {
	o.result(k, s.Window, Pane{Index: int(s.Panes), Timing: timing, Last: o.expired(s.Window)}, &s.Acc)
	s.Panes++
	if o.cfg.Mode == Discarding {
		s.Acc, s.Count = o.new(), 0
	}
}

func (o *sessions[K, In, Acc, R]) fire() {
	if o.trigger != nil {
		o.call.Now = o.Task.Now()
	}
	for {
		h, k, _, at, ok := o.due.Pop(o.clock)
		if !ok {
			return
		}
		if o.cells.Find(h, k, struct{}{}) == nil {
			continue
		}
		p, _ := o.cells.Ref(h, k, struct{}{})
		kept := (*p)[:0]
		for i := range *p {
			s := &(*p)[i]
			o.fireAt(h, k, s, at)
			if at >= s.Window.expiry(o.lateness) {
				continue
			}
			if s.Timer <= at {
				s.Timer = noTimer
			}
			o.watch(h, k, s, at)
			kept = append(kept, *s)
		}
		clear((*p)[len(kept):])
		if *p = kept; len(kept) == 0 {
			o.cells.Delete(h, k, struct{}{})
		}
	}
}

// fireAt gives what s has to give at the time at.
func (o *sessions[K, In, Acc, R]) fireAt(h flow.Hash, k K, s *session[Acc], at flow.Time) {
	last := s.Window.Last()
	if o.trigger == nil {
		if at == last && s.Count > 0 {
			o.give1(s, k, OnTime)
		}
		return
	}
	timing := Late
	c := o.prepare(s, at)
	switch {
	case at < last:
		timing = Early
		c.Watermark = at
	case at == last:
		timing = OnTime
	}
	o.follow(o.trigger.OnEventTime(c, s.Words[:o.words]), s, k, timing)
	o.book(h, k)
}

func (o *sessions[K, In, Acc, R]) prepare(s *session[Acc], t flow.Time) *Call {
	o.call.Window, o.call.Time, o.call.Watermark = s.Window, t, o.clock
	return &o.call
}

func (o *sessions[K, In, Acc, R]) book(h flow.Hash, k K) {
	for _, at := range o.call.event {
		o.due.Add(h, k, struct{}{}, at)
	}
	for _, at := range o.call.processing {
		o.ask.Add(h, k, struct{}{}, at)
	}
	o.call.event, o.call.processing = o.call.event[:0], o.call.processing[:0]
}

func (o *sessions[K, In, Acc, R]) follow(d Decision, s *session[Acc], k K, timing Timing) {
	if d == Continue || s.Count == 0 {
		return
	}
	o.give1(s, k, timing)
	if d == FireAndPurge {
		s.Acc, s.Count = o.new(), 0
	}
}

// triggerNow calls triggers whose processing time has come.
func (o *sessions[K, In, Acc, R]) triggerNow(now flow.Time) {
	o.call.Now = now
	for {
		h, k, _, at, ok := o.ask.Pop(now)
		if !ok {
			return
		}
		if o.cells.Find(h, k, struct{}{}) == nil {
			continue
		}
		p, _ := o.cells.Ref(h, k, struct{}{})
		for i := range *p {
			s := &(*p)[i]
			c := o.prepare(s, at)
			timing := Early
			if c.Complete() {
				timing = Late
			}
			o.follow(o.trigger.OnProcessingTime(c, s.Words[:o.words]), s, k, timing)
		}
		o.book(h, k)
	}
}

func (o *sessions[K, In, Acc, R]) next() (flow.Time, bool)    { return o.due.Next() }
func (o *sessions[K, In, Acc, R]) nextNow() (flow.Time, bool) { return o.ask.Next() }
