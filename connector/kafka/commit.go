package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// ErrReplaced is wrapped by the error of a commit when another run of the same job
// has begun to write to the sink.
var ErrReplaced = errors.New("another run of the job has taken over")

// ErrUnknown is wrapped by the error of a commit when nothing tells whether the epoch
// was written before. See [IfUnknown].
var ErrUnknown = errors.New("the record of the written epochs is gone")

// committer is the job's side of an exactly-once sink: it writes epochs from their
// staged files, each in one transaction together with the mark of the epoch.
//
// The obvious way is to keep a transaction open for as long as an epoch lasts, and to
// end it when the epoch is committed. Then readers of committed records see nothing
// of the topic, from this job or any other, behind the first record of the open
// transaction; a job that stands still holds them up until a timeout aborts the
// transaction, and with it records whose epoch is committed: they are lost. Here the
// transaction begins when the epoch can no longer be lost, and if it is aborted it
// is written again.
//
// A transaction is tied to what has been written by three steps, in this order:
//
//  1. The producer's id is initialised. From then on the brokers refuse what an
//     earlier holder of the transactional id sends, and its transaction is over, one
//     way or the other.
//  2. The mark is read. It is what all transactions before this one have left.
//  3. The transaction writes the records of an epoch after the mark, and the mark.
//
// As long as no error comes, steps 1 and 2 hold for the transactions that follow:
// nobody else has written, or the brokers would have refused ours. After any error, a
// lost answer to the end of the transaction say, the client is dropped and all begins
// with step 1, which settles whether it was committed.
type committer struct {
	*sinkOptions
	ctx      *operator.CommitterContext
	own      origin
	nonce    string              // of this committer; it is in the mark once claimed
	kept     map[origin]bool     // a mark was put by this committer
	claimed  bool                // Recover has put our nonce into the mark
	sessions map[origin]*session // usually one
	wait     func(int) <-chan time.Time
}

// origin is whose epochs are written. Marks are kept for each: a job that was started
// from another's savepoint commits what that one had prepared under its mark.
type origin struct{ job, operator string }

var (
	_ operator.Recoverer = (*committer)(nil)
	_ operator.Auditor   = (*committer)(nil)
)

func newCommitter(o *sinkOptions, ctx *operator.CommitterContext) *committer {
	return &committer{
		sinkOptions: o, ctx: ctx, own: origin{string(ctx.Job), string(ctx.Operator)},
		nonce:    strconv.FormatUint(rand.Uint64(), 36),
		sessions: map[origin]*session{}, kept: map[origin]bool{},
		wait: func(try int) <-chan time.Time { return time.After(time.Duration(try) * 200 * time.Millisecond) },
	}
}

// name is the transactional id, and the group that keeps the mark.
func (c *committer) name(o origin) string { return c.prefix + o.job + "-" + o.operator }

// tries is how often a commit is tried before the job fails, and starts again where
// it is allowed to.
const tries = 3

// Commit writes the epoch's records, unless they have been written.
func (c *committer) Commit(ctx context.Context, epoch flow.Epoch, prepared [][]byte) error {
	parts := map[origin][]staged{}
	var order []origin
	for _, data := range prepared {
		s, err := decodeStaged(data)
		if err != nil {
			return fmt.Errorf("kafka: committing epoch %d: %w", epoch, err)
		}
		if s.Records == 0 {
			continue
		}
		o := origin{s.Job, s.Operator}
		if parts[o] == nil {
			order = append(order, o)
		}
		parts[o] = append(parts[o], s)
	}
	for _, o := range order {
		at := mark{attempt: parts[o][0].Attempt, epoch: epoch}
		for _, s := range parts[o] {
			at.attempt = max(at.attempt, s.Attempt)
		}
		if err := c.try(ctx, o, func(ctx context.Context) error { return c.write(ctx, o, at, parts[o]) }); err != nil {
			return fmt.Errorf("kafka: committing epoch %d of %q: %w", epoch, c.ctx.Name, err)
		}
	}
	return nil
}

