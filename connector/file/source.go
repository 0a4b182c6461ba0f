package file

import (
	"fmt"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// noTime is the event time of a bad record: files give records none.
const noTime = flow.MinTime

// source is the operator.Source of every format.
type source[T any] struct {
	format string
	path   string
	set    settings
	plan   planner
	open   opener[T]
	err    error // what is wrong with the options or T
}

func newSource[T any](format, path string, set settings) *source[T] {
	set.ensureDefaults()
	s := &source[T]{format: format, path: path, set: set}
	if path == "" {
		s.err = fmt.Errorf("file: a %s source needs the path of a file, a folder or a glob; it is empty", format)
	} else {
		s.err = set.validate()
	}
	return s
}

// Validate says what is wrong with the source's options or its type, before the
// job runs. Enumerator and Reader return the same error.
func (s *source[T]) Validate() error { return s.err }

// Info describes the source.
func (s *source[T]) Info() operator.SourceInfo {
	attrs := []graph.Attr{{Key: "format", Value: s.format}, {Key: "path", Value: s.path}}
	if s.set.watch > 0 {
		attrs = append(attrs, graph.Attr{Key: "watch", Value: s.set.watch.String()})
	}
	return operator.SourceInfo{
		Kind:      "file",
		Attrs:     attrs,
		Unbounded: s.set.watch > 0,
		Assign:    operator.AssignOnDemand,
	}
}

// Enumerator makes the job's side.
func (s *source[T]) Enumerator() (operator.Enumerator, error) {
	if s.err != nil {
		return nil, s.err
	}
	return &enumerator{path: s.path, set: s.set, plan: s.plan, now: time.Now}, nil
}

// Reader makes the task's side.
func (s *source[T]) Reader(ctx *operator.ReaderContext) (operator.Reader[T], error) {
	if s.err != nil {
		return nil, s.err
	}
	return &reader[T]{env: environment{set: &s.set, ctx: ctx}, open: s.open}, nil
}
