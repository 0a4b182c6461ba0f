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

// tellAfter is how long an outage lasts before it is told: where one broker of
// several is away, the others' answers end it before.
const tellAfter = time.Second

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
		told   bool
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
func (o *outage) OnBrokerRead(meta kgo.BrokerMetadata, _ int16, _ int, _, _ time.Duration, err error) {
	switch {
	case err == nil:
		o.end()
	case !errors.Is(err, context.Canceled):
		o.begin(fmt.Errorf("reading from %s:%d: %w", meta.Host, meta.Port, err))
	}
}

func (o *outage) begin(err error) {
	o.metrics.Retries.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.err, o.mu.last = err, time.Now()
	if o.mu.since.IsZero() && !o.mu.closed {
		o.mu.since = time.Now()
		o.mu.timer = time.AfterFunc(min(tellAfter, o.limit), o.check)
	}
}

func (o *outage) end() {
	o.mu.Lock()
	since, told := o.mu.since, o.mu.told
	if since.IsZero() || o.mu.failed != nil {
		o.mu.Unlock()
		return
	}
	o.mu.since, o.mu.err, o.mu.told = time.Time{}, nil, false
	o.mu.timer.Stop()
	o.mu.Unlock()
	if told {
		o.log.Info("kafka: a broker answers again", "brokers", o.brokers, "silent_for", time.Since(since))
	}
}

// check is called by the timer: when the outage is to be told, and when it has
// lasted too long.
func (o *outage) check() {
	o.mu.Lock()
	// The timer may have fired while the outage ended, or another began.
	left := min(tellAfter, o.limit) - time.Since(o.mu.since)
	if o.mu.closed || o.mu.since.IsZero() || left > 0 {
		o.mu.Unlock()
		return
	}
	if time.Since(o.mu.last) > troubleGap {
		// Nothing has been tried since: a client without work asks nobody.
		o.mu.since, o.mu.told = time.Time{}, false
		o.mu.Unlock()
		return
	}
	tell := !o.mu.told
	o.mu.told = true
	err := o.mu.err
	left = o.limit - time.Since(o.mu.since)
	if left > 0 {
		o.mu.timer = time.AfterFunc(left, o.check)
	} else {
		o.mu.failed = fmt.Errorf("kafka: no broker of %q has answered for %v, check that they run and can be reached: %w",
			o.brokers, o.limit, &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Cause: err})
	}
	o.mu.Unlock()
	if tell {
		o.log.Warn("kafka: no broker answers, trying on", "err", err, "brokers", o.brokers, "fails_after", o.limit)
	}
	if left <= 0 {
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
