package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirflow/weir/flow"
)

// Lost says what a source does when the records at its position are not in the log
// any more; see [IfLost].
type Lost uint8

const (
	// LostFails fails the job. The default.
	LostFails Lost = iota
	// LostEarliest goes on with the oldest record that there is.
	LostEarliest
	// LostLatest goes on with what is written from now on.
	LostLatest
)

// IfLost sets what is done when retention has deleted records before they were read.
// What is left out then is told in the log.
func IfLost(l Lost) SourceOption { return sourceOption(func(o *sourceOptions) { o.lost = l }) }

// reset is what the client does with an offset that is out of range.
func (l Lost) reset() kgo.Offset {
	switch l {
	case LostEarliest:
		return kgo.NewOffset().AtStart()
	case LostLatest:
		return kgo.NewOffset().AtEnd()
	}
	return kgo.NoResetOffset()
}

// checkEvery is the pause between two tries to look at the topics.
const checkEvery = 250 * time.Millisecond

// check looks at partitions before the first record of them is handed on: whether
// they are of the topic that their positions were taken of, and not of one that has
// got its name since; and whether the positions are in the log. It waits out an
// outage, and ends with ctx.
func (r *reader[T]) check(ctx context.Context, ps []position) error {
	admin := kadm.NewClient(r.client)
	var topics []string
	seen := map[string]bool{}
	for _, p := range ps {
		if !seen[p.Topic] {
			seen[p.Topic] = true
			topics = append(topics, p.Topic)
		}
	}
	for {
		err := r.look(ctx, admin, topics, ps)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if f := flow.FailureOf(err); f != nil && !f.Retryable {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(checkEvery):
		}
	}
}

func (r *reader[T]) look(ctx context.Context, admin *kadm.Client, topics []string, ps []position) error {
	ctx, cancel := context.WithTimeout(ctx, r.contact())
	defer cancel()
	there, err := admin.ListTopicsWithInternal(ctx, topics...)
	if err != nil {
		return r.failure("looking for topics", err)
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return r.failure("listing offsets", err)
	}
	for _, p := range ps {
		t, ok := there[p.Topic]
		if !ok || errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("kafka: %s does not exist any more on the brokers %q; was the topic deleted? %w",
				p.partition(), r.brokers, &flow.Failure{Domain: flow.DomainExternal, Cause: kerr.UnknownTopicOrPartition})
		}
		if t.Err != nil {
			return r.failure(fmt.Sprintf("looking for topic %q", p.Topic), t.Err)
		}
		if none := (kadm.TopicID{}); t.ID != none && p.ID != none && t.ID != p.ID {
			return fmt.Errorf("kafka: topic %q was deleted and created again since the job read it: offset %d of %s is of the old one (id %s, now %s); start the job anew to read the new one: %w",
				p.Topic, p.Next, p.partition(), kadm.TopicID(p.ID), t.ID, &flow.Failure{Domain: flow.DomainExternal, Cause: kerr.InconsistentTopicID})
		}
		start, ok := starts.Lookup(p.Topic, p.Partition)
		if !ok || start.Err != nil {
			return r.failure(fmt.Sprintf("listing the first offset of %s", p.partition()), errors.Join(start.Err, kerr.LeaderNotAvailable))
		}
		if p.Earliest || p.Next >= start.Offset {
			continue
		}
		if r.lost == LostFails {
			return lostPosition(p.partition(), &flow.Failure{Domain: flow.DomainExternal, Cause: kerr.OffsetOutOfRange})
		}
		r.ctx.Log.Warn("kafka: records were deleted before they were read", "partition", p.partition().String(), "from", p.Next, "to", start.Offset)
	}
	return nil
}

func lostPosition(p Partition, f *flow.Failure) error {
	return fmt.Errorf("kafka: reading %s: the offset to go on from is not in the log any more (or not yet): "+
		"records were deleted by retention before they were read, or lost by the brokers; "+
		"start the job anew with another start, raise the topic's retention, or choose kafka.IfLost to go on without them: %w", p, f)
}
