package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirflow/weir/flow"
)

// claim is Recover, once.
func (c *committer) claim(ctx context.Context, restored flow.Epoch) error {
	s, err := c.session(ctx, c.own)
	if err != nil {
		return err
	}
	ctx, done := s.guard(ctx)
	defer done()
	m := mark{attempt: c.ctx.Attempt, epoch: restored, nonce: c.nonce, topic: c.topic}
	if c.topic != "" {
		// A topic that is not there is told before the brokers keep anything of us.
		if m.id, err = c.topicID(ctx, s.admin, c.topic); err != nil {
			return err
		}
	}
	if err := c.seize(ctx, s); err != nil {
		return err
	}
	if s.mark.attempt > c.ctx.Attempt {
		c.ctx.Log.Info("kafka: the sink was written by a run of the job with more attempts than this one; was its checkpoint directory left behind?",
			"sink", c.ctx.Name, "group", s.group, "attempt", c.ctx.Attempt, "was", s.mark.attempt)
	}
	if m.topic == "" && s.mark.topic != "" {
		m.topic, m.partition = s.mark.topic, s.mark.partition
		if m.id, err = c.topicID(ctx, s.admin, m.topic); err != nil {
			return err
		}
	}
	if m.topic == "" {
		// Messages name the topics and none has been written: the mark comes with the
		// first epoch.
		return nil
	}
	if old := s.mark.topic; old != "" && old != m.topic {
		// The sink has another topic now. A mark that stays behind could be the newer one.
		gone := s.mark
		gone.attempt, gone.epoch, gone.nonce = 0, 0, c.nonce
		if err := s.putMark(ctx, gone); err != nil {
			return err
		}
	}
	if err := s.putMark(ctx, m); err != nil {
		return err
	}
	s.mark, c.kept[c.own] = m, true
	return c.step("claimed")
}

// write writes one epoch of an origin in a transaction, unless the mark covers it.
func (c *committer) write(ctx context.Context, o origin, at mark, parts []staged) error {
	s, err := c.session(ctx, o)
	if err != nil {
		return err
	}
	ctx, done := s.guard(ctx)
	defer done()
	if s.mark.topic != "" { // what is written stays so: nobody needs to be fenced off
		if done, err := c.written(s, o, at); done || err != nil {
			return err
		}
	}
	if err := c.seize(ctx, s); err != nil {
		return err
	}
	if done, err := c.written(s, o, at); done || err != nil {
		return err
	}
	at.nonce, at.topic, at.partition, at.id = s.mark.nonce, s.mark.topic, s.mark.partition, s.mark.id
	if o == c.own && c.claimed {
		at.nonce = c.nonce
	}
	if at.nonce == "" {
		at.nonce = "-"
	}
	if at.topic == "" {
		if at.topic = c.topic; at.topic == "" {
			at.topic = parts[0].Topics[0].Name
		}
		if at.id, err = c.topicID(ctx, s.admin, at.topic); err != nil {
			return err
		}
	}
	if err := c.transact(ctx, s, at, parts); err != nil {
		return err
	}
	s.mark, c.kept[o] = at, true
	return c.step("ended")
}

// written reports whether the epoch has been written, as far as the session knows.
func (c *committer) written(s *session, o origin, at mark) (bool, error) {
	mine := o == c.own && c.claimed
	if s.mark.topic != "" {
		if mine && s.mark.nonce != c.nonce {
			return false, fmt.Errorf("%w: group %q says so (attempt %d, epoch %d; this is attempt %d); a job must run once only, give the other a name of its own",
				ErrReplaced, s.group, s.mark.attempt, s.mark.epoch, c.ctx.Attempt)
		}
		return s.mark.covers(at), nil
	}
	// A sink with a topic puts a mark when it starts. Where messages name the topics it
	// comes with the first epoch, so that there may rightly be none.
	first := o == c.own && !c.claimed && at.attempt == c.ctx.Attempt
	if !c.kept[o] && (c.topic == "" || first) {
		return false, nil
	}
	switch c.unknown {
	case UnknownWrites:
		return false, nil
	case UnknownSkips:
		c.ctx.Log.Warn("kafka: an epoch is not written, as it is not known whether it was", "sink", c.ctx.Name, "epoch", at.epoch)
		return true, nil
	}
	return false, fmt.Errorf("%w: group %q has no offset any more, so nobody knows whether epoch %d was written; "+
		"was the topic or the group deleted, or did the job stand still for longer than the brokers' offsets.retention.minutes? "+
		"Look whether the records are there, and start with kafka.IfUnknown(kafka.UnknownSkips) or (kafka.UnknownWrites)", ErrUnknown, s.group, at.epoch)
}

