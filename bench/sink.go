package bench

import (
	"sync"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// checkSink counts records and adds up a check of each, like the floor's output.
type checkSink[T any] struct {
	// batch adds up the values of a batch: its check and its largest value.
	batch func(vals []T) (check uint64, largest int64)

	mu      sync.Mutex
	results int64
	check   uint64
	largest int64
	first   time.Time // of the first record
}

func (s *checkSink[T]) Info() operator.SinkInfo { return operator.SinkInfo{Kind: "check"} }
func (s *checkSink[T]) Committer(*operator.CommitterContext) (operator.Committer, error) {
	return nil, nil
}

func (s *checkSink[T]) Writer(*operator.WriterContext) (operator.Writer[T], error) {
	return &checkWriter[T]{sink: s}, nil
}

type checkWriter[T any] struct {
	sink    *checkSink[T]
	results int64
	check   uint64
	largest int64
}

func (w *checkWriter[T]) Write(b *flow.Batch[T]) error {
	if w.results == 0 {
		w.sink.mu.Lock()
		if w.sink.first.IsZero() {
			w.sink.first = time.Now()
		}
		w.sink.mu.Unlock()
	}
	check, largest := w.sink.batch(b.Values)
	w.results += int64(len(b.Values))
	w.check += check
	w.largest = max(w.largest, largest)
	return nil
}

func (*checkWriter[T]) Idle() error                          { return nil }
func (*checkWriter[T]) Prepare(flow.Barrier) ([]byte, error) { return nil, nil }
func (*checkWriter[T]) Tick(flow.Time) error                 { return nil }

func (w *checkWriter[T]) Close() error {
	s := w.sink
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results += w.results
	s.check += w.check
	s.largest = max(s.largest, w.largest)
	return nil
}
