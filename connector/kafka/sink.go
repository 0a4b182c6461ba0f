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
// Records are acknowledged by all in-sync replicas before their epoch ends, and
// are not written twice by repeated requests; after a failure those of the last
// epoch are written again.
func Sink[T any](brokers []string, topic string, encode Encoder[T], opts ...SinkOption) operator.Sink[T] {
	s := &sink[T]{encode: encode}
	s.ensureDefaults(brokers)
	s.topic = topic
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
	return operator.SinkInfo{Kind: "kafka", Attrs: attrs, Guarantee: graph.AtLeastOnce}
}

func (*sink[T]) Committer(*operator.CommitterContext) (operator.Committer, error) { return nil, nil }

func (s *sink[T]) Writer(ctx *operator.WriterContext) (operator.Writer[T], error) {
	if s.err != nil {
		return nil, s.err
	}
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
		kgo.WithHooks(w.outage),
	)
	if err != nil {
		w.cancel(nil)
		return nil, err
	}
	w.promise = w.acknowledged
	return w, nil
}

// writer hands messages to a producing client of its own.
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
		m, err := w.encode(b.Values[i])
		if err != nil {
			return fmt.Errorf("kafka: encoding record %d of this subtask: %w", w.count+1, &flow.Failure{Domain: flow.DomainUser, Cause: err})
		}
		w.count++
		if m.Topic == "" {
			if m.Topic = w.topic; m.Topic == "" {
				return fmt.Errorf("kafka: record %d of this subtask: neither the sink nor the message names a topic: %w",
					w.count, &flow.Failure{Domain: flow.DomainUser, Message: "set Message.Topic in the encoder, or give the sink a topic"})
			}
		}
		r := &records[i]
		r.Topic, r.Key, r.Value, r.Headers = m.Topic, m.Key, m.Value, m.Headers
		if m.Time == 0 {
			m.Time = b.Time(i)
		}
		if m.Time != flow.MinTime && m.Time != flow.MaxTime {
			r.Timestamp = time.UnixMilli(int64(m.Time.FloorTo(1000, 0)) / 1000)
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
