package sdk

import (
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// Map turns each record into one other.
func Map[In, Out any](s *Stream[In], f func(In) Out, opts ...Option) *Stream[Out] {
	return add[Out](s.p, spec{kind: "map", inputs: []graph.Input{s.input("in")}, opts: opts,
		impl: impl(func() operator.Operator { return operator.NewMap(f) })})
}

// FlatMap turns each record into any number of others.
func FlatMap[In, Out any](s *Stream[In], f func(v In, out *operator.Emitter[Out]), opts ...Option) *Stream[Out] {
	return add[Out](s.p, spec{kind: "flatmap", inputs: []graph.Input{s.input("in")}, opts: opts,
		impl: impl(func() operator.Operator { return operator.NewFlatMap(f) })})
}

// Filter lets pass the records for which keep is true.
func Filter[T any](s *Stream[T], keep func(T) bool, opts ...Option) *Stream[T] {
	return add[T](s.p, spec{kind: "filter", inputs: []graph.Input{s.input("in")}, opts: opts,
		impl: impl(func() operator.Operator { return operator.NewFilter(keep) })})
}

// TryMap turns each record into one other or refuses it with an error. What
// becomes of refused records is said by [FailOnBad], the default, [SkipBad] or
// [DeadLetterBad].
func TryMap[In, Out any](s *Stream[In], f func(In) (Out, error), opts ...TryOption) *Stream[Out] {
	var so sourceOptions
	for _, o := range opts {
		o.source(&so)
	}
	return add[Out](s.p, spec{kind: "trymap", inputs: []graph.Input{s.input("in")}, opts: so.common,
		sides: []graph.Output{sideOutput[BadRecord]("dead-letter")},
		impl:  impl(func() operator.Operator { return operator.NewTryMap(f, so.bad) })})
}

// AssignTime gives each record a new event time. Watermarks are not changed: a new
// time that is before the watermark makes the record late.
func AssignTime[T any](s *Stream[T], timestamp func(T) Time, opts ...Option) *Stream[T] {
	return add[T](s.p, spec{kind: "assign-time", inputs: []graph.Input{s.input("in")}, opts: opts,
		impl: impl(func() operator.Operator {
			return operator.NewTimestamps(func(v T, _ Time) Time { return timestamp(v) })
		})})
}

// Union is all records of the streams, in any order. It costs nothing: the streams
// are read by whatever comes next.
func Union[T any](s *Stream[T], more ...*Stream[T]) *Stream[T] {
	u := &Stream[T]{p: s.p, from: append([]outlet(nil), s.from...), kind: s.kind}
	for _, m := range more {
		u.from = append(u.from, m.from...)
		if m.kind != graph.Forward {
			u.kind = m.kind
		}
	}
	return u
}

// Rebalance spreads the records evenly over the subtasks of what comes next.
func Rebalance[T any](s *Stream[T]) *Stream[T] {
	r := *s
	r.kind = graph.Rebalance
	return &r
}

// Broadcast gives every record to every subtask of what comes next.
func Broadcast[T any](s *Stream[T]) *Stream[T] {
	r := *s
	r.kind = graph.Broadcast
	return &r
}
