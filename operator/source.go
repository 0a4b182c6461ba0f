package operator

import (
	"fmt"
	"time"

	"github.com/weirflow/weir/flow"
)

// SourceConfig is what a source operator is made from.
type SourceConfig[T any] struct {
	Source    Source[T]
	Watermark WatermarkStrategy[T]
	Bad       BadPolicy
}

// DeadLetter is the outlet of a source's bad records. Other operators that have
// one use the same number.
const DeadLetter flow.Outlet = 1

// NewSource makes the instance of a source: it reads splits, gives each its
// watermark, and merges these.
func NewSource[T any](cfg SourceConfig[T]) Operator {
	return &source[T]{cfg: cfg, splits: map[string]*sourceSplit[T]{}, align: flow.MaxTime}
}

// watermarkEvery is how often a busy source sends its watermark on. Between two
// records of a source that has nothing else to do it goes at once.
const watermarkEvery = 10 * time.Millisecond

type source[T any] struct {
	Base
	cfg    SourceConfig[T]
	out    Output[T]
	bad    badOutput
	reader Reader[T]

	in     Records[T]
	splits map[string]*sourceSplit[T]
	last   *sourceSplit[T] // of the last read
	cursor Cursor[T]

	// held are splits that came after the source was stopped: none is read, and all
	// are part of the epochs that are still to come.
	held []Split
	// ended are the splits at barriers of epochs that are not committed, for a reader
	// that is told of commits.
	ended []epochSplits

	noMore, stopped    bool
	requested, starved bool
	watermark          flow.Time // merged, of all splits
	sent               flow.Time // the last that was given to the task
	sentAt             flow.Time // in processing time
	seen               int64
	align              flow.Time // no split may go beyond it
	reported           flow.Time
}

// sourceSplit is a split in hand, with its own event time.
type sourceSplit[T any] struct {
	id        string
	generator WatermarkGenerator
	watermark flow.Time
	active    flow.Time // processing time of its last record
	idle      bool
	paused    bool
}

func (s *source[T]) Outlet(o flow.Outlet) Attacher {
	switch o {
	case 0:
		return &s.out
	case DeadLetter:
		return &s.bad.out
	}
	return nil
}

func (s *source[T]) Open(ctx *Context) error {
	s.Context = ctx
	s.out.Metrics = ctx.Metrics
	s.watermark, s.sent, s.sentAt, s.reported = flow.MinTime, flow.MinTime, flow.MinTime, flow.MinTime
	r, err := s.cfg.Source.Reader(&ReaderContext{
		Context: ctx.Task.Context(), Job: ctx.Job, Operator: ctx.Operator, Name: ctx.Name,
		Subtask: ctx.Subtask, Parallelism: ctx.Parallelism, Log: ctx.Log, Metrics: ctx.Metrics,
		Wake: ctx.Task.Wake, Now: ctx.Task.Now, Bad: s.refuse,
	})
	if err != nil {
		return external(err)
	}
	s.reader = r
	return nil
}

// refuse applies the policy to a record that the reader could not read.
func (s *source[T]) refuse(rec BadRecord) error {
	return s.bad.refuse(s.Context, s.cfg.Bad, rec, s.seen)
}

func (s *source[T]) Where() string {
	if s.reader == nil {
		return ""
	}
	return s.reader.Where()
}

func (s *source[T]) Failing() string { return s.cursor.Failing() }

func (s *source[T]) AddSplit(sp Split) error {
	if s.stopped {
		s.held = append(s.held, sp)
		return nil
	}
	s.requested, s.starved = false, false
	s.splits[sp.ID] = &sourceSplit[T]{id: sp.ID, generator: s.cfg.Watermark.generator(), watermark: flow.MinTime, active: s.Task.Now()}
	s.Metrics.Total.Add(sp.Size)
	if err := s.reader.Add(sp); err != nil {
		return external(fmt.Errorf("split %q: %w", sp.ID, err))
	}
	s.merge()
	return nil
}

