// Package collect is a sink that keeps records in memory: for tests and for
// programs that go on with a job's result.
//
// Its words: a chunk is what one subtask wrote in one epoch; it is open while it
// is written, prepared at the epoch's end, and visible once committed.
//
// Invariants:
//
//  1. Only committed records are visible, each once, also when a commit is
//     repeated or an attempt fails.
//  2. The records of one subtask stay in the order in which they were written.
//  3. Open, prepared and visible records together are never more than the cap.
//
// A sink is for one process: what a chunk holds does not travel with a
// checkpoint. A job that goes on in another process, or with another Sink value,
// finds its older results missing, and [Sink.Missing] counts them.
//
// All methods of Sink may be called by any goroutine at any time.
package collect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// DefaultMaxRecords is the cap of a sink that sets none.
const DefaultMaxRecords = 1_000_000

// Record is a record with its event time, flow.MinTime where it has none.
type Record[T any] struct {
	Value T
	Time  flow.Time
}

// Option is a setting of a sink.
type Option interface{ apply(*options) }

type option func(*options)

func (o option) apply(opts *options) { o(opts) }

type options struct{ limit int }

// MaxRecords sets the cap: with more records than n the job fails. The default
// is 1,000,000.
func MaxRecords(n int) Option { return option(func(o *options) { o.limit = n }) }

// Sink is an operator.Sink that keeps records in memory.
type Sink[T any] struct {
	options
	// nonce tells this sink's chunks from those of others, in other processes too.
	nonce uint64
	mu    struct {
		sync.Mutex
		records  int // in all chunks
		next     uint64
		prepared map[uint64]*chunk[T]
		dropped  map[uint64]bool // ids of chunks that failed attempts left behind
		visible  []*chunk[T]
		count    int // visible records
		missing  int64
		grew     chan struct{} // closed and replaced when records become visible
	}
}

type chunk[T any] struct {
	flow.Batch[T]
	subtask int
	attempt flow.Attempt
}

// token is what a writer prepares: the name of a chunk.
type token struct {
	Sink    uint64 `msgpack:"sink"`
	Chunk   uint64 `msgpack:"chunk"`
	Subtask int    `msgpack:"subtask"`
	Records int64  `msgpack:"records"`
}

var _ operator.Sink[int] = (*Sink[int])(nil)

// New makes a sink.
func New[T any](opts ...Option) *Sink[T] {
	s := &Sink[T]{options: options{limit: DefaultMaxRecords}, nonce: nonce()}
	for _, o := range opts {
		o.apply(&s.options)
	}
	s.mu.prepared = map[uint64]*chunk[T]{}
	s.mu.dropped = map[uint64]bool{}
	s.mu.grew = make(chan struct{})
	return s
}

// Results is a copy of all committed values: epoch by epoch, in an epoch subtask
// by subtask.
func (s *Sink[T]) Results() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]T, 0, s.mu.count)
	for _, c := range s.mu.visible {
		all = append(all, c.Values...)
	}
	return all
}

// Records is like Results, with the event times.
func (s *Sink[T]) Records() []Record[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Record[T], 0, s.mu.count)
	for _, c := range s.mu.visible {
		for i, v := range c.Values {
			all = append(all, Record[T]{v, c.Time(i)})
		}
	}
	return all
}

// Len is the number of committed records.
func (s *Sink[T]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.count
}

// Missing is the number of records that were committed, but are in another
// process's memory or another Sink's.
func (s *Sink[T]) Missing() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.missing
}

// Wait waits until at least n records are committed and returns all that are. If
// ctx ends first it returns what there is, and an error.
func (s *Sink[T]) Wait(ctx context.Context, n int) ([]T, error) {
	for {
		s.mu.Lock()
		count, grew := s.mu.count, s.mu.grew
		s.mu.Unlock()
		if count >= n {
			return s.Results(), nil
		}
		select {
		case <-grew:
		case <-ctx.Done():
			return s.Results(), fmt.Errorf("collect: waiting for %d records, there are %d: %w", n, count, context.Cause(ctx))
		}
	}
}

