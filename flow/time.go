package flow

import (
	"math"
	"time"
)

// Time is a point in event time or processing time: microseconds since the Unix
// epoch, UTC. It is a plain number so that a column of them is as cheap as a
// column of integers.
type Time int64

const (
	// MinTime is before every record: a watermark that has said nothing yet, and
	// the time of a record that has none.
	MinTime Time = math.MinInt64
	// MaxTime is after every record: the watermark of an input that has ended.
	MaxTime Time = math.MaxInt64
)

// TimeOf converts t, rounding down to the microsecond.
func TimeOf(t time.Time) Time { return Time(t.UnixMicro()) }

// Span converts d to microseconds, the unit in which [Time] counts.
func Span(d time.Duration) Time { return Time(d / time.Microsecond) }

// Std converts t to a time.Time in UTC.
func (t Time) Std() time.Time { return time.UnixMicro(int64(t)).UTC() }

// Add returns t+d, saturating at MinTime and MaxTime. MinTime and MaxTime
// themselves stay what they are.
func (t Time) Add(d time.Duration) Time { return t.Plus(Span(d)) }

// Plus returns t+n microseconds, saturating as Add does.
func (t Time) Plus(n Time) Time {
	if t == MinTime || t == MaxTime {
		return t
	}
	s := t + n
	switch {
	case n > 0 && s < t:
		return MaxTime
	case n < 0 && s > t:
		return MinTime
	}
	return s
}

// String is RFC 3339 with microseconds, or "min" and "max".
func (t Time) String() string {
	switch t {
	case MinTime:
		return "min"
	case MaxTime:
		return "max"
	}
	return t.Std().Format("2006-01-02T15:04:05.999999Z07:00")
}

// FloorTo returns the largest multiple of size, shifted by offset, that is not
// after t, or MinTime if that is before it. size is in microseconds and positive;
// offset is between -size and size.
func (t Time) FloorTo(size, offset Time) Time {
	d := t - offset
	if (d > t) == (offset > 0) && offset != 0 {
		d = t%size - offset // t-offset does not fit
	}
	r := d % size
	if r < 0 {
		r += size
	}
	if t < MinTime+r {
		return MinTime
	}
	return t - r
}
