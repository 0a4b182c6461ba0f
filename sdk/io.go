package sdk

import (
	"fmt"
	"slices"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// Time is a point in event or processing time: microseconds since the Unix epoch.
type Time = flow.Time

// TimeOf converts a time.Time.
func TimeOf(t time.Time) Time { return flow.TimeOf(t) }

// Out is where a function emits records.
type Out[T any] = operator.Emitter[T]

// BadRecord is a record that could not be read or was refused.
type BadRecord = operator.BadRecord

// WatermarkStrategy says how records get their event time and how event time
// advances. Make one with [Ascending], [OutOfOrder] or [CustomWatermarks].
//
// A source that ends and whose splits are read one after another, as files are,
// sends no watermark before its end, unless [WatermarkStrategy.InOrder] says that
// it may: which records would be late would depend on which subtask reads which
// file when. So a bounded run gives the results of complete windows, whatever the
// parallelism; it keeps the windows' accumulators until then.
type WatermarkStrategy[T any] struct {
	s       operator.WatermarkStrategy[T]
	inOrder bool
}

// Ascending is for splits whose event times never go back. timestamp computes a
// record's event time; nil keeps the one that the source gives.
func Ascending[T any](timestamp func(T) Time) WatermarkStrategy[T] { return OutOfOrder(0, timestamp) }

// OutOfOrder is for splits whose records are at most bound behind the newest one
// before them, in event time. Later ones are late.
func OutOfOrder[T any](bound time.Duration, timestamp func(T) Time) WatermarkStrategy[T] {
	return CustomWatermarks(timestamp, operator.BoundedOutOfOrder(bound))
}

// CustomWatermarks takes a generator of the user's own, of which each split gets
// one.
func CustomWatermarks[T any](timestamp func(T) Time, generator func() operator.WatermarkGenerator) WatermarkStrategy[T] {
	w := WatermarkStrategy[T]{s: operator.WatermarkStrategy[T]{Generator: generator}}
	if timestamp != nil {
		w.s.Timestamp = func(v T, _ Time) Time { return timestamp(v) }
	}
	return w
}

// WithIdle lets the others go on when a split has been silent for d.
func (w WatermarkStrategy[T]) WithIdle(d time.Duration) WatermarkStrategy[T] {
	w.s.Idle = d
	return w
}

// InOrder says that the splits of a source follow one another in event time, in
// the order in which they are found, up to the strategy's bound: files of an hour
// each, say. Event time then advances while they are read, also when the source is
// bounded, and windows give their results as soon as they are complete.
func (w WatermarkStrategy[T]) InOrder() WatermarkStrategy[T] {
	w.inOrder = true
	return w
}

// WithAlignment makes all sources that name the same group keep together: none
// reads more than drift ahead of the slowest in event time.
func (w WatermarkStrategy[T]) WithAlignment(group string, drift time.Duration) WatermarkStrategy[T] {
	w.s.AlignGroup, w.s.AlignDrift = group, drift
	return w
}

// Read reads a source. Its records have the event times that the source gives, if
// any, and no watermark before the end of the input: event-time windows want
// [ReadTimed].
func Read[T any](p *Pipeline, src operator.Source[T], opts ...SourceOption) *Stream[T] {
	return ReadTimed(p, src, WatermarkStrategy[T]{}, opts...)
}

// ReadTimed reads a source whose records have event times.
func ReadTimed[T any](p *Pipeline, src operator.Source[T], w WatermarkStrategy[T], opts ...SourceOption) *Stream[T] {
	var so sourceOptions
	for _, o := range opts {
		o.source(&so)
	}
	if src == nil {
		p.errs = append(p.errs, fmt.Errorf("source of %s is nil", typeName[T]()))
		return add[T](p, spec{kind: graph.KindSource, impl: &operator.Impl{}})
	}
	info := src.Info()
	attrs := info.Attrs
	if w.s.Generator != nil && !info.Unbounded && info.Assign == operator.AssignOnDemand && !w.inOrder {
		w.s.Generator, w.s.AlignGroup = nil, ""
		attrs = append(slices.Clip(attrs), graph.Attr{Key: "watermark", Value: "at the end"})
	}
	cfg := operator.SourceConfig[T]{Source: src, Watermark: w.s, Bad: so.bad}
	name := commonOption(func(o *graph.Operator) { o.Name, o.Unbounded = info.Kind, info.Unbounded })
	return add[T](p, spec{
		kind: graph.KindSource, attrs: attrs, opts: append([]Option{name}, so.common...),
		sides: []graph.Output{sideOutput[BadRecord]("dead-letter")}, errs: []error{validate(src)},
		impl: &operator.Impl{
			New: func() operator.Operator { return operator.NewSource(cfg) },
			Source: &operator.SourceImpl{Assign: info.Assign, Enumerator: src.Enumerator,
				AlignGroup: w.s.AlignGroup, AlignDrift: w.s.AlignDrift},
		},
	})
}

// DeadLetters is the stream of the records that the operator of s refused, under
// [DeadLetterBad]. s is what [Read], [ReadTimed] or [TryMap] returned.
func DeadLetters[T any](s *Stream[T]) *Stream[BadRecord] {
	d := &Stream[BadRecord]{p: s.p}
	for _, f := range s.from {
		if f.out == 0 && len(f.op.Outputs) > int(operator.DeadLetter) && f.op.Outputs[operator.DeadLetter].Name == "dead-letter" {
			d.from = append(d.from, outlet{op: f.op, out: operator.DeadLetter})
			continue
		}
		s.p.check(f.op, fmt.Errorf("it has no dead-letter output: call DeadLetters with the stream of a source or of TryMap"))
	}
	return d
}

// Write writes a stream to a sink.
func Write[T any](s *Stream[T], sink operator.Sink[T], opts ...Option) {
	if sink == nil {
		s.p.errs = append(s.p.errs, fmt.Errorf("sink of %s is nil", typeName[T]()))
		return
	}
	info := sink.Info()
	name := commonOption(func(o *graph.Operator) { o.Name, o.Guarantee = info.Kind, info.Guarantee })
	s.p.add(spec{
		kind: graph.KindSink, attrs: info.Attrs, inputs: []graph.Input{s.input("in")}, opts: append([]Option{name}, opts...),
		errs: []error{validate(sink)},
		impl: &operator.Impl{
			New:  func() operator.Operator { return operator.NewSink(sink) },
			Sink: &operator.SinkImpl{Committer: sink.Committer},
		},
	}, nil)
}

// validate asks a connector whether its settings can work, where it can tell before
// the job runs.
func validate(connector any) error {
	if v, ok := connector.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}
