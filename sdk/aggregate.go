package sdk

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/operator/batch"
)

// Aggregator folds records into an accumulator, of which a result can be read at
// any time. There are ready ones: [Count], [Sum], [Min], [Max], [Avg],
// [TopNAggregator], [CountDistinct]. New may be nil for accumulators that start
// as the zero value; Merge is used by windows, and in batch mode, where it lets records be
// added up before they are sent to the subtask of their key.
type Aggregator[In, Acc, Out any] = operator.Aggregator[In, Acc, Out]

// Reduce folds the records of each key into one and emits what it has come to
// after each record. f is called with what the earlier records came to and the
// new record; the first record of a key is emitted as it is.
//
// In batch mode each key's record is emitted once, at the end of the input. So are the results
// of [Aggregate] and [TopN].
func Reduce[K comparable, T any](k *Keyed[K, T], f func(acc, v T) T, opts ...Option) *Stream[T] {
	st, err := valueState[K, T](operator.ReduceState)
	key := k.key
	return add[T](k.s.p, spec{kind: "reduce", inputs: []graph.Input{k.input("in")}, opts: opts,
		states: []graph.State{st}, errs: []error{k.err, err, notNil(f == nil, "the function of Reduce")},
		impl: final(func() operator.Operator { return operator.NewReduce(key, f) }, batch.NewReduce(key, f))})
}

// Aggregate adds each record to its key's accumulator and emits the key with the
// result so far.
func Aggregate[K comparable, In, Acc, Out any](k *Keyed[K, In], a Aggregator[In, Acc, Out], opts ...Option) *Stream[KeyValue[K, Out]] {
	st, err := valueState[K, Acc](operator.AggregateState)
	key := k.key
	b, _ := batch.NewAggregate(key, a) // what is wrong with a key is in k.err too
	return add[KeyValue[K, Out]](k.s.p, spec{kind: "aggregate", inputs: []graph.Input{k.input("in")}, opts: opts,
		states: []graph.State{st}, errs: []error{k.err, err, checkAggregator(a)},
		impl: final(func() operator.Operator { return operator.NewRunning(key, a) }, b)})
}

func checkAggregator[In, Acc, Out any](a Aggregator[In, Acc, Out]) error {
	if a.Add == nil || a.Result == nil {
		return errors.New("the aggregator has no Add or no Result; it needs both")
	}
	return nil
}

// Distinct lets pass the first record of each key. It keeps every key that it has
// seen: on an endless stream of ever new keys use a window or a [Process] with
// timers that forget.
func Distinct[K comparable, T any](k *Keyed[K, T], opts ...Option) *Stream[T] {
	st, _ := valueState[K, bool](operator.DistinctState)
	key := k.key
	b, _ := batch.NewDistinct(key)
	return add[T](k.s.p, spec{kind: "distinct", inputs: []graph.Input{k.input("in")}, opts: opts,
		states: []graph.State{st}, errs: []error{k.err},
		impl: final(func() operator.Operator { return operator.NewDistinct(key) }, b)})
}

// Ranking is the best records of a key, the best one first.
type Ranking[K, T any] = operator.Ranking[K, T]

// TopN keeps the n best records of each key and emits the new ranking whenever it
// changes. less(a, b) says that a comes before b; of equals the earlier record
// comes first.
func TopN[K comparable, T any](k *Keyed[K, T], n int, less func(a, b T) bool, opts ...Option) *Stream[Ranking[K, T]] {
	st, err := valueState[K, []T](operator.TopNState)
	var errN error
	if n < 1 {
		errN = fmt.Errorf("the n of TopN is %d; it must be at least 1", n)
	}
	key := k.key
	b, _ := batch.NewTopN(key, n, less)
	return add[Ranking[K, T]](k.s.p, spec{kind: "topn", inputs: []graph.Input{k.input("in")}, opts: opts,
		attrs:  []graph.Attr{{Key: "n", Value: fmt.Sprint(n)}},
		states: []graph.State{st}, errs: []error{k.err, err, errN, notNil(less == nil, "the less function of TopN")},
		impl: final(func() operator.Operator { return operator.NewTopN(key, n, less) }, b)})
}
