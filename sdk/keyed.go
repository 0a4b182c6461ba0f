package sdk

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// Keyed is a stream whose records have a key: those of one key meet in one subtask
// and keep their order.
type Keyed[K comparable, T any] struct {
	s   *Stream[T]
	key operator.Key[T, K]
	err error
}

// KeyBy gives records a key. The key's type must have a hash that is the same in
// every process: numbers, strings, booleans, arrays and structs of these.
func KeyBy[K comparable, T any](s *Stream[T], key func(T) K) *Keyed[K, T] {
	if key == nil {
		return &Keyed[K, T]{s: s, err: fmt.Errorf("the key function of KeyBy is nil")}
	}
	k, err := operator.NewKey(key)
	return &Keyed[K, T]{s: s, key: k, err: err}
}

// input makes the input port that takes the stream by key.
func (k *Keyed[K, T]) input(name string) graph.Input {
	return k.s.exchanged(name, graph.Exchange{Kind: graph.Hash, Key: typeName[K](), Impl: k.key.Hash})
}

// KeyValue is a key with a value.
type KeyValue[K, V any] = operator.KeyValue[K, V]

// Setup is where a process function declares its states and side outputs.
type Setup[K comparable] = operator.Setup[K]

// Processor is what a process function does: see [Process].
type Processor[K comparable, In, Out any] = operator.Processor[K, In, Out]

// Context is the key in hand, its time and its timers.
type Context[K comparable] = operator.Keyed[K]

// Timer is a timer that has come due.
type Timer = operator.Timer

// Value, List, Map, Reducing and Aggregating states of the key in hand.
type (
	Value[V any]                  = state.Value[V]
	List[V any]                   = state.List[V]
	MapState[U comparable, V any] = state.Map[U, V]
	Reducing[V any]               = state.Reducing[V]
	Aggregating[In, Out any]      = state.Aggregating[In, Out]
)

// StateOption says more of a state than its type; see [ExpireAfter],
// [ExpireAfterAccess] and [MigrateFrom].
type StateOption = operator.StateOption

// ExpireAfter removes a value that was not written for as long, in processing time.
// Of a map that is each entry, of a list the whole list, of a reducing or
// aggregating state what has been folded.
func ExpireAfter(d time.Duration) StateOption { return operator.ExpireAfter(d) }

// ExpireAfterAccess is ExpireAfter for a value that was neither read nor written.
func ExpireAfterAccess(d time.Duration) StateOption { return operator.ExpireAfterAccess(d) }

// MigrateFrom tells what becomes of values that an older program has stored as Old.
// V is the type of a value: of one value of a list, of a map's entry, of an
// accumulator. It is not needed where fields were added, removed or put in another
// order, or where numbers became wider. f must use nothing but its argument.
func MigrateFrom[Old, V any](f func(Old) V) StateOption { return operator.MigrateFrom(f) }

// NewValue declares one value for each key.
func NewValue[V any, K comparable](s *Setup[K], name string, opts ...StateOption) Value[V] {
	return operator.ValueState[V](s, name, opts...)
}

// NewList declares a list for each key.
func NewList[V any, K comparable](s *Setup[K], name string, opts ...StateOption) List[V] {
	return operator.ListState[V](s, name, opts...)
}

// NewMap declares a map for each key.
func NewMap[U comparable, V any, K comparable](s *Setup[K], name string, opts ...StateOption) MapState[U, V] {
	return operator.MapState[U, V](s, name, opts...)
}

// NewReducing declares a value for each key that others are folded into.
func NewReducing[V any, K comparable](s *Setup[K], name string, reduce func(a, b V) V, opts ...StateOption) Reducing[V] {
	return operator.ReducingState(s, name, reduce, opts...)
}

// NewAggregating declares an accumulator for each key.
func NewAggregating[In, Acc, Out any, K comparable](s *Setup[K], name string,
	add func(acc *Acc, v In), result func(acc *Acc) Out, opts ...StateOption) Aggregating[In, Out] {
	return operator.AggregatingState(s, name, add, result, opts...)
}

// Process runs a function of the user's own on each record of a keyed stream, with
// state and timers for each key.
//
// make declares the states and returns the functions. It is called once now, to
// learn what it declares, and once for each subtask when the job runs.
func Process[K comparable, In, Out any](k *Keyed[K, In], make func(*Setup[K]) Processor[K, In, Out], opts ...Option) *Stream[Out] {
	d, err := operator.Declare(make)
	cfg := operator.ProcessConfig[K, In, Out]{Key: k.key, Make: make, Declared: d}
	return add[Out](k.s.p, spec{kind: "process", inputs: []graph.Input{k.input("in")}, opts: opts,
		states: d.States, sides: d.Sides, errs: []error{k.err, err},
		impl: sorted(func() operator.Operator { return operator.NewProcess(cfg) }, 0, k.side())})
}

// Tag names a side output and its type.
type Tag[T any] struct{ name string }

// NewTag makes a tag.
func NewTag[T any](name string) Tag[T] { return Tag[T]{name} }

// NewSide declares a side output and returns where to emit to it.
func NewSide[T any, K comparable](s *Setup[K], tag Tag[T]) *Out[T] {
	return operator.SideOutput[T](s, tag.name)
}

// Side is the stream of a side output that the operator of s declared.
func Side[T, Main any](s *Stream[Main], tag Tag[T]) *Stream[T] {
	r := &Stream[T]{p: s.p}
	for _, f := range s.from {
		for i, o := range f.op.Outputs {
			if i > 0 && o.Name == tag.name && o.Type == typeName[T]() {
				r.from = append(r.from, outlet{op: f.op, out: flow.Outlet(i)})
			}
		}
	}
	if len(r.from) == 0 {
		s.p.errs = append(s.p.errs, errors.New("no operator of the stream declares the side output \""+tag.name+"\" of "+typeName[T]()+": declare it with NewSide"))
	}
	return r
}
