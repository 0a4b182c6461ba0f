package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// Sink writes to a topic, or to those that the messages name if topic is "".
//
// It is exactly-once: an epoch's records are staged beside the job's checkpoint, and
// written when the epoch is committed, in one short transaction that also records
// the epoch, as an offset of a consumer group that is named after the job and the
// sink. A repeat after a failure finds the epoch there and writes nothing. Readers
// who want committed records only (isolation.level=read_committed) see each record
// once, an epoch after it was written at the latest; they wait for no transaction
// longer than it takes to write one epoch.
//
// With [AtLeastOnce] records are written as they come. All in-sync replicas have
// acknowledged them before their epoch ends, and after a failure those of the last
// epoch are written again.
func Sink[T any](brokers []string, topic string, encode Encoder[T], opts ...SinkOption) operator.Sink[T] {
	s := &sink[T]{encode: encode}
	s.ensureDefaults(brokers)
	s.topic, s.maxMessage, s.transaction, s.prefix = topic, DefaultMaxMessage, DefaultTransaction, DefaultPrefix
	for _, o := range opts {
		o.applySink(&s.sinkOptions)
	}
	if encode == nil {
		s.refuse("the encoder is nil; take kafka.ToJSON, kafka.ToString, or a function")
	}
	return s
}

type sink[T any] struct {
	sinkOptions
	encode Encoder[T]
}

func (s *sink[T]) Info() operator.SinkInfo {
	attrs := []graph.Attr{{Key: "brokers", Value: strings.Join(s.brokers, ",")}}
	if s.topic != "" {
		attrs = append(attrs, graph.Attr{Key: "topic", Value: s.topic})
	}
	guarantee := graph.ExactlyOnce
	if s.atLeastOnce {
		guarantee = graph.AtLeastOnce
	}
	return operator.SinkInfo{Kind: "kafka", Attrs: attrs, Guarantee: guarantee}
}

// Committer makes the job's side; there is none with AtLeastOnce.
func (s *sink[T]) Committer(ctx *operator.CommitterContext) (operator.Committer, error) {
	switch {
	case s.err != nil:
		return nil, s.err
	case s.atLeastOnce:
		return nil, nil
	}
	return newCommitter(&s.sinkOptions, ctx), nil
}

func (s *sink[T]) Writer(ctx *operator.WriterContext) (operator.Writer[T], error) {
	switch {
	case s.err != nil:
		return nil, s.err
	case s.atLeastOnce:
		return newDirectWriter(s, ctx)
	case ctx.Staging == nil:
		return nil, errors.New("kafka: this run has no place to stage records until their epoch is committed; use kafka.AtLeastOnce to write them at once")
	}
	return newStageWriter(s, ctx), nil
}

// encodeOne makes a message of a value. count is the number of those before it.
func (s *sink[T]) encodeOne(v T, count *int64) (Message, error) {
	m, err := s.encode(v)
	*count++
	if err != nil {
		return m, fmt.Errorf("kafka: encoding record %d of this subtask: %w", *count, &flow.Failure{Domain: flow.DomainUser, Cause: err})
	}
	if m.Topic == "" {
		if m.Topic = s.topic; m.Topic == "" {
			return m, fmt.Errorf("kafka: record %d of this subtask: neither the sink nor the message names a topic: %w",
				*count, &flow.Failure{Domain: flow.DomainUser, Message: "set Message.Topic in the encoder, or give the sink a topic"})
		}
	}
	return m, nil
}

// messageTime is a message's timestamp in milliseconds; there may be none.
func messageTime(m *Message, event flow.Time) (milli int64, ok bool) {
	t := m.Time
	if t == 0 {
		t = event
	}
	if t == flow.MinTime || t == flow.MaxTime {
		return 0, false
	}
	return int64(t.FloorTo(1000, 0)) / 1000, true
}