func (s *source[T]) NoMoreSplits() error { s.noMore = true; return nil }

func (s *source[T]) NoSplitYet() error { s.starved = len(s.splits) == 0; return nil }

func (s *source[T]) Stop() error { s.stopped = true; return nil }

// Pull reads one batch and sends it on.
func (s *source[T]) Pull() (Pulled, error) {
	if s.stopped {
		// What was read is finished, so its time counts as far as it has come: a busy
		// source may not have told it yet.
		s.merge()
		return Pulled{Ended: true, Watermark: s.watermark}, nil
	}
	if len(s.splits) == 0 {
		if s.noMore {
			return Pulled{Ended: true, Drained: true, Watermark: flow.MaxTime}, nil
		}
		if !s.requested {
			s.requested = true
			s.Task.RequestSplit(s.Operator)
		}
		// Once it is known that there is no split for now, this subtask does not hold
		// back the others. Before that it does: it may be about to get one whose
		// records are old.
		if s.starved {
			s.report(flow.MaxTime)
		}
		// What the last split reached is told now: it may be long until the next one.
		s.sent, s.sentAt = s.watermark, s.Task.Now()
		return Pulled{Status: WaitForWake, Watermark: s.sent, Idle: s.starved}, nil
	}
	s.in.Truncate()
	s.in.Split, s.in.Done, s.in.Bytes, s.in.Progress = "", false, 0, 0
	st, err := s.reader.Read(&s.in, s.BatchSize)
	if err != nil {
		return Pulled{}, external(err)
	}
	n := len(s.in.Values)
	if n > 0 || s.in.Done {
		if err := s.deliver(); err != nil {
			return Pulled{}, err
		}
	} else {
		s.askGenerators()
	}
	if s.bad.pending() {
		if err := s.bad.flush(); err != nil {
			return Pulled{}, err
		}
	}
	return s.pulled(st, n > 0), nil
}

// deliver stamps the records, moves the split's watermark, and sends them.
func (s *source[T]) deliver() error {
	sp := s.last
	if sp == nil || sp.id != s.in.Split {
		if sp = s.splits[s.in.Split]; sp == nil {
			return fmt.Errorf("source %q: its reader returned records of split %q, which it was not given", s.Name, s.in.Split)
		}
		s.last = sp
	}
	b := &s.in.Batch
	n := len(b.Values)
	s.Metrics.Bytes.Add(s.in.Bytes)
	s.Metrics.Done.Add(s.in.Progress)
	s.Metrics.RecordsIn.Add(int64(n))
	s.seen += int64(n)
	if n > 0 {
		if assign := s.cfg.Watermark.Timestamp; assign != nil {
			s.stamp(b, assign)
		}
		if sp.generator != nil && len(b.Times) > 0 {
			sp.generator.Observe(b.Times)
		}
		sp.active, sp.idle = flow.MinTime, false
		if err := s.out.Send(b); err != nil {
			return err
		}
	}
	if sp.generator != nil {
		sp.watermark = max(sp.watermark, sp.generator.Watermark())
	}
	if s.in.Done {
		delete(s.splits, sp.id)
		s.last = nil
		s.Task.FinishedSplit(s.Operator, sp.id)
		// What it reached stays true of the source until another split says more.
		if len(s.splits) == 0 {
			s.watermark = max(s.watermark, sp.watermark)
		}
	}
	return nil
}

// askGenerators moves the splits' watermarks though there is no record: those of
// generators that go by something else.
func (s *source[T]) askGenerators() {
	if !s.cfg.Watermark.timed() {
		return
	}
	for _, sp := range s.splits {
		sp.watermark = max(sp.watermark, sp.generator.Watermark())
	}
}

