package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirflow/weir/internal/obs"
)

// session is a producing client of one transactional id, and what it knows.
type session struct {
	group  string // and the transactional id
	client *kgo.Client
	admin  *kadm.Client
	outage *outage
	mark   mark
	// ready says that the producer's id was initialised and that mark was read after
	// that: nobody else has written since.
	ready  bool
	limits atomic.Pointer[map[string]int32] // of batches, by topic
	stop   atomic.Pointer[context.CancelCauseFunc]
	inTxn  bool
}

// session makes a client that has not written anything, and reads the mark.
func (c *committer) session(ctx context.Context, o origin) (*session, error) {
	if s := c.sessions[o]; s != nil {
		return s, nil
	}
	s := &session{group: c.name(o)}
	s.outage = &outage{limit: c.clientOptions.outage, brokers: c.brokers, log: c.ctx.Log, metrics: &obs.Operator{}}
	s.outage.over = func() {
		if stop := s.stop.Load(); stop != nil {
			(*stop)(s.outage.failure())
		}
	}
	s.limits.Store(&map[string]int32{})
	var err error
	s.client, err = c.client(
		kgo.TransactionalID(s.group),
		kgo.TransactionTimeout(c.transaction),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0), // batches form while requests are under way
		kgo.MaxBufferedBytes(c.buffer),
		kgo.MaxBufferedRecords(1<<30), // the bytes are the bound
		kgo.ProducerBatchMaxBytesFn(func(topic string) int32 {
			if n, ok := (*s.limits.Load())[topic]; ok {
				return n
			}
			return c.maxMessage
		}),
		kgo.WithHooks(s.outage),
	)
	if err != nil {
		return nil, err
	}
	s.admin = kadm.NewClient(s.client)
	c.sessions[o] = s
	if err := c.step("connected"); err != nil {
		return nil, err
	}
	s.mark, err = s.readMark(ctx)
	if errors.Is(err, kerr.UnstableOffsetCommit) {
		// A transaction of an attempt that died is open. To seize the session ends it.
		return s, nil
	}
	return s, err
}

// guard lets an outage that lasts too long end ctx.
func (s *session) guard(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.stop.Store(&cancel)
	return ctx, func() { s.stop.Store(nil); cancel(nil) }
}

// explain puts an outage in the place of the errors that come of it.
func (s *session) explain(err error) error {
	if out := s.outage.failure(); out != nil {
		return out
	}
	return err
}

// seize makes the session the only one that can write; see committer.
func (c *committer) seize(ctx context.Context, s *session) error {
	if s.ready {
		return nil
	}
	if _, _, err := s.client.ProducerID(ctx); err != nil {
		return fmt.Errorf("initialising the transactional id %q: %w", s.group, err)
	}
	if err := c.step("initialised"); err != nil {
		return err
	}
	err := s.concurrent(ctx, func() (err error) {
		s.mark, err = s.readMark(ctx)
		return err
	})
	if err != nil {
		return err
	}
	s.ready = true
	return c.step("read")
}

// concurrent repeats a request while the brokers are still ending the transaction
// before, or look for the one that coordinates.
func (s *session) concurrent(ctx context.Context, request func() error) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := request()
		if !errors.Is(err, kerr.ConcurrentTransactions) && !errors.Is(err, kerr.CoordinatorLoadInProgress) && !errors.Is(err, kerr.NotCoordinator) &&
			!errors.Is(err, kerr.CoordinatorNotAvailable) && !errors.Is(err, kerr.UnstableOffsetCommit) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// close ends the client. A transaction that is open is aborted, if the brokers can be
// reached: readers need not wait for it until it is too old.
func (s *session) close() {
	if s.inTxn && s.outage.failure() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), abortWait)
		if s.client.AbortBufferedRecords(ctx) == nil {
			// What came of it is asked for before anything else is written.
			_ = s.client.EndTransaction(ctx, kgo.TryAbort)
		}
		cancel()
	}
	s.outage.close()
	s.client.Close()
}

// abortWait is how long an abort may take.
const abortWait = 5 * time.Second

// step lets tests stop between the steps of a commit.
func (c *committer) step(name string) error {
	if c.testing.step == nil {
		return nil
	}
	return c.testing.step(name)
}
