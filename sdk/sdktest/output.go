package sdktest

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
)

// Timed is a record with its event time, flow.MinTime where it has none.
type Timed[T any] struct {
	Value T
	Time  sdk.Time
}

// Out holds what comes out of a stream.
type Out[T any] struct {
	h  *Harness
	mu struct {
		sync.Mutex
		records []Timed[T]
	}
}

// Collect gathers the records of a stream. They are there as soon as they come out,
// and not only when they are committed.
func Collect[T any](h *Harness, s *sdk.Stream[T]) *Out[T] {
	h.t.Helper()
	h.building("Collect")
	out := &Out[T]{h: h}
	sdk.Write(s, operator.Sink[T](outputSink[T]{out}))
	return out
}

// Take returns the records that came out since the last call.
func (o *Out[T]) Take() []T {
	o.h.t.Helper()
	var vs []T
	for _, r := range o.TakeTimed() {
		vs = append(vs, r.Value)
	}
	return vs
}

// TakeTimed is Take with the event times.
func (o *Out[T]) TakeTimed() []Timed[T] {
	o.h.t.Helper()
	o.h.start()
	o.h.settle()
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.mu.records
	o.mu.records = nil
	return r
}

type outputSink[T any] struct{ out *Out[T] }

func (outputSink[T]) Info() operator.SinkInfo { return operator.SinkInfo{Kind: "sdktest"} }
func (outputSink[T]) Committer(*operator.CommitterContext) (operator.Committer, error) {
	return nil, nil
}
func (s outputSink[T]) Writer(*operator.WriterContext) (operator.Writer[T], error) {
	return writer[T](s), nil
}

type writer[T any] struct{ out *Out[T] }

func (w writer[T]) Write(b *flow.Batch[T]) error {
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	for i, v := range b.Values {
		w.out.mu.records = append(w.out.mu.records, Timed[T]{v, b.Time(i)})
	}
	return nil
}

func (writer[T]) Idle() error                          { return nil }
func (writer[T]) Prepare(flow.Barrier) ([]byte, error) { return nil, nil }
func (writer[T]) Tick(flow.Time) error                 { return nil }
func (writer[T]) Close() error                         { return nil }

// Equal fails the test unless got is want, in this order. Nothing and empty are
// the same.
func Equal[T any](t testing.TB, got, want []T) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 || reflect.DeepEqual(got, want) {
		return
	}
	if missing, surplus := difference(got, want); len(missing)+len(surplus) > 0 {
		t.Errorf("got %d records, want %d%s", len(got), len(want), describe(missing, surplus))
		return
	}
	t.Errorf("the records are in another order:\n got  %+v\n want %+v", got, want)
}

// EqualAnyOrder fails the test unless got is want in some order.
func EqualAnyOrder[T any](t testing.TB, got, want []T) {
	t.Helper()
	if missing, surplus := difference(got, want); len(missing)+len(surplus) > 0 {
		t.Errorf("got %d records, want %d, in any order%s", len(got), len(want), describe(missing, surplus))
	}
}

// difference is what is in want and not in got, and the other way round.
func difference[T any](got, want []T) (missing, surplus []T) {
	left := append([]T(nil), got...)
next:
	for _, w := range want {
		for i, g := range left {
			if reflect.DeepEqual(g, w) {
				left = append(left[:i], left[i+1:]...)
				continue next
			}
		}
		missing = append(missing, w)
	}
	return missing, left
}

func describe[T any](missing, surplus []T) string {
	const most = 20
	var b strings.Builder
	for _, s := range []struct {
		what string
		recs []T
	}{{"missing", missing}, {"not wanted", surplus}} {
		for i, r := range s.recs {
			if i == most {
				fmt.Fprintf(&b, "\n %s: … and %d more", s.what, len(s.recs)-most)
				break
			}
			fmt.Fprintf(&b, "\n %s: %+v", s.what, r)
		}
	}
	return b.String()
}
