package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
)

// outage watches a client's connections: it is one while attempts to reach a
// broker fail and no broker answers. The client tries again by itself, for ever;
// the outage tells of it once, and calls over when it has lasted too long.
//
// Its hooks are called by the client's goroutines.
type outage struct {
	limit   time.Duration
	brokers []string
	log     *slog.Logger
	metrics *obs.Operator
	over    func() // called once, by a timer's goroutine
	mu      struct {
		sync.Mutex
		since  time.Time // zero: there is none
		last   time.Time // of err
		err    error     // the last one
		timer  *time.Timer
		failed error // it has lasted too long
		closed bool
	}
}

var (
	_ kgo.HookBrokerConnect = (*outage)(nil)
	_ kgo.HookBrokerRead    = (*outage)(nil)
)

// OnBrokerConnect is a hook.
func (o *outage) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		o.begin(fmt.Errorf("connecting to %s:%d: %w", meta.Host, meta.Port, err))
	}
}

// OnBrokerRead is a hook.
func (o *outage) OnBrokerRead(_ kgo.BrokerMetadata, _ int16, _ int, _, _ time.Duration, err error) {
	if err == nil {
		o.end()
	}
}

func (o *outage) begin(err error) {
	o.metrics.Retries.Add(1)
	o.mu.Lock()
	o.mu.err, o.mu.last = err, time.Now()
	fresh := o.mu.since.IsZero() && !o.mu.closed
	if fresh {
		o.mu.since = time.Now()
		o.mu.timer = time.AfterFunc(o.limit, o.expire)
	}
	o.mu.Unlock()
	if fresh {
		o.log.Warn("kafka: no broker answers, trying on", "err", err, "brokers", o.brokers, "fails_after", o.limit)
	}
}

func (o *outage) end() {
	o.mu.Lock()
	since := o.mu.since
	if since.IsZero() || o.mu.failed != nil {
		o.mu.Unlock()
		return
	}
	o.mu.since, o.mu.err = time.Time{}, nil
	o.mu.timer.Stop()
	o.mu.Unlock()
	o.log.Info("kafka: a broker answers again", "brokers", o.brokers, "silent_for", time.Since(since))
}

func (o *outage) expire() {
	o.mu.Lock()
	// The timer may have fired while the outage ended, or another began.
	late := o.mu.closed || o.mu.since.IsZero() || time.Since(o.mu.since) < o.limit
	if !late && time.Since(o.mu.last) > troubleGap {
		// Nothing has been tried since: a client without work asks nobody.
		o.mu.since, late = time.Time{}, true
	}
	if !late {
		o.mu.failed = fmt.Errorf("kafka: no broker of %q has answered for %v, check that they run and can be reached: %w",
			o.brokers, o.limit, &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Cause: o.mu.err})
	}
	o.mu.Unlock()
	if !late {
		o.over()
	}
}

// failure is not nil once the outage has lasted too long.
func (o *outage) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mu.failed
}

func (o *outage) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.closed = true
	if o.mu.timer != nil {
		o.mu.timer.Stop()
	}
}