func newDirectWriter[T any](s *sink[T], ctx *operator.WriterContext) (operator.Writer[T], error) {
	w := &writer[T]{sink: s, task: ctx}
	w.ctx, w.cancel = context.WithCancelCause(ctx.Context)
	w.outage = &outage{limit: s.clientOptions.outage, brokers: s.brokers, log: ctx.Log, metrics: ctx.Metrics}
	// Calls to the client block during an outage: they are ended through ctx.
	w.outage.over = func() { w.cancel(w.outage.failure()) }
	var err error
	w.client, err = s.client(
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0), // batches form while requests are under way
		kgo.MaxBufferedBytes(s.buffer),
		kgo.MaxBufferedRecords(1<<30), // the bytes are the bound
		kgo.ProducerBatchMaxBytes(s.maxMessage),
		kgo.WithHooks(w.outage),
	)
	if err != nil {
		w.cancel(nil)
		return nil, err
	}
	w.promise = w.acknowledged
	return w, nil
}

// writer is the task's side of an at-least-once sink: it hands messages to a
// producing client of its own.
type writer[T any] struct {
	*sink[T]
	task    *operator.WriterContext
	ctx     context.Context
	cancel  context.CancelCauseFunc
	client  *kgo.Client
	outage  *outage
	promise func(*kgo.Record, error)
	failed  atomic.Pointer[error] // the first error of a record
	count   int64                 // records written, for messages
}

func (w *writer[T]) Write(b *flow.Batch[T]) error {
	records := make([]kgo.Record, b.Len()) // they are the client's until acknowledged
	for i := range b.Values {
		m, err := w.encodeOne(b.Values[i], &w.count)
		if err != nil {
			return err
		}
		r := &records[i]
		r.Topic, r.Key, r.Value, r.Headers = m.Topic, m.Key, m.Value, m.Headers
		if milli, ok := messageTime(&m, b.Time(i)); ok {
			r.Timestamp = time.UnixMilli(milli)
		}
		w.client.Produce(w.ctx, r, w.promise)
		w.task.Metrics.Bytes.Add(int64(len(m.Key) + len(m.Value)))
	}
	return w.failure()
}

// acknowledged is called by the client, for each record.
func (w *writer[T]) acknowledged(r *kgo.Record, err error) {
	if err == nil || w.failed.Load() != nil {
		return
	}
	f := &flow.Failure{Domain: flow.DomainExternal, Cause: err, Retryable: kerr.IsRetriable(err)}
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		f.Domain, f.Retryable = flow.DomainUser, false
		err = fmt.Errorf("kafka: topic %q does not exist on the brokers %q; create it first, or correct the name: %w", r.Topic, w.brokers, f)
	case errors.Is(err, kerr.MessageTooLarge):
		err = fmt.Errorf("kafka: writing to topic %q: a record of %d bytes is too large; raise the topic's max.message.bytes, or write less: %w",
			r.Topic, len(r.Key)+len(r.Value), f)
	default:
		err = fmt.Errorf("kafka: writing to topic %q of the brokers %q: %w", r.Topic, w.brokers, f)
	}
	w.failed.CompareAndSwap(nil, &err)
}

// failure is the first error, if there was one. That of an outage goes before
// those of the records which it ended.
func (w *writer[T]) failure() error {
	if err := w.outage.failure(); err != nil {
		return err
	}
	if err := w.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Idle has nothing to do: records are under way already.
func (*writer[T]) Idle() error { return nil }

// Prepare waits until all that was written is acknowledged.
func (w *writer[T]) Prepare(b flow.Barrier) ([]byte, error) {
	err := w.client.Flush(w.ctx)
	if failure := w.failure(); failure != nil {
		return nil, failure
	}
	if err != nil {
		return nil, fmt.Errorf("kafka: writing all of %s: %w", b, err)
	}
	return nil, nil
}

func (*writer[T]) Tick(flow.Time) error { return nil }

// Close drops what is not acknowledged: it is of an epoch that did not end.
func (w *writer[T]) Close() error {
	w.cancel(context.Canceled)
	w.outage.close()
	w.client.Close()
	return nil
}
