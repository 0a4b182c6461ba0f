// Package blackhole is a sink that counts records and drops them: for load tests
// and jobs that are run for their side outputs.
//
// A [Sink] may be asked for its count at any time, by any goroutine. It counts
// what was written, in all attempts: after a failure records count again.
package blackhole

import (
	"sync/atomic"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// Sink is an operator.Sink that keeps nothing.
type Sink[T any] struct {
	count atomic.Int64
}

var _ operator.Sink[int] = (*Sink[int])(nil)

// New makes a sink.
func New[T any]() *Sink[T] { return &Sink[T]{} }

// Count is the number of records written so far.
func (s *Sink[T]) Count() int64 { return s.count.Load() }

// Info describes the sink. After a failure it counts records again.
func (*Sink[T]) Info() operator.SinkInfo {
	return operator.SinkInfo{Kind: "blackhole", Guarantee: graph.AtLeastOnce}
}

// Writer makes the task's side.
func (s *Sink[T]) Writer(*operator.WriterContext) (operator.Writer[T], error) {
	return &writer[T]{sink: s}, nil
}

// Committer returns nil.
func (*Sink[T]) Committer(*operator.CommitterContext) (operator.Committer, error) { return nil, nil }

type writer[T any] struct{ sink *Sink[T] }

func (w *writer[T]) Write(b *flow.Batch[T]) error {
	w.sink.count.Add(int64(b.Len()))
	return nil
}

func (*writer[T]) Idle() error                          { return nil }
func (*writer[T]) Prepare(flow.Barrier) ([]byte, error) { return nil, nil }
func (*writer[T]) Tick(flow.Time) error                 { return nil }
func (*writer[T]) Close() error                         { return nil }