// transact writes the staged messages and the mark.
func (c *committer) transact(ctx context.Context, s *session, at mark, parts []staged) error {
	limits := maps.Clone(*s.limits.Load())
	for _, p := range parts {
		for _, t := range p.Topics {
			limits[t.Name] = t.Limit
		}
	}
	s.limits.Store(&limits)
	began := time.Now()
	if err := s.client.BeginTransaction(); err != nil {
		return fmt.Errorf("beginning the transaction: %w", err)
	}
	s.inTxn = true
	id, idEpoch, err := s.client.ProducerID(ctx)
	if err != nil {
		return fmt.Errorf("the producer's id: %w", err)
	}
	if err := c.step("begun"); err != nil {
		return s.dead(err)
	}
	// The first error ends the calls that wait for room, too.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var failed atomic.Pointer[error]
	promise := func(r *kgo.Record, err error) {
		if err != nil {
			err = fmt.Errorf("writing to topic %q: %w", r.Topic, err)
			if failed.CompareAndSwap(nil, &err) {
				cancel(err)
			}
		}
	}
	for _, p := range parts {
		for _, f := range p.Files {
			err := c.produce(ctx, s, f, promise)
			if e := failed.Load(); e != nil {
				return *e
			}
			if err != nil {
				return fmt.Errorf("subtask %d: %w", p.Subtask, err)
			}
			if err := c.step("file"); err != nil {
				return s.dead(err)
			}
		}
	}
	err = s.client.Flush(ctx)
	if e := failed.Load(); e != nil {
		return *e
	}
	if err != nil {
		return fmt.Errorf("waiting for the last records to be acknowledged: %w", cause(ctx, err))
	}
	if err := c.step("flushed"); err != nil {
		return s.dead(err)
	}
	if err := s.addMark(ctx, at, id, idEpoch); err != nil {
		return err
	}
	if err := c.step("marked"); err != nil {
		return s.dead(err)
	}
	if err := s.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("committing the transaction after %v: %w", time.Since(began).Round(time.Millisecond), cause(ctx, err))
	}
	s.inTxn = false
	// The client says so, too, where by its own account there was nothing to commit, and
	// aborts then: franz-go 1.22.2 was seen to do that on a busy machine with records
	// that had been acknowledged. What the brokers have is what counts.
	var now mark
	err = s.concurrent(ctx, func() (err error) { // the offset may take a moment to settle
		now, err = s.readMark(ctx)
		return err
	})
	if err == nil && !now.covers(at) {
		err = fmt.Errorf("the transaction was to leave epoch %d in group %q, which has %d: %w", at.epoch, s.group, now.epoch, kerr.TransactionAbortable)
	}
	return err
}

// dead is a death between two steps, of tests: nothing is aborted.
func (s *session) dead(err error) error {
	s.inTxn = false
	return err
}

func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil && errors.Is(err, ctx.Err()) {
		return why
	}
	return err
}

// produce hands a staged file's messages to the client, which holds at most its
// buffer of them.
func (c *committer) produce(ctx context.Context, s *session, f stagedFile, promise func(*kgo.Record, error)) error {
	if c.ctx.Staging == nil {
		return errors.New("this run has no checkpoint storage to read staged records from")
	}
	r, err := c.ctx.Staging.Open(ctx, f.File)
	if err != nil {
		return fmt.Errorf("opening the staged file %q: %w", f.File.Blob, err)
	}
	n, err := readStaged(r, func(m Message, milli int64, timed bool) error {
		rec := &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers}
		if timed {
			rec.Timestamp = time.UnixMilli(milli)
		}
		s.client.Produce(ctx, rec, promise)
		return ctx.Err()
	})
	err = errors.Join(err, r.Close())
	if err == nil && n != f.Records {
		err = fmt.Errorf("%w: it has %d records, not %d", errStaged, n, f.Records)
	}
	if err != nil {
		return fmt.Errorf("reading the staged file %q: %w", f.File.Blob, cause(ctx, err))
	}
	return nil
}
