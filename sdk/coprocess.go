package sdk

import (
	"errors"

	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// CoProcessor is what a process function over two streams does: see [CoProcess].
type CoProcessor[K comparable, A, B, Out any] = operator.CoProcessor[K, A, B, Out]

// CoProcess connects two streams that have the same kind of key: records of both
// with the same key meet in one subtask, and share states and timers. There is no
// order between the two streams.
//
// make declares the states and returns the functions. It is called once now, to
// learn what it declares, and once for each subtask when the job runs.
func CoProcess[K comparable, A, B, Out any](a *Keyed[K, A], b *Keyed[K, B],
	make func(*Setup[K]) CoProcessor[K, A, B, Out], opts ...Option) *Stream[Out] {
	d, err := operator.Declare(make)
	cfg := operator.CoProcessConfig[K, A, B, Out]{Left: a.key, Right: b.key, Make: make, Declared: d}
	return add[Out](a.s.p, spec{kind: "coprocess", inputs: []graph.Input{a.input("left"), b.input("right")}, opts: opts,
		states: d.States, sides: d.Sides, errs: []error{a.err, b.err, err, samePipeline(a.s.p, b.s.p)},
		impl: sorted(func() operator.Operator { return operator.NewCoProcess(cfg) }, 0, a.side(), b.side())})
}

func samePipeline(a, b *Pipeline) error {
	if a != b {
		return errors.New("its two inputs are streams of different pipelines")
	}
	return nil
}

// BroadcastProcessor is what a process function with a broadcast input does: see
// [ProcessBroadcast].
type BroadcastProcessor[K comparable, In, R, Out any] = operator.BroadcastProcessor[K, In, R, Out]

// BroadcastContext is the context of a call with a broadcast record; broadcast
// states are changed with it.
type BroadcastContext = operator.Broadcast

// BroadcastState is a map of which every subtask has a copy. Anyone may read it
// with Get, Each and Len; Set and Delete want the [BroadcastContext] that only
// Broadcast functions are given, so that all copies change alike.
type BroadcastState[U comparable, V any] = operator.BroadcastState[U, V]

// NewBroadcastState declares a broadcast state.
func NewBroadcastState[U comparable, V any, K comparable](s *Setup[K], name string) *BroadcastState[U, V] {
	return operator.NewBroadcastState[U, V](s, name)
}

// ProcessBroadcast runs a function of the user's own on a keyed stream, together
// with a stream of which every subtask gets every record: rules, settings, prices.
// What those bring is kept in a [BroadcastState]. There is no order between the
// two streams: records that come before the first rule find none. Rules that have
// watermarks take part in event time; read them with [Read] where they should not.
//
// A function that needs no key takes a stream keyed by anything that spreads well.
func ProcessBroadcast[K comparable, In, R, Out any](k *Keyed[K, In], rules *Stream[R],
	make func(*Setup[K]) BroadcastProcessor[K, In, R, Out], opts ...Option) *Stream[Out] {
	d, err := operator.Declare(make)
	cfg := operator.BroadcastConfig[K, In, R, Out]{Key: k.key, Make: make, Declared: d}
	all := rules.exchanged("broadcast", graph.Exchange{Kind: graph.Broadcast})
	return add[Out](k.s.p, spec{kind: "process-broadcast", inputs: []graph.Input{k.input("in"), all}, opts: opts,
		states: d.States, sides: d.Sides, errs: []error{k.err, err, samePipeline(k.s.p, rules.p)},
		impl: sorted(func() operator.Operator { return operator.NewBroadcast(cfg) }, 1, k.side())})
}
