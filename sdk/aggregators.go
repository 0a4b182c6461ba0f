package sdk

import (
	"cmp"
	"slices"

	"github.com/weirflow/weir/operator"
)

// Number is what can be summed.
type Number interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 |
		~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// Count counts records.
func Count[T any]() Aggregator[T, int64, int64] {
	return Aggregator[T, int64, int64]{
		Add:    func(acc *int64, _ T) { *acc++ },
		Merge:  func(into, from *int64) { *into += *from },
		Result: func(acc *int64) int64 { return *acc },
	}
}

// Sum adds up a number of each record. Integers wrap around when they overflow,
// as they do in Go.
func Sum[T any, N Number](of func(T) N) Aggregator[T, N, N] {
	return Aggregator[T, N, N]{
		Add:    func(acc *N, v T) { *acc += of(v) },
		Merge:  func(into, from *N) { *into += *from },
		Result: func(acc *N) N { return *acc },
	}
}

// Extreme is the accumulator of [Min] and [Max].
type Extreme[V any] struct {
	Value V    `msgpack:"v"`
	Some  bool `msgpack:"s"` // Value is one that was seen
}

// Min finds the least value of any record. A floating-point NaN is less than all
// else.
func Min[T any, V cmp.Ordered](of func(T) V) Aggregator[T, Extreme[V], V] {
	return extreme(of, func(a, b V) bool { return cmp.Less(a, b) })
}

// Max finds the greatest value of any record. A floating-point NaN is less than all
// else.
func Max[T any, V cmp.Ordered](of func(T) V) Aggregator[T, Extreme[V], V] {
	return extreme(of, func(a, b V) bool { return cmp.Less(b, a) })
}

func extreme[T any, V any](of func(T) V, better func(a, b V) bool) Aggregator[T, Extreme[V], V] {
	take := func(acc *Extreme[V], v V) {
		if !acc.Some || better(v, acc.Value) {
			*acc = Extreme[V]{v, true}
		}
	}
	return Aggregator[T, Extreme[V], V]{
		Add: func(acc *Extreme[V], v T) { take(acc, of(v)) },
		Merge: func(into, from *Extreme[V]) {
			if from.Some {
				take(into, from.Value)
			}
		},
		Result: func(acc *Extreme[V]) V { return acc.Value },
	}
}

// Mean is the accumulator of [Avg].
type Mean struct {
	Sum   float64 `msgpack:"s"`
	Count int64   `msgpack:"n"`
}

// Avg is the arithmetic mean of a number of each record.
func Avg[T any, N Number](of func(T) N) Aggregator[T, Mean, float64] {
	return Aggregator[T, Mean, float64]{
		Add:    func(acc *Mean, v T) { acc.Sum += float64(of(v)); acc.Count++ },
		Merge:  func(into, from *Mean) { into.Sum += from.Sum; into.Count += from.Count },
		Result: func(acc *Mean) float64 { return acc.Sum / float64(acc.Count) },
	}
}

// TopNAggregator keeps the n best records, the best one first. less(a, b) says
// that a comes before b. Which of two equals is kept is not defined: a less that
// tells all records apart gives the same result in every run.
func TopNAggregator[T any](n int, less func(a, b T) bool) Aggregator[T, []T, []T] {
	return Aggregator[T, []T, []T]{
		Add: func(acc *[]T, v T) { operator.Rank(acc, n, v, less) },
		Merge: func(into, from *[]T) {
			for _, v := range *from {
				if !operator.Rank(into, n, v, less) {
					break // what follows is no better
				}
			}
		},
		Result: func(acc *[]T) []T { return slices.Clone(*acc) },
	}
}

// CountDistinct counts the different values of the records, exactly: it keeps all
// of them.
func CountDistinct[T any, V comparable](of func(T) V) Aggregator[T, map[V]bool, int64] {
	add := func(acc *map[V]bool, v V) {
		if *acc == nil {
			*acc = map[V]bool{}
		}
		(*acc)[v] = true
	}
	return Aggregator[T, map[V]bool, int64]{
		Add: func(acc *map[V]bool, v T) { add(acc, of(v)) },
		Merge: func(into, from *map[V]bool) {
			for v := range *from {
				add(into, v)
			}
		},
		Result: func(acc *map[V]bool) int64 { return int64(len(*acc)) },
	}
}
