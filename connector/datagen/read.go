package datagen

import (
	"math"
	"slices"
	"strconv"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// reader reads the parts of one subtask: always the one whose next index is
// least, and never beyond the end of a block. So records come in the order of
// their indexes, as far as the subtask has them, and no part falls behind.
type reader[T any] struct {
	*source[T]
	now   func() flow.Time
	parts []*open
	index int64 // of the last record read, -1 before the first
}

// open is a part in reading.
type open struct {
	part
	name   string
	start  flow.Time // when Base was due
	paused bool
}

func (r *reader[T]) Add(s operator.Split) error {
	p, err := parsePart(s)
	if err != nil {
		return err
	}
	o := &open{part: p, name: s.ID}
	if r.hasRate {
		// Parts that are added one after the other share one start.
		o.start = r.now()
		for _, other := range r.parts {
			o.start = min(o.start, other.start)
		}
	}
	r.parts = append(r.parts, o)
	return nil
}

func (r *reader[T]) Read(into *operator.Records[T], limit int) (operator.Status, error) {
	o := r.least()
	if o == nil {
		return operator.WaitForWake, nil
	}
	into.Split = o.name
	n := min(int64(limit), o.blockEnd()-o.Next)
	if r.hasRate && n > 0 {
		now := r.now()
		if n = min(n, r.due(o, now)-o.Next); n <= 0 {
			into.Split = ""
			return operator.WaitUntil(max(r.dueAt(o, o.Next), now+1)), nil
		}
	}
	if n > 0 {
		r.make(into, o.Next, int(n))
		o.skip(n)
		into.Progress = n
	}
	if o.done() {
		into.Done = true
		r.parts = slices.DeleteFunc(r.parts, func(p *open) bool { return p == o })
	}
	return operator.More, nil
}

// make appends n records from index first on.
func (r *reader[T]) make(into *operator.Records[T], first int64, n int) {
	into.Values = slices.Grow(into.Values[:0], n)[:n]
	if r.value != nil {
		for i := range into.Values {
			r.index = first + int64(i)
			into.Values[i] = r.value(r.index)
		}
	} else {
		r.index = first
		r.fill(first, into.Values)
		r.index = first + int64(n) - 1
	}
	if r.times != nil {
		into.Times = slices.Grow(into.Times[:0], n)[:n]
		for i := range into.Times {
			into.Times[i] = r.times(first + int64(i))
		}
	}
}

// least is the part to read from, nil if all are paused or there is none.
func (r *reader[T]) least() *open {
	var least *open
	for _, o := range r.parts {
		if !o.paused && (least == nil || o.Next < least.Next) {
			least = o
		}
	}
	return least
}

// dueAt is when index i of part o is due, rounded up to the clock's microsecond.
func (r *reader[T]) dueAt(o *open, i int64) flow.Time {
	after := math.Ceil(float64(i-o.Base) * 1e6 / r.rate)
	if after >= math.MaxInt64/2 {
		return flow.MaxTime
	}
	return o.start.Plus(flow.Time(after))
}

// due is the first index that is not due at now. It agrees with dueAt to the
// index, which the division alone would not.
func (r *reader[T]) due(o *open, now flow.Time) int64 {
	n := float64(now-o.start) * r.rate / 1e6
	if n >= float64(math.MaxInt64/2-o.Base) {
		return math.MaxInt64
	}
	i := o.Base + int64(n)
	for r.dueAt(o, i) <= now {
		i++
	}
	for i > o.Next && r.dueAt(o, i-1) > now {
		i--
	}
	return i
}

func (r *reader[T]) Where() string {
	if r.index < 0 {
		return "before the first record"
	}
	return "index " + strconv.FormatInt(r.index, 10)
}

func (r *reader[T]) Snapshot() ([]operator.Split, error) {
	var base int64
	if len(r.parts) > 0 {
		base = r.parts[0].Next
		for _, o := range r.parts {
			base = min(base, o.Next)
		}
	}
	splits := make([]operator.Split, 0, len(r.parts))
	for _, o := range r.parts {
		p := o.part
		p.Base = base
		s, err := p.split()
		if err != nil {
			return nil, err
		}
		s.ID = o.name
		splits = append(splits, s)
	}
	return splits, nil
}

func (r *reader[T]) Pause(split string, paused bool) {
	for _, o := range r.parts {
		if o.name == split {
			o.paused = paused
		}
	}
}

func (*reader[T]) Close() error { return nil }
