package sdk

import (
	"context"
	"fmt"
	"time"

	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/operator/async"
)

// Async says how the world outside is called; the zero value works.
type Async struct {
	// Ordered makes records leave in the order in which they came. Default: they
	// leave when they can, but keep their order with respect to watermarks.
	Ordered bool
	// Capacity is the number of records that may wait for an answer in one
	// subtask. When it is full, the input waits. Default 100.
	Capacity int
	// Timeout ends an attempt that takes longer. Default 1 minute.
	Timeout time.Duration
	// Retry repeats calls that failed. Default: not.
	Retry Retry
}

// Retry says how often and when a call that failed is repeated.
type Retry = async.Retry

func (a Async) options(so sourceOptions) async.Options {
	o := async.Options{Ordered: a.Ordered, Capacity: a.Capacity, Timeout: a.Timeout, Retry: a.Retry, Bad: so.bad}
	o.EnsureDefaults()
	return o
}

// AsyncMap turns each record into what f answers: f may ask a database or a
// service, and take its time. Up to Capacity calls run at once in each subtask.
//
// f is called by many goroutines and must return when its context ends. Records
// keep their times. Records whose call fails in all attempts, or takes too long,
// are bad records: see [FailOnBad], the default, [SkipBad] and [DeadLetterBad].
func AsyncMap[In, Out any](s *Stream[In], f func(ctx context.Context, v In) (Out, error), a Async, opts ...TryOption) *Stream[Out] {
	so := tryOptions(opts)
	o := a.options(so)
	return add[Out](s.p, spec{kind: "asyncmap", inputs: []graph.Input{s.input("in")}, attrs: o.Attrs(), opts: headOfChain(so),
		sides: []graph.Output{sideOutput[BadRecord]("dead-letter")},
		errs:  []error{o.Validate(), notNil(f == nil, "the function of AsyncMap")},
		impl:  impl(func() operator.Operator { return async.NewMap(f, o) })})
}

// tryOptions sorts the options of an operator whose function may refuse records.
func tryOptions(opts []TryOption) (so sourceOptions) {
	for _, o := range opts {
		o.source(&so)
	}
	return so
}

// headOfChain keeps an operator that yields from being fused with the one before
// it: the operator there could be called in the middle of a call.
func headOfChain(so sourceOptions) []Option { return append([]Option{NoChain()}, so.common...) }

// Lookup says how a [LookupJoin] asks and what it remembers; the zero value works
// and remembers nothing.
type Lookup struct {
	Async
	// CacheSize is the number of answers that one subtask remembers. Default: none.
	CacheSize int
	// CacheTTL is how long a remembered answer is good for. Default: for ever.
	CacheTTL time.Duration
}

// LookupJoin joins each record with what lookup finds for its key in the world
// outside: a row of a table, a user's profile. lookup returns false where there is
// nothing, and join is told. Records that want the same key at the same time share
// one call, and answers, also the empty ones, can be remembered.
//
// lookup is called by many goroutines and must return when its context ends; key
// and join are called one at a time. What fails is treated as in [AsyncMap]. The
// cache is each subtask's own: it holds more where the stream comes partitioned by
// the same key.
func LookupJoin[L any, K comparable, R, Out any](s *Stream[L], key func(L) K,
	lookup func(ctx context.Context, key K) (R, bool, error), join func(v L, found R, ok bool) Out,
	l Lookup, opts ...TryOption) *Stream[Out] {
	so := tryOptions(opts)
	o := l.options(so)
	attrs := o.Attrs()
	if l.CacheSize > 0 {
		attrs = append(attrs, graph.Attr{Key: "cache", Value: fmt.Sprint(l.CacheSize)})
		if l.CacheTTL > 0 {
			attrs = append(attrs, graph.Attr{Key: "ttl", Value: l.CacheTTL.String()})
		}
	}
	var cacheErr error
	if l.CacheSize < 0 || l.CacheTTL < 0 {
		cacheErr = fmt.Errorf("the cache's size is %d and its time to live %v; they cannot be negative", l.CacheSize, l.CacheTTL)
	}
	cfg := async.LookupConfig[L, K, R, Out]{Key: key, Lookup: lookup, Join: join, CacheSize: l.CacheSize, CacheTTL: l.CacheTTL, Options: o}
	return add[Out](s.p, spec{kind: "lookupjoin", inputs: []graph.Input{s.input("in")}, attrs: attrs, opts: headOfChain(so),
		sides: []graph.Output{sideOutput[BadRecord]("dead-letter")},
		errs: []error{o.Validate(), cacheErr, notNil(key == nil, "the key function of LookupJoin"),
			notNil(lookup == nil, "the lookup function of LookupJoin"), notNil(join == nil, "the join function of LookupJoin")},
		impl: impl(func() operator.Operator { return async.NewLookup(cfg) })})
}