func (s *source[T]) stamp(b *flow.Batch[T], assign func(T, flow.Time) flow.Time) {
	s.cursor.Enter(b)
	timed := len(b.Times) > 0
	if !timed {
		b.Times = append(b.Times[:0], make([]flow.Time, len(b.Values))...)
	}
	for i := range b.Values {
		s.cursor.I = i
		given := flow.MinTime
		if timed {
			given = b.Times[i]
		}
		b.Times[i] = assign(b.Values[i], given)
	}
	s.cursor.Leave()
}

// pulled merges the splits' watermarks and says when to go on.
func (s *source[T]) pulled(st Status, worked bool) Pulled {
	p := Pulled{Status: st, Worked: worked, Watermark: s.sent}
	if len(s.splits) == 0 && s.noMore {
		p.Ended, p.Drained, p.Watermark = true, true, flow.MaxTime
		return p
	}
	if len(s.splits) == 0 {
		p.Status = More // asks for a split
	}
	if !s.cfg.Watermark.timed() {
		return p
	}
	now := s.Task.Now()
	p.Idle = s.idle(now, &p)
	s.merge()
	if p.Wait || now >= s.sentAt.Add(watermarkEvery) {
		s.sent, s.sentAt = s.watermark, now
		p.Watermark = s.sent
	}
	s.holdBack(p.Idle)
	return p
}

// idle marks the splits that have been silent for long, and reports whether all
// have. It asks to be woken when the next one will have been. A split that is paused
// has records, for all that is known, and is not idle.
func (s *source[T]) idle(now flow.Time, p *Pulled) bool {
	after := s.cfg.Watermark.Idle
	if after <= 0 || len(s.splits) == 0 {
		return false
	}
	all, next := true, flow.MaxTime
	for _, sp := range s.splits {
		if sp.active == flow.MinTime || sp.paused {
			sp.active = now
		}
		due := sp.active.Add(after)
		sp.idle = now >= due
		switch {
		case sp.paused:
			all = false
		case !sp.idle:
			all = false
			next = min(next, due)
		}
	}
	if p.Wait && next != flow.MaxTime && (p.Until == 0 || next < p.Until) {
		p.Until = next
	}
	return all
}

// merge takes the least watermark of the splits that are not idle.
func (s *source[T]) merge() {
	least, any := flow.MaxTime, false
	for _, sp := range s.splits {
		if !sp.idle {
			least, any = min(least, sp.watermark), true
		}
	}
	if any && least > s.watermark {
		s.watermark = least
	}
}

// Align pauses the splits that are too far ahead of the group.
func (s *source[T]) Align(group string, t flow.Time) error {
	w := &s.cfg.Watermark
	if w.AlignGroup == "" || w.AlignGroup != group || t == flow.MinTime {
		return nil
	}
	s.align = t.Add(w.AlignDrift)
	for _, sp := range s.splits {
		if paused := sp.watermark > s.align; paused != sp.paused {
			sp.paused = paused
			s.reader.Pause(sp.id, paused)
		}
	}
	return nil
}

// holdBack pauses a split that ran beyond the limit, and reports how far the
// source has come.
func (s *source[T]) holdBack(idle bool) {
	if s.cfg.Watermark.AlignGroup == "" {
		return
	}
	for _, sp := range s.splits {
		if sp.watermark > s.align && !sp.paused {
			sp.paused = true
			s.reader.Pause(sp.id, true)
		}
	}
	at := s.sent // as seldom as the watermark
	if idle {
		at = flow.MaxTime
	}
	s.report(at)
}

// report tells the alignment group how far the source has come: MaxTime while it
// has nothing to read, since the others would else wait for it for ever.
func (s *source[T]) report(at flow.Time) {
	if group := s.cfg.Watermark.AlignGroup; group != "" && at != s.reported {
		s.reported = at
		s.Task.ReportWatermark(s.Operator, group, at)
	}
}

func (s *source[T]) Close() error {
	if s.reader == nil {
		return nil
	}
	return external(s.reader.Close())
}

// external marks an error of the outside: it may go away by itself.
func external(err error) error {
	if err == nil {
		return nil
	}
	return asDomain(err, flow.DomainExternal, true)
}
