package sdk

import (
	"time"

	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/operator/join"
	"github.com/weirflow/weir/operator/window"
)

// JoinKind says what becomes of records without a partner.
type JoinKind = join.Kind

// The kinds of joins.
const (
	// InnerJoin drops them.
	InnerJoin = join.Inner
	// LeftJoin keeps those of the left side.
	LeftJoin = join.Left
	// FullJoin keeps those of both sides.
	FullJoin = join.Full
)

// Pair is two records that were joined, or one without a partner: then HasLeft or
// HasRight is false. Retract says that a pair given before no longer holds; only
// [Join] gives such.
type Pair[L, R any] = join.Pair[L, R]

func keysOf[K comparable, L, R any](l *Keyed[K, L], r *Keyed[K, R]) join.Keys[K, L, R] {
	return join.Keys[K, L, R]{Left: l.key, Right: r.key}
}

// Join joins two streams by key, without regard to time: each record with all
// records of the other side, whenever they come. Both sides are kept for ever. In
// a left or full join a record without a partner is given at once, and taken back
// (Retract) when a partner comes.
func Join[K comparable, L, R, Out any](l *Keyed[K, L], r *Keyed[K, R], kind JoinKind, f func(Pair[L, R]) Out, opts ...Option) *Stream[Out] {
	cfg := join.Regular[K, L, R]{Keys: keysOf(l, r), Kind: kind}
	s, _, _ := addJoin[K, L, R, Out](l, r, "join", []graph.Attr{{Key: "join", Value: kind.String()}}, opts,
		func() (operator.Operator, error) { return join.NewRegular(cfg, f) })
	return s
}

// IntervalJoin joins each left record with the right records of its key whose
// event time is at least lower after the left one's and at most upper; both may be
// negative. It returns what came too late as well.
func IntervalJoin[K comparable, L, R, Out any](l *Keyed[K, L], r *Keyed[K, R], lower, upper time.Duration, f func(L, R) Out, opts ...Option) (results *Stream[Out], lateLeft *Stream[L], lateRight *Stream[R]) {
	cfg := join.Interval[K, L, R]{Keys: keysOf(l, r), Lower: lower, Upper: upper}
	return addJoin[K, L, R, Out](l, r, "interval-join", []graph.Attr{{Key: "interval", Value: lower.String() + " to " + upper.String()}}, opts,
		func() (operator.Operator, error) { return join.NewInterval(cfg, f) })
}

// TemporalJoin joins each left record with the version of the right side that was
// valid at its event time: the newest one not after it. A left record waits for
// the watermark, so that no version can be missed. kind is [InnerJoin] or
// [LeftJoin].
func TemporalJoin[K comparable, L, R, Out any](l *Keyed[K, L], versions *Keyed[K, R], kind JoinKind, f func(Pair[L, R]) Out, opts ...Option) (results *Stream[Out], lateLeft *Stream[L], lateRight *Stream[R]) {
	cfg := join.Temporal[K, L, R]{Keys: keysOf(l, versions), Kind: kind}
	return addJoin[K, L, R, Out](l, versions, "temporal-join", []graph.Attr{{Key: "join", Value: kind.String()}}, opts,
		func() (operator.Operator, error) { return join.NewTemporal(cfg, f) })
}

// WindowJoin joins the records of a key that are in the same window: all pairs,
// when the window is complete. w is one of [Tumbling], [Sliding], [Cumulative],
// [Session] and [Global].
func WindowJoin[K comparable, L, R, Out any](l *Keyed[K, L], r *Keyed[K, R], w Windowing, kind JoinKind, f func(w WindowSpan, p Pair[L, R]) Out, opts ...Option) (results *Stream[Out], lateLeft *Stream[L], lateRight *Stream[R]) {
	cfg := join.Window[K, L, R]{Keys: keysOf(l, r), Kind: kind, Assigner: w}
	attrs := append(window.Spec{Assigner: w}.Attrs(), graph.Attr{Key: "join", Value: kind.String()})
	return addJoin[K, L, R, Out](l, r, "window-join", attrs, opts,
		func() (operator.Operator, error) { return join.NewWindow(cfg, f) })
}

func addJoin[K comparable, L, R, Out any](l *Keyed[K, L], r *Keyed[K, R], kind string, attrs []graph.Attr, opts []Option, make func() (operator.Operator, error)) (*Stream[Out], *Stream[L], *Stream[R]) {
	_, err := make()
	if l.err != nil {
		err = l.err
	}
	s := add[Out](l.s.p, spec{kind: kind, inputs: []graph.Input{l.input("left"), r.input("right")}, opts: opts, attrs: attrs,
		states: []graph.State{{Name: "join", Kind: "join", Key: typeName[K](), Value: typeName[L]() + ", " + typeName[R]()}},
		sides:  []graph.Output{sideOutput[L]("late-left"), sideOutput[R]("late-right")},
		errs:   []error{err, r.err, samePipeline(l.s.p, r.s.p)},
		impl:   sorted(func() operator.Operator { return checked(make()) }, 0, l.side(), r.side())})
	return s, sideOf[L](s, join.LateLeft), sideOf[R](s, join.LateRight)
}
