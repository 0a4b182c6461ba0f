package metamorphic

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// sink keeps what was committed, with the epoch in which it was written.
type sink struct {
	watch *watch
	node  *node

	mu     sync.Mutex
	chunks []*chunk // in the order in which they were prepared
}

// chunk is what one subtask wrote in one epoch.
type chunk struct {
	subtask   int
	epoch     flow.Epoch
	records   []Record
	committed bool
}

func newSink(w *watch, n *node) *sink { return &sink{watch: w, node: n} }

// opened is the sink as one process knows it.
type opened struct {
	*sink
	life *life // nil where there is but one
}

func (s *opened) Writer(ctx *operator.WriterContext) (operator.Writer[Record], error) {
	w, err := s.sink.Writer(ctx)
	if err == nil && s.life != nil {
		w = &mortalWriter{w, s.life}
	}
	return w, err
}

func (s *opened) Committer(*operator.CommitterContext) (operator.Committer, error) { return s, nil }

// Commit is a publication that may be the last thing that the process does.
func (s *opened) Commit(ctx context.Context, epoch flow.Epoch, prepared [][]byte) error {
	if s.life == nil {
		return s.sink.Commit(ctx, epoch, prepared)
	}
	if err := s.life.at(BeforeCommit, 1); err != nil {
		return err
	}
	if err := s.sink.Commit(ctx, epoch, prepared); err != nil {
		return err
	}
	return s.life.at(AfterCommit, 1)
}

// Records is how many records were prepared, by what is stored.
func (s *opened) Records(prepared [][]byte) (n int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range prepared {
		n += int64(len(s.chunks[binary.LittleEndian.Uint64(p)].records))
	}
	return n, nil
}

type mortalWriter struct {
	operator.Writer[Record]
	life *life
}

func (w *mortalWriter) Write(b *flow.Batch[Record]) error {
	if err := w.life.at(UserCodeFails, 1); err != nil {
		return err
	}
	return w.Writer.Write(b)
}

func (w *mortalWriter) Prepare(b flow.Barrier) ([]byte, error) {
	if err := w.life.at(AtPrepare, 1); err != nil {
		return nil, err
	}
	return w.Writer.Prepare(b)
}

func (s *sink) Info() operator.SinkInfo {
	return operator.SinkInfo{Kind: "sink", Guarantee: graph.ExactlyOnce}
}

func (s *sink) Writer(ctx *operator.WriterContext) (operator.Writer[Record], error) {
	return &sinkWriter{s: s, open: chunk{subtask: ctx.Subtask}}, nil
}

func (s *sink) Committer(*operator.CommitterContext) (operator.Committer, error) { return s, nil }

func (s *sink) Commit(_ context.Context, epoch flow.Epoch, prepared [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range prepared {
		c := s.chunks[binary.LittleEndian.Uint64(p)]
		if c.epoch != epoch {
			return fmt.Errorf("chunk of epoch %d is committed with epoch %d", c.epoch, epoch)
		}
		c.committed = true
	}
	return nil
}

func (*sink) Close() error { return nil }

// results are the committed chunks; those of one subtask are in order.
func (s *sink) results() []*chunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.chunks), func(c *chunk) bool { return !c.committed })
}

type sinkWriter struct {
	s    *sink
	open chunk
}

func (w *sinkWriter) Write(b *flow.Batch[Record]) error {
	w.open.records = append(w.open.records, b.Values...)
	for i, r := range b.Values {
		if at := b.Time(i); int64(at) != r.Time && (at != flow.MinTime || !w.s.watch.untimed) {
			w.s.watch.blame(w.s.node, "%v was written with time %d", r, b.Time(i))
		}
	}
	return nil
}

func (*sinkWriter) Idle() error { return nil }

func (w *sinkWriter) Prepare(b flow.Barrier) ([]byte, error) {
	c := w.open
	c.epoch = b.Epoch
	w.open = chunk{subtask: c.subtask}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.chunks = append(w.s.chunks, &c)
	return binary.LittleEndian.AppendUint64(nil, uint64(len(w.s.chunks)-1)), nil
}

func (*sinkWriter) Tick(flow.Time) error { return nil }

func (*sinkWriter) Close() error { return nil }