// Reset forgets the committed records and makes room for others.
func (s *Sink[T]) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.records -= s.mu.count
	s.mu.visible, s.mu.count, s.mu.missing = nil, 0, 0
}

// Info describes the sink.
func (s *Sink[T]) Info() operator.SinkInfo {
	return operator.SinkInfo{
		Kind:      "collect",
		Attrs:     []graph.Attr{{Key: "max records", Value: strconv.Itoa(s.limit)}},
		Guarantee: graph.ExactlyOnce,
	}
}

// Writer makes the task's side.
func (s *Sink[T]) Writer(ctx *operator.WriterContext) (operator.Writer[T], error) {
	w := &writer[T]{sink: s, attempt: ctx.Attempt, subtask: ctx.Subtask}
	w.open = w.chunk()
	return w, nil
}

// Committer makes the job's side.
func (s *Sink[T]) Committer(*operator.CommitterContext) (operator.Committer, error) {
	return committer[T]{s}, nil
}

// reserve counts n records more, if the cap allows.
func (s *Sink[T]) reserve(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.records+n > s.limit {
		return fmt.Errorf("collect: more than %d records: results are kept in memory; raise the cap with collect.MaxRecords, aggregate before, or write to files", s.limit)
	}
	s.mu.records += n
	return nil
}

func (s *Sink[T]) release(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.records -= n
}

func (s *Sink[T]) prepare(c *chunk[T]) token {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.next++
	s.mu.prepared[s.mu.next] = c
	return token{Sink: s.nonce, Chunk: s.mu.next, Subtask: c.subtask, Records: int64(c.Len())}
}

// commit makes chunks visible. What an earlier attempt of the same subtask had
// prepared and nobody committed will never be, and is dropped.
func (s *Sink[T]) commit(tokens []token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	attempts := map[int]flow.Attempt{}
	for _, t := range tokens {
		c := s.mu.prepared[t.Chunk]
		switch {
		case t.Sink != s.nonce:
			s.mu.missing += t.Records
		case c != nil:
			delete(s.mu.prepared, t.Chunk)
			s.mu.visible = append(s.mu.visible, c)
			s.mu.count += c.Len()
			attempts[c.subtask] = max(attempts[c.subtask], c.attempt)
		case s.mu.dropped[t.Chunk]:
			return fmt.Errorf("%d records of subtask %d were written by an attempt that a newer one had replaced and are gone", t.Records, t.Subtask)
		default: // committed before: this is a repeat
		}
	}
	for id, c := range s.mu.prepared {
		if c.attempt < attempts[c.subtask] {
			delete(s.mu.prepared, id)
			s.mu.dropped[id] = true
			s.mu.records -= c.Len()
		}
	}
	close(s.mu.grew)
	s.mu.grew = make(chan struct{})
	return nil
}

type committer[T any] struct{ sink *Sink[T] }

var _ operator.Auditor = committer[int]{}

func (c committer[T]) Commit(_ context.Context, epoch flow.Epoch, prepared [][]byte) error {
	tokens := make([]token, len(prepared))
	for i, data := range prepared {
		if err := msgpack.Unmarshal(data, &tokens[i]); err != nil {
			return fmt.Errorf("collect: committing epoch %d: what subtask %d of %d prepared can't be read: %w", epoch, i, len(prepared), err)
		}
	}
	slices.SortStableFunc(tokens, func(a, b token) int { return cmp.Compare(a.Subtask, b.Subtask) })
	if err := c.sink.commit(tokens); err != nil {
		return fmt.Errorf("collect: committing epoch %d: %w", epoch, err)
	}
	return nil
}

// Records counts the records of chunks.
func (committer[T]) Records(prepared [][]byte) (int64, error) {
	var n int64
	for _, data := range prepared {
		var t token
		if err := msgpack.Unmarshal(data, &t); err != nil {
			return 0, fmt.Errorf("collect: counting records: %w", err)
		}
		n += t.Records
	}
	return n, nil
}

func (committer[T]) Close() error { return nil }