// try calls fn until it succeeds, or fails in a way that another try does not mend.
func (c *committer) try(ctx context.Context, o origin, fn func(context.Context) error) error {
	for n := 1; ; n++ {
		err := fn(ctx)
		if err == nil {
			return nil
		}
		if s := c.sessions[o]; s != nil {
			err = s.explain(err)
			s.close()
			delete(c.sessions, o)
		}
		if n == tries || ctx.Err() != nil || !mends(err) {
			return c.classify(err)
		}
		c.ctx.Log.Warn("kafka: writing an epoch failed, trying again", "sink", c.ctx.Name, "err", err, "try", n)
		select {
		case <-c.wait(n):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// mends reports whether a try with a new client can be better.
func mends(err error) bool {
	if f, ok := errors.AsType[*flow.Failure](err); ok {
		return f.Retryable
	}
	for _, never := range []error{ErrReplaced, ErrUnknown, errStaged, errKilled, kerr.UnknownTopicOrPartition, kerr.MessageTooLarge,
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed, kerr.SaslAuthenticationFailed,
		kerr.InvalidTransactionTimeout} {
		if errors.Is(err, never) {
			return false
		}
	}
	return true
}

// errKilled is what tests end a commit with as the death of its process would.
var errKilled = errors.New("killed")

// classify makes a failure that says what to do.
func (c *committer) classify(err error) error {
	if _, ok := errors.AsType[*flow.Failure](err); ok {
		return err
	}
	f := &flow.Failure{Domain: flow.DomainExternal, Retryable: mends(err), Cause: err}
	switch {
	case errors.Is(err, kerr.ProducerFenced), errors.Is(err, kerr.InvalidProducerEpoch), errors.Is(err, kerr.InvalidTxnState), errors.Is(err, kerr.TransactionAbortable):
		return fmt.Errorf("the brokers ended the transaction: either it took longer than the %v of kafka.TransactionTimeout, or something else writes under the transactional id %q: %w",
			c.transaction, c.name(c.own), f)
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("a topic that records are staged for does not exist any more on the brokers %q; create it again, and start the job again: %w", c.brokers, f)
	case errors.Is(err, kerr.InvalidTransactionTimeout):
		f.Domain = flow.DomainUser
		return fmt.Errorf("kafka.TransactionTimeout is %v, which is more than the brokers allow (transaction.max.timeout.ms): %w", c.transaction, f)
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed), errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("the brokers %q refuse it; the sink needs WRITE and DESCRIBE on its topics and on the transactional id, and READ on the group and on the topic, %q: %w",
			c.brokers, c.name(c.own), f)
	case errors.Is(err, errStaged):
		return fmt.Errorf("%w; nothing of the epoch was written. Check the checkpoint storage, and go on from the checkpoint before this epoch: %w", errStaged, f)
	}
	return f
}

func decodeStaged(data []byte) (staged, error) {
	var s staged
	if len(data) == 0 {
		return s, nil
	}
	if err := msgpack.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("what was prepared can't be read: %w", err)
	}
	return s, nil
}

// Records counts the records of staged files.
func (c *committer) Records(prepared [][]byte) (int64, error) {
	var n int64
	for _, data := range prepared {
		s, err := decodeStaged(data)
		if err != nil {
			return 0, fmt.Errorf("kafka: counting records: %w", err)
		}
		n += s.Records
	}
	return n, nil
}

// Recover takes over the sink: a transaction that an older attempt has open is
// aborted, and the mark says from now on that this attempt writes, from the restored
// epoch on. So a run that begins anew, or goes back to an older checkpoint, does not
// take its epochs for those of the runs before it.
func (c *committer) Recover(ctx context.Context, restored flow.Epoch) error {
	err := c.try(ctx, c.own, func(ctx context.Context) error { return c.claim(ctx, restored) })
	if err != nil {
		return fmt.Errorf("kafka: starting sink %q: %w", c.ctx.Name, err)
	}
	c.claimed = true
	return nil
}

// Close drops the clients.
func (c *committer) Close() error {
	for _, s := range c.sessions {
		s.close()
	}
	clear(c.sessions)
	return nil
}
