package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// rollStaged is the size at which a staged file is ended and another begun: what a
// storage has to take in one piece stays small.
const rollStaged = 256 << 20

// staged is what a writer prepares: msgpack, see docs/format/kafka.md. It names its
// origin because a job that is started from another one's savepoint commits what
// that one had prepared, and must not do it twice.
type staged struct {
	Job      string       `msgpack:"job"`
	Operator string       `msgpack:"operator"`
	Attempt  flow.Attempt `msgpack:"attempt"`
	Subtask  int          `msgpack:"subtask"`
	Records  int64        `msgpack:"records"`
	// Topics are those that the messages are for, sorted.
	Topics []stagedTopic `msgpack:"topics"`
	Files  []stagedFile  `msgpack:"files"`
}

type stagedTopic struct {
	Name string `msgpack:"name"`
	// Limit is the largest batch that the topic takes, in bytes.
	Limit int32 `msgpack:"limit"`
}

type stagedFile struct {
	File    checkpoint.File `msgpack:"file"`
	Records int64           `msgpack:"records"`
}

// stageWriter is the task's side of an exactly-once sink: it stages messages, and
// sees to it that none is staged which the brokers would refuse later, when the epoch
// is committed and nothing can be taken back.
type stageWriter[T any] struct {
	*sink[T]
	task   *operator.WriterContext
	file   operator.StagedWriter // nil until there is a message
	stager stager
	inFile int64 // messages in file
	now    staged
	limits map[string]int32 // of topics that were looked at
	last   string           // the topic of the last message, which is in now.Topics
	lastN  int32            // its limit
	count  int64            // messages written, for errors
}

func newStageWriter[T any](s *sink[T], ctx *operator.WriterContext) *stageWriter[T] {
	w := &stageWriter[T]{sink: s, task: ctx, limits: map[string]int32{}}
	w.begin()
	return w
}

func (w *stageWriter[T]) begin() {
	w.now = staged{Job: string(w.task.Job), Operator: string(w.task.Operator), Attempt: w.task.Attempt, Subtask: w.task.Subtask}
	w.last = ""
}

func (w *stageWriter[T]) Write(b *flow.Batch[T]) error {
	var bytes int64
	for i := range b.Values {
		m, err := w.encodeOne(b.Values[i], &w.count)
		if err != nil {
			return err
		}
		if m.Topic != w.last {
			if err := w.enter(m.Topic); err != nil {
				return err
			}
		}
		if n := batchBytes(&m); n > int64(w.lastN) {
			return w.tooLarge(m.Topic, n, w.lastN)
		}
		if w.file == nil {
			name := fmt.Sprintf("kafka-%s-%d", w.task.Operator, w.task.Subtask)
			if w.file, err = w.task.Staging.Create(w.task.Context, name); err != nil {
				return fmt.Errorf("kafka: staging for topic %q: %w", m.Topic, err)
			}
			w.stager, w.inFile = stager{w: w.file, block: w.stager.block[:0], packed: w.stager.packed}, 0
		}
		milli, timed := messageTime(&m, b.Time(i))
		if err := w.stager.add(m.Topic, &m, milli, timed); err != nil {
			return fmt.Errorf("kafka: staging for topic %q: %w", m.Topic, err)
		}
		w.inFile++
		bytes += int64(len(m.Key) + len(m.Value))
		if w.stager.written >= rollStaged {
			if err := w.end(); err != nil {
				return err
			}
		}
	}
	w.task.Metrics.Bytes.Add(bytes)
	return nil
}

// batchBytes is the size of a batch with only m in it, at most.
func batchBytes(m *Message) int64 {
	const overhead = 61 + 5 + 1 + 10 + 5 + 5 + 5 + 5 // of a batch, and of a record's numbers
	n := int64(overhead + len(m.Key) + len(m.Value))
	for _, h := range m.Headers {
		n += int64(10 + len(h.Key) + len(h.Value))
	}
	return n
}

