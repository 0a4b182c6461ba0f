// Package slice is a source of records that are in memory: for tests, examples
// and small tables.
//
// Its words: the values are divided into splits, each a slice of its own, which
// are read side by side and each in its order.
//
// Invariants:
//
//  1. The values belong to the source from the call that made it on: nobody
//     changes them, and readers only copy them.
//  2. A split's position is the number of its records read. A job goes on right
//     only with the same values.
//
// Readers are used by their task's goroutine only.
package slice

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// Record is a value with its event time.
type Record[T any] struct {
	Value T
	Time  flow.Time
}

// Source is an operator.Source of values in memory.
type Source[T any] struct {
	splits    []flow.Batch[T]
	unbounded bool
}

var _ operator.Source[int] = (*Source[int])(nil)

// Of is a source of the values, in this order, as one split. They have no event
// times.
func Of[T any](values ...T) *Source[T] { return Splits(values) }

// Splits is a source with one split for each slice.
func Splits[T any](splits ...[]T) *Source[T] {
	s := &Source[T]{}
	for _, values := range splits {
		s.splits = append(s.splits, flow.Batch[T]{Values: values})
	}
	return s
}

// Timed is a source of records with event times, as one split.
func Timed[T any](records []Record[T]) *Source[T] { return TimedSplits(records) }

// TimedSplits is a source of records with event times, with one split for each
// slice.
func TimedSplits[T any](splits ...[]Record[T]) *Source[T] {
	s := &Source[T]{}
	for _, records := range splits {
		var b flow.Batch[T]
		for _, r := range records {
			b.Append(r.Value, r.Time)
		}
		s.splits = append(s.splits, b)
	}
	return s
}

// Unbounded makes it a source without end: after the last record it waits for
// ever. It changes and returns s.
func (s *Source[T]) Unbounded() *Source[T] {
	s.unbounded = true
	return s
}

// Info describes the source.
func (s *Source[T]) Info() operator.SourceInfo {
	n := 0
	for i := range s.splits {
		n += s.splits[i].Len()
	}
	return operator.SourceInfo{
		Kind:      "slice",
		Attrs:     []graph.Attr{{Key: "records", Value: strconv.Itoa(n)}},
		Unbounded: s.unbounded,
		Assign:    operator.AssignSpread,
	}
}

// Enumerator makes the job's side.
func (s *Source[T]) Enumerator() (operator.Enumerator, error) {
	e := &enumerator{}
	for i := range s.splits {
		p := position{Split: i}
		split, err := p.split(s.splits[i].Len(), s.unbounded)
		if err != nil {
			return nil, err
		}
		e.splits = append(e.splits, split)
	}
	return e, nil
}

// Reader makes the task's side.
func (s *Source[T]) Reader(*operator.ReaderContext) (operator.Reader[T], error) {
	return &reader[T]{source: s}, nil
}

// position is a split: its number, and the number of its records that were read.
type position struct {
	Split int `msgpack:"split"`
	Next  int `msgpack:"next"`
}

func (p position) split(n int, unbounded bool) (operator.Split, error) {
	data, err := msgpack.Marshal(&p)
	if err != nil {
		return operator.Split{}, fmt.Errorf("slice: encoding split %d: %w", p.Split, err)
	}
	s := operator.Split{ID: strconv.Itoa(p.Split), Data: data}
	if !unbounded {
		s.Size = int64(n - p.Next)
	}
	return s, nil
}

type enumerator struct {
	splits     []operator.Split
	discovered bool
}

func (e *enumerator) Discover(context.Context) (operator.Discovery, error) {
	d := operator.Discovery{Done: true}
	if !e.discovered {
		e.discovered = true
		d.Splits = e.splits
	}
	return d, nil
}

func (*enumerator) Finished([]string) {}

func (e *enumerator) Snapshot() ([]byte, error) { return msgpack.Marshal(e.discovered) }

func (e *enumerator) Restore(data []byte) error {
	if err := msgpack.Unmarshal(data, &e.discovered); err != nil {
		return fmt.Errorf("slice: restoring the enumerator: %w", err)
	}
	return nil
}

func (*enumerator) Close() error { return nil }

// reader reads its splits in turn, a batch of each.
type reader[T any] struct {
	source *Source[T]
	open   []*open
	turn   int
	where  string
	at     int // the record that where is about
}

type open struct {
	position
	id     string
	paused bool
}

func (r *reader[T]) Add(s operator.Split) error {
	o := &open{id: s.ID}
	if err := msgpack.Unmarshal(s.Data, &o.position); err != nil {
		return fmt.Errorf("slice: decoding split %q: %w", s.ID, err)
	}
	if o.Split < 0 || o.Split >= len(r.source.splits) || o.Next < 0 || o.Next > r.source.splits[o.Split].Len() {
		return fmt.Errorf("slice: position %d of split %d is not in this source; a job goes on only with the values that it began with", o.Next, o.Split)
	}
	r.open = append(r.open, o)
	return nil
}

func (r *reader[T]) Read(into *operator.Records[T], limit int) (operator.Status, error) {
	for range r.open {
		r.turn = (r.turn + 1) % len(r.open)
		o := r.open[r.turn]
		values := &r.source.splits[o.Split]
		n := min(limit, values.Len()-o.Next)
		if o.paused || n == 0 && r.source.unbounded {
			continue
		}
		into.Split = o.id
		into.Values = append(into.Values, values.Values[o.Next:o.Next+n]...)
		if len(values.Times) > 0 {
			into.Times = append(into.Times, values.Times[o.Next:o.Next+n]...)
		}
		o.Next += n
		if n > 0 {
			r.where, r.at = o.id, o.Next-1
		}
		into.Progress = int64(n)
		if o.Next == values.Len() && !r.source.unbounded {
			into.Done = true
			r.open = slices.Delete(r.open, r.turn, r.turn+1)
		}
		return operator.More, nil
	}
	return operator.WaitForWake, nil
}

func (r *reader[T]) Where() string {
	if r.where == "" {
		return "before the first record"
	}
	return fmt.Sprintf("record %d of split %s", r.at, r.where)
}

func (r *reader[T]) Snapshot() ([]operator.Split, error) {
	splits := make([]operator.Split, 0, len(r.open))
	for _, o := range r.open {
		s, err := o.split(r.source.splits[o.Split].Len(), r.source.unbounded)
		if err != nil {
			return nil, err
		}
		splits = append(splits, s)
	}
	return splits, nil
}

func (r *reader[T]) Pause(split string, paused bool) {
	for _, o := range r.open {
		if o.id == split {
			o.paused = paused
		}
	}
}

func (*reader[T]) Close() error { return nil }
