package async

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// Options configure the calls; the zero value works.
type Options struct {
	// Ordered makes records leave in the order in which they came. Default: only
	// the order of records and watermarks is kept.
	Ordered bool
	// Capacity is the number of records that may be inside one subtask. When it is
	// full, the input waits. Default 100.
	Capacity int
	// Timeout ends an attempt that takes longer: its context ends, and it counts
	// as failed as soon as the function returns. Default 1 minute.
	Timeout time.Duration
	// Retry says how often a failed call is repeated. Default: not at all.
	Retry Retry
	// Bad says what becomes of records whose call has failed for good. Default:
	// the job fails.
	Bad operator.BadPolicy
}

// Retry says how calls that failed are repeated; the zero value does not.
type Retry struct {
	// Attempts is how often a call is made at most, the first time included.
	// Default 1.
	Attempts int
	// Backoff is the time before the second attempt. It doubles with each further
	// one, up to MaxBackoff. The time that is really waited is between a half of it
	// and all of it, at random, so that calls that failed together do not come
	// back together. Default 100 ms.
	Backoff time.Duration
	// MaxBackoff is the most that is waited. Default 10 s, or Backoff where that
	// is more.
	MaxBackoff time.Duration
	// Retryable says whether an error may go away. Any goroutine may call it.
	// Default: every error may.
	Retryable func(error) bool
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	if o.Capacity == 0 {
		o.Capacity = 100
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	r := &o.Retry
	if r.Attempts == 0 {
		r.Attempts = 1
	}
	if r.Backoff == 0 {
		r.Backoff = 100 * time.Millisecond
	}
	if r.MaxBackoff == 0 {
		r.MaxBackoff = max(10*time.Second, r.Backoff)
	}
}

// Validate refuses what makes no sense, after EnsureDefaults.
func (o *Options) Validate() error {
	switch {
	case o.Capacity < 1:
		return fmt.Errorf("the capacity is %d; it must be at least 1", o.Capacity)
	case o.Timeout < 0:
		return fmt.Errorf("the timeout is %v; it must be positive", o.Timeout)
	case o.Retry.Attempts < 1:
		return fmt.Errorf("the number of attempts is %d; it must be at least 1", o.Retry.Attempts)
	case o.Retry.Backoff < 0 || o.Retry.MaxBackoff < o.Retry.Backoff:
		return fmt.Errorf("the backoff is %v and at most %v; it must be positive and not more than the most", o.Retry.Backoff, o.Retry.MaxBackoff)
	}
	return nil
}

// Attrs describes the options for explain, after EnsureDefaults.
func (o *Options) Attrs() []graph.Attr {
	attrs := []graph.Attr{
		{Key: "order", Value: map[bool]string{false: "unordered", true: "ordered"}[o.Ordered]},
		{Key: "capacity", Value: fmt.Sprint(o.Capacity)},
		{Key: "timeout", Value: o.Timeout.String()},
	}
	if o.Retry.Attempts > 1 {
		attrs = append(attrs, graph.Attr{Key: "attempts", Value: fmt.Sprint(o.Retry.Attempts)})
	}
	return attrs
}

// wait is the time before an attempt, 2 being the second.
func (r *Retry) wait(attempt int) time.Duration {
	d := r.Backoff
	for range attempt - 2 {
		if d >= r.MaxBackoff/2 {
			d = r.MaxBackoff
			break
		}
		d *= 2
	}
	return d/2 + rand.N(d/2+1)
}

func (r *Retry) retryable(err error) bool { return r.Retryable == nil || r.Retryable(err) }
