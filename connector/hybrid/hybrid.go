// Package hybrid is a source made of others that are read one after the other:
// the history from files, say, and then the live topic.
//
// Its words: each of the sources is a phase, numbered from 0. All phases but the
// last have an end. To switch is to begin the next phase, when all splits of the
// one before have been read to their ends.
//
// Invariants:
//
//  1. No record of a phase is read before all records of the phases before it, by
//     any subtask.
//  2. The phase after a switch is made at the switch, not before: it may begin at a
//     place that is not known earlier, such as where the history ends.
//  3. A split's id is "phase:id", where id is the one that the phase's source gave
//     it; the enumerator's snapshot carries the phase. So a job that is restored
//     goes on in the phase it was in.
//
// The enumerator must be told of every split that has been read to its end, also
// of those that ended between its snapshot and the readers': a job that restores
// it tells it of the splits that are in no reader's snapshot. To be told twice
// does no harm.
//
// Splits are dealt evenly as soon as they are found ([operator.AssignSpread]),
// since a phase may have splits without end. Those of a phase that wants one at a
// time wait in the subtask that they were dealt to.
package hybrid

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// Next makes the source of a phase. It is called at the switch, and again where a
// process that has not made it needs it to read: a subtask elsewhere, or a job
// that was restored. Where the source begins is asked for at the switch alone.
type Next[T any] func(ctx context.Context) (operator.Source[T], error)

// Source is an operator.Source of several phases.
type Source[T any] struct {
	first   operator.Source[T]
	next    []Next[T]
	bounded bool
	mu      struct {
		sync.Mutex
		made map[int]operator.Source[T] // the newest of each phase
	}
}

var _ operator.Source[int] = (*Source[int])(nil)

// New is a source that reads first to its end, and then what each next makes, in
// turn.
func New[T any](first operator.Source[T], next ...Next[T]) *Source[T] {
	s := &Source[T]{first: first, next: next}
	s.mu.made = map[int]operator.Source[T]{0: first}
	return s
}

// Then is a Next of a source that is known beforehand.
func Then[T any](src operator.Source[T]) Next[T] {
	return func(context.Context) (operator.Source[T], error) { return src, nil }
}

// Bounded declares that the last phase has an end too. Without it the source
// counts as one without end, since the last phase is not known beforehand. It
// changes and returns s.
func (s *Source[T]) Bounded() *Source[T] {
	s.bounded = true
	return s
}

// Info describes the source.
func (s *Source[T]) Info() operator.SourceInfo {
	info := operator.SourceInfo{Kind: "hybrid", Unbounded: !s.bounded, Assign: operator.AssignSpread}
	info.Attrs = append(info.Attrs, graph.Attr{Key: "phases", Value: strconv.Itoa(1 + len(s.next))})
	if s.first != nil {
		first := s.first.Info()
		info.Attrs = append(info.Attrs, graph.Attr{Key: "first", Value: first.Kind})
		for _, a := range first.Attrs {
			info.Attrs = append(info.Attrs, graph.Attr{Key: "first " + a.Key, Value: a.Value})
		}
	}
	return info
}

// last is the number of the last phase.
func (s *Source[T]) last() int { return len(s.next) }

// enter makes the source of a phase anew.
func (s *Source[T]) enter(ctx context.Context, phase int) (operator.Source[T], error) {
	if phase < 0 || phase > s.last() {
		return nil, fmt.Errorf("hybrid: there is no phase %d, the phases are 0 to %d; a job goes on only with the phases that it began with", phase, s.last())
	}
	src := s.first
	if phase > 0 {
		var err error
		if src, err = s.next[phase-1](ctx); err != nil {
			return nil, fmt.Errorf("hybrid: making the source of phase %d: %w", phase, err)
		}
	}
	if src == nil {
		return nil, fmt.Errorf("hybrid: the source of phase %d is nil", phase)
	}
	if info := src.Info(); info.Unbounded && (phase < s.last() || s.bounded) {
		if s.bounded && phase == s.last() {
			return nil, fmt.Errorf("hybrid: phase %d (%s) has no end, but the source was declared as bounded", phase, info.Kind)
		}
		return nil, fmt.Errorf("hybrid: phase %d (%s) has no end, so phase %d would never begin; give it an end", phase, info.Kind, phase+1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.made[phase] = src
	return src, nil
}

// source is the source of a phase for a reader: any will do.
func (s *Source[T]) source(ctx context.Context, phase int) (operator.Source[T], error) {
	s.mu.Lock()
	src := s.mu.made[phase]
	s.mu.Unlock()
	if src != nil {
		return src, nil
	}
	return s.enter(ctx, phase)
}

// Enumerator makes the job's side.
func (s *Source[T]) Enumerator() (operator.Enumerator, error) {
	if s.first == nil {
		return nil, errors.New("hybrid: the first source is nil")
	}
	return &enumerator[T]{source: s, unfinished: map[string]bool{}}, nil
}

// Reader makes the task's side.
func (s *Source[T]) Reader(ctx *operator.ReaderContext) (operator.Reader[T], error) {
	return &reader[T]{source: s, ctx: ctx, phases: map[int]*phase[T]{}}, nil
}

// splitID is the id of a phase's split.
func splitID(phase int, id string) string { return strconv.Itoa(phase) + ":" + id }

func parseID(s string) (phase int, id string, err error) {
	number, id, ok := strings.Cut(s, ":")
	phase, err = strconv.Atoi(number)
	if !ok || err != nil || phase < 0 {
		return 0, "", fmt.Errorf("hybrid: split %q names no phase", s)
	}
	return phase, id, nil
}
