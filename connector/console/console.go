// Package console is a sink that prints records, one line each: for people who
// look at a running job, and for pipes.
//
// Its word: a line is what the format function makes of a record, and a newline.
//
// Invariants:
//
//  1. Lines of several subtasks never mix: a subtask's buffer holds whole lines
//     and is written by one call under the sink's lock.
//  2. What was written is on its way when the task has nothing else to do, and at
//     the latest when the epoch ends. After a failure lines are printed again: the
//     guarantee is at-least-once.
//
// Writers are used by their task's goroutine; the sink's output is shared by them.
package console

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// flushSize is the number of buffered bytes at which a subtask writes them.
const flushSize = 32 << 10

// Print is a sink that writes the lines that format makes to out. Out nil means
// the standard output, format nil means the value as fmt.Print shows it.
func Print[T any](out io.Writer, format func(T) string) operator.Sink[T] {
	s := &sink[T]{format: format}
	s.mu.out, s.name = out, "output"
	if out == nil {
		s.mu.out, s.name = os.Stdout, "standard output"
	}
	if f, ok := s.mu.out.(*os.File); ok && out != nil {
		s.name = f.Name()
	}
	return s
}

type sink[T any] struct {
	format func(T) string
	name   string
	mu     struct {
		sync.Mutex
		out io.Writer
	}
}

func (*sink[T]) Info() operator.SinkInfo {
	return operator.SinkInfo{Kind: "console", Guarantee: graph.AtLeastOnce}
}

func (s *sink[T]) Writer(*operator.WriterContext) (operator.Writer[T], error) {
	return &writer[T]{sink: s}, nil
}

func (*sink[T]) Committer(*operator.CommitterContext) (operator.Committer, error) { return nil, nil }

// print writes whole lines. The lock is held while writing: it is there to keep
// the lines of one buffer together.
func (s *sink[T]) print(lines []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.mu.out.Write(lines); err != nil {
		return fmt.Errorf("console: printing to %s: %w", s.name, &flow.Failure{Domain: flow.DomainExternal, Cause: err})
	}
	return nil
}

type writer[T any] struct {
	sink  *sink[T]
	lines []byte
}

func (w *writer[T]) Write(b *flow.Batch[T]) error {
	for i := range b.Values {
		if w.sink.format != nil {
			w.lines = append(w.lines, w.sink.format(b.Values[i])...)
		} else {
			w.lines = fmt.Append(w.lines, b.Values[i])
		}
		w.lines = append(w.lines, '\n')
		if len(w.lines) >= flushSize {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writer[T]) flush() error {
	if len(w.lines) == 0 {
		return nil
	}
	err := w.sink.print(w.lines)
	w.lines = w.lines[:0]
	if cap(w.lines) > 4*flushSize {
		w.lines = nil // one huge line must not be paid for to the end
	}
	return err
}

func (w *writer[T]) Idle() error                          { return w.flush() }
func (w *writer[T]) Prepare(flow.Barrier) ([]byte, error) { return nil, w.flush() }
func (*writer[T]) Tick(flow.Time) error                   { return nil }

// Close prints what is left: after a failure it is what tells people how far the
// job came.
func (w *writer[T]) Close() error { return w.flush() }