func (w *stageWriter[T]) tooLarge(topic string, n int64, limit int32) error {
	return fmt.Errorf("kafka: writing to topic %q: a record of %d bytes is too large, the limit is %d; raise the topic's max.message.bytes and kafka.MaxMessage, or write less: %w",
		topic, n, limit, &flow.Failure{Domain: flow.DomainUser, Cause: kerr.MessageTooLarge})
}

// enter makes sure that a topic can take messages.
func (w *stageWriter[T]) enter(topic string) error {
	limit, ok := w.limits[topic]
	if !ok {
		var err error
		if limit, err = w.look(topic); err != nil {
			return err
		}
		if len(w.limits) >= maxTopics {
			clear(w.limits)
		}
		w.limits[topic] = limit
	}
	w.last, w.lastN = topic, limit
	at, ok := slices.BinarySearchFunc(w.now.Topics, topic, func(t stagedTopic, name string) int { return strings.Compare(t.Name, name) })
	if !ok {
		w.now.Topics = slices.Insert(w.now.Topics, at, stagedTopic{topic, limit})
	}
	return nil
}

// maxTopics bounds what is remembered of topics.
const maxTopics = 10_000

// look asks the brokers for a topic and its limit.
func (w *stageWriter[T]) look(topic string) (int32, error) {
	client, err := w.client()
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(w.task.Context, w.contact())
	defer cancel()
	adm := kadm.NewClient(client)
	if _, err := w.topicID(ctx, adm, topic); err != nil {
		return 0, err
	}
	limit := w.maxMessage
	configs, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return limit, nil //nolint:nilerr // to read settings may be forbidden; the limit is then the default one
	}
	for _, c := range configs {
		for _, kv := range c.Configs {
			if kv.Key == "max.message.bytes" && kv.Value != nil {
				if n, err := strconv.ParseInt(*kv.Value, 10, 32); err == nil && n > 0 {
					limit = min(limit, int32(n))
				}
			}
		}
	}
	return limit, nil
}

// topicID asks for a topic's id; it is an error if there is no such topic.
func (o *clientOptions) topicID(ctx context.Context, adm *kadm.Client, topic string) (kadm.TopicID, error) {
	topics, err := adm.ListTopicsWithInternal(ctx, topic)
	if err != nil {
		return kadm.TopicID{}, o.failure(fmt.Sprintf("looking for topic %q", topic), err)
	}
	t, ok := topics[topic]
	switch {
	case !ok || errors.Is(t.Err, kerr.UnknownTopicOrPartition):
		return kadm.TopicID{}, fmt.Errorf("kafka: topic %q does not exist on the brokers %q; create it first, or correct the name: %w",
			topic, o.brokers, &flow.Failure{Domain: flow.DomainUser, Cause: kerr.UnknownTopicOrPartition})
	case t.Err != nil:
		return kadm.TopicID{}, o.failure(fmt.Sprintf("looking for topic %q", topic), t.Err)
	}
	return t.ID, nil
}

// end makes the file part of the epoch.
func (w *stageWriter[T]) end() error {
	if w.file == nil {
		return nil
	}
	if err := w.stager.flush(); err != nil {
		return fmt.Errorf("kafka: staging: %w", err)
	}
	f, err := w.file.Commit()
	if err != nil {
		return fmt.Errorf("kafka: staging: %w", err)
	}
	w.now.Files = append(w.now.Files, stagedFile{f, w.inFile})
	w.now.Records += w.inFile
	w.file = nil
	return nil
}

// Idle has nothing to do: what is staged shows only after a commit.
func (*stageWriter[T]) Idle() error { return nil }

// Prepare ends the epoch's files.
func (w *stageWriter[T]) Prepare(b flow.Barrier) ([]byte, error) {
	if err := w.end(); err != nil {
		return nil, err
	}
	if w.now.Records == 0 {
		return nil, nil
	}
	data, err := msgpack.Marshal(&w.now)
	if err != nil {
		return nil, fmt.Errorf("kafka: preparing %s: %w", b, err)
	}
	w.begin()
	return data, nil
}

func (*stageWriter[T]) Tick(flow.Time) error { return nil }

// Close drops what is in no epoch.
func (w *stageWriter[T]) Close() error {
	if w.file != nil {
		w.file.Abort()
		w.file = nil
	}
	return nil
}
