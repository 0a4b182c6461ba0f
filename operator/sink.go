package operator

import (
	"context"
	"errors"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
)

// NewSink makes the instance of a sink.
func NewSink[T any](target Sink[T]) Operator { return &sink[T]{target: target} }

type sink[T any] struct {
	Base
	target Sink[T]
	writer Writer[T]
	cursor Cursor[T]

	staged  []checkpoint.File // since the last Staged
	records int64             // since the last Staged
}

func (s *sink[T]) Inlet(flow.Port) any { return s }

func (s *sink[T]) Failing() string { return s.cursor.Failing() }

func (s *sink[T]) Open(ctx *Context) error {
	s.Context = ctx
	w, err := s.target.Writer(&WriterContext{
		Context: ctx.Task.Context(), Job: ctx.Job, Attempt: ctx.Attempt, Operator: ctx.Operator, Name: ctx.Name,
		Subtask: ctx.Subtask, Parallelism: ctx.Parallelism, Log: ctx.Log, Metrics: ctx.Metrics, Now: ctx.Task.Now,
		WakeAt: func(t flow.Time) { ctx.Task.WakeAt(s, t) }, Staging: &sinkStaging[T]{ctx.Staging, s},
	})
	if err != nil {
		return external(err)
	}
	s.writer = w
	return nil
}

func (s *sink[T]) Receive(b *flow.Batch[T]) error {
	s.Metrics.RecordsIn.Add(int64(len(b.Values)))
	s.records += int64(len(b.Values))
	s.cursor.Enter(b)
	if err := s.writer.Write(b); err != nil {
		return external(err)
	}
	s.cursor.Leave()
	return nil
}

func (s *sink[T]) Idle() error { return external(s.writer.Idle()) }

func (s *sink[T]) Barrier(b flow.Barrier) ([]byte, error) {
	data, err := s.writer.Prepare(b)
	return data, external(err)
}

func (s *sink[T]) ProcessingTime(now flow.Time) error { return external(s.writer.Tick(now)) }

func (s *sink[T]) Close() error {
	if s.writer == nil {
		return nil
	}
	return external(s.writer.Close())
}

// Staged is what has become part of what the writer has prepared last.
func (s *sink[T]) Staged() (files []checkpoint.File, records int64) {
	files, records = s.staged, s.records
	s.staged, s.records = nil, 0
	return files, records
}

var errNoStaging = errors.New("operator: this run has no place for staged files, which the sink needs")

// sinkStaging notes which files a writer has made.
type sinkStaging[T any] struct {
	Staging
	s *sink[T]
}

func (g *sinkStaging[T]) Create(ctx context.Context, name string) (StagedWriter, error) {
	if g.Staging == nil {
		return nil, errNoStaging
	}
	w, err := g.Staging.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	return &sinkStaged[T]{w, g.s}, nil
}

type sinkStaged[T any] struct {
	StagedWriter
	s *sink[T]
}

func (w *sinkStaged[T]) Commit() (checkpoint.File, error) {
	f, err := w.StagedWriter.Commit()
	if err == nil {
		w.s.staged = append(w.s.staged, f)
	}
	return f, err
}
