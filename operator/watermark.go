package operator

import (
	"time"

	"github.com/weirflow/weir/flow"
)

// WatermarkStrategy says how a source's records get their event time and how the
// event time of each split advances. The zero value assigns none: the times that
// the source gives are kept, and no watermark is sent before the end.
type WatermarkStrategy[T any] struct {
	// Timestamp computes a record's event time; given is what the source said, or
	// flow.MinTime. Nil keeps what the source said.
	Timestamp func(v T, given flow.Time) flow.Time
	// Generator makes the watermark generator of one split; nil sends none.
	Generator func() WatermarkGenerator
	// Idle is the silence after which a split no longer holds the others back; 0
	// waits for ever.
	Idle time.Duration
	// AlignGroup names a group of sources that keep together in event time: none
	// reads more than AlignDrift ahead of the slowest. "" is no group.
	AlignGroup string
	AlignDrift time.Duration
}

func (w *WatermarkStrategy[T]) timed() bool { return w.Generator != nil }

func (w *WatermarkStrategy[T]) generator() WatermarkGenerator {
	if w.Generator == nil {
		return nil
	}
	return w.Generator()
}

// WatermarkGenerator follows the event time of one split.
type WatermarkGenerator interface {
	// Observe is told the times of records in their order; the slice is lent.
	Observe(times []flow.Time)
	// Watermark is the time up to which, and including which, no record is expected
	// any more; flow.MinTime while nothing can be said. It is asked after each batch
	// of records, and when the source has looked for some and found none.
	Watermark() flow.Time
}

// BoundedOutOfOrder makes generators for records that are at most d late with
// respect to the newest that came before them. d = 0 is for ascending times.
func BoundedOutOfOrder(d time.Duration) func() WatermarkGenerator {
	return func() WatermarkGenerator {
		return &boundedOutOfOrder{bound: flow.Span(d), newest: flow.MinTime}
	}
}

type boundedOutOfOrder struct{ bound, newest flow.Time }

func (g *boundedOutOfOrder) Observe(times []flow.Time) {
	newest := g.newest
	for _, t := range times {
		newest = max(newest, t)
	}
	g.newest = newest
}

// Watermark is just before the oldest record that may still come: one with the
// newest time itself is in time.
func (g *boundedOutOfOrder) Watermark() flow.Time { return g.newest.Plus(-g.bound - 1) }
