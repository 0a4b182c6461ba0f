// Package datagen is a source that computes its records: for demonstrations,
// load and tests.
//
// Its words: a record's index is its number in the whole of the source, from 0; a
// record depends on nothing but its index. The index space is cut into blocks of
// neighbouring indexes, and the blocks are dealt to the parts in turn: block b
// belongs to part b mod parts. Each part is a split.
//
//	block    0    1    2    3    4    5    6 ...
//	part     0    1    2    0    1    2    0 ...
//
// Invariants:
//
//  1. The records, and their division into splits, depend on the options alone:
//     not on the number of subtasks, on time, or on restarts.
//  2. Within a split records come in the order of their indexes. One subtask alone
//     reads all records in that order.
//  3. With a rate, a record is never read before its time, and no record is left
//     out: a source that is late goes on without pauses until it is in time again.
//     The time in which a job was down is not made up for.
//
// Readers are used by their task's goroutine only. The user's functions are called
// by several tasks at a time and must not share what they change.
package datagen

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// maxBlock is the size of a block where nothing asks for smaller ones: that of a
// full batch.
const maxBlock = 1024

// defaultParts is the number of splits of a source that sets none: enough for any
// parallelism of one machine, few enough that looking through them costs nothing
// beside a batch.
const defaultParts = 64

// maxParts bounds what a reader looks through for each batch.
const maxParts = 1 << 16

// New is a source of the records that value makes of the indexes 0, 1, 2, ...
func New[T any](value func(index int64) T, opts ...Option) operator.Source[T] {
	s := &source[T]{value: value, options: collect(opts)}
	if value == nil {
		s.options.err = errors.New("datagen: New needs a function that makes a record of its index, it is nil")
	}
	return s
}

// Fill is a source like that of [New] for functions that make many records at
// once: fill sets all values of out, which are those of the indexes first,
// first+1, ... Out's old values are those of earlier records.
func Fill[T any](fill func(first int64, out []T), opts ...Option) operator.Source[T] {
	s := &source[T]{fill: fill, options: collect(opts)}
	if fill == nil {
		s.options.err = errors.New("datagen: Fill needs a function that sets records, it is nil")
	}
	return s
}

// Option is a setting of a source.
type Option interface{ apply(*options) }

type option func(*options)

func (o option) apply(opts *options) { o(opts) }

type options struct {
	count   int64 // -1: no end
	rate    float64
	parts   int
	times   func(index int64) flow.Time
	err     error
	hasRate bool
}

func collect(opts []Option) options {
	o := options{count: -1, parts: defaultParts}
	for _, opt := range opts {
		opt.apply(&o)
	}
	return o
}

func (o *options) refuse(format string, args ...any) {
	if o.err == nil {
		o.err = &flow.Failure{Domain: flow.DomainUser, Cause: fmt.Errorf("datagen: "+format, args...)}
	}
}

// Count ends the source after n records. Without it the source has no end.
func Count(n int64) Option {
	return option(func(o *options) {
		if n < 0 {
			o.refuse("Count(%d): the number of records can't be negative; leave Count out for a source without end", n)
		}
		o.count = n
	})
}

// Rate sets how many records become due in a second, over all subtasks. Record i
// is due i/perSecond seconds after the start. Without it records are made as fast
// as they are taken.
func Rate(perSecond float64) Option {
	return option(func(o *options) {
		if !(perSecond > 0 && perSecond <= 1e12) {
			o.refuse("Rate(%v): the rate must be over 0 and at most 1e12 records a second; leave Rate out for no limit", perSecond)
		}
		o.rate, o.hasRate = perSecond, true
	})
}

// Splits sets the number of splits, which is the most subtasks that can read side
// by side. With one split all records come in the order of their indexes. The
// default is 64.
func Splits(n int) Option {
	return option(func(o *options) {
		if n < 1 || n > maxParts {
			o.refuse("Splits(%d): a source has between 1 and %d splits", n, maxParts)
		}
		o.parts = n
	})
}

// Timestamps gives records event times. Without it they have none.
func Timestamps(time func(index int64) flow.Time) Option {
	return option(func(o *options) { o.times = time })
}

// blockSize is a full batch, but for two cases. With a rate a block is what is due
// in a millisecond, so that all parts see records as time goes by and not one part
// after the other. And few records are still dealt to all parts.
func (o *options) blockSize() int64 {
	n := int64(maxBlock)
	if o.hasRate {
		n = min(n, int64(o.rate/1000))
	}
	if o.count >= 0 {
		n = min(n, o.count/int64(4*o.parts))
	}
	return max(n, 1)
}

type source[T any] struct {
	value func(int64) T
	fill  func(int64, []T)
	options
}

func (s *source[T]) Info() operator.SourceInfo {
	var attrs []graph.Attr
	if s.count >= 0 {
		attrs = append(attrs, graph.Attr{Key: "count", Value: strconv.FormatInt(s.count, 10)})
	}
	if s.hasRate {
		attrs = append(attrs, graph.Attr{Key: "rate", Value: strconv.FormatFloat(s.rate, 'f', -1, 64) + "/s"})
	}
	return operator.SourceInfo{Kind: "datagen", Attrs: attrs, Unbounded: s.count < 0, Assign: operator.AssignSpread}
}

func (s *source[T]) Enumerator() (operator.Enumerator, error) {
	if s.err != nil {
		return nil, s.err
	}
	return &enumerator{options: &s.options}, nil
}

func (s *source[T]) Reader(ctx *operator.ReaderContext) (operator.Reader[T], error) {
	if s.err != nil {
		return nil, s.err
	}
	return &reader[T]{source: s, now: ctx.Now, index: -1}, nil
}
