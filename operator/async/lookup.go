package async

import (
	"context"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// LookupConfig is what a lookup join is made from.
type LookupConfig[L any, K comparable, R, Out any] struct {
	// Key is what is asked for a record, on the task's goroutine.
	Key func(L) K
	// Lookup asks the outside; false says that there is nothing for the key. It is
	// called by many goroutines at once and must heed its context.
	Lookup func(context.Context, K) (R, bool, error)
	// Join makes the result of a record and what was found, on the task's
	// goroutine.
	Join func(v L, found R, ok bool) Out
	// CacheSize is the number of answers that one subtask remembers, the ones that
	// there is nothing included. The one that was not needed for longest makes
	// room. Default: none.
	CacheSize int
	// CacheTTL is how long an answer is good for. Default: for ever.
	CacheTTL time.Duration
	Options
}

// found is the answer to a lookup.
type found[R any] struct {
	value R
	ok    bool
}

// NewLookup makes an operator that joins each record with what a lookup finds for
// its key. Records that want the same key at the same time share one call.
func NewLookup[L any, K comparable, R, Out any](cfg LookupConfig[L, K, R, Out]) operator.Operator {
	ask := func(ctx context.Context, k K) (found[R], error) {
		v, ok, err := cfg.Lookup(ctx, k)
		return found[R]{v, ok}, err
	}
	answer := func(v L, f found[R]) Out { return cfg.Join(v, f.value, f.ok) }
	b := &lookups[K, found[R], entry[L, Out]]{
		cache: newCache[K, found[R]](cfg.CacheSize, flow.Span(cfg.CacheTTL)),
		calls: map[K]*call[K, found[R], entry[L, Out]]{},
	}
	return newCaller(cfg.Options, cfg.Key, ask, answer, b)
}

// lookups is the book of a lookup join.
type lookups[K comparable, R, E any] struct {
	cache *cache[K, R]
	calls map[K]*call[K, R, E]
}

func (l *lookups[K, R, E]) find(k K, now flow.Time) (R, bool) { return l.cache.get(k, now) }
func (l *lookups[K, R, E]) underWay(k K) *call[K, R, E]       { return l.calls[k] }
func (l *lookups[K, R, E]) begin(c *call[K, R, E])            { l.calls[c.question] = c }
func (l *lookups[K, R, E]) end(c *call[K, R, E], now flow.Time) {
	delete(l.calls, c.question)
	if c.err == nil {
		l.cache.put(c.question, c.answer, now)
	}
}
