package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirflow/weir/flow"
)

// mark says which epoch was written last. It is kept as an offset that a group has
// committed for a partition of the sink's topic: the offset is the epoch, the
// metadata the rest.
type mark struct {
	attempt flow.Attempt
	epoch   flow.Epoch
	// nonce tells runs of a job apart whose attempts have the same numbers: those
	// without a checkpoint directory, or with another one.
	nonce string
	// topic and partition are where it is kept; topic is "" where there is no mark.
	topic     string
	partition int32
	id        kadm.TopicID
}

// covers reports whether epoch e of an attempt has been written, or never will have
// to be. Attempts are numbered on and on; the epochs of a newer one may begin again
// from an older epoch, when a person goes back.
func (m *mark) covers(e mark) bool {
	if m.topic == "" {
		return false
	}
	if m.attempt != e.attempt {
		return m.attempt > e.attempt
	}
	return m.epoch >= e.epoch
}

const markFormat = "weir 1 attempt=%d nonce=%s"

func (m *mark) metadata() string { return fmt.Sprintf(markFormat, m.attempt, m.nonce) }

// parseMark reads a group's offset; ok is false where a mark is none of ours.
func parseMark(o kadm.Offset) (mark, bool) {
	m := mark{epoch: flow.Epoch(max(o.At, 0)), topic: o.Topic, partition: o.Partition, id: o.TopicID}
	if _, err := fmt.Sscanf(o.Metadata, markFormat, &m.attempt, &m.nonce); err != nil {
		return mark{}, false
	}
	return m, true
}

// readMark asks for a group's mark: the newest, where the topic it is kept with has
// changed. It waits for transactions that are about to change it.
func (s *session) readMark(ctx context.Context) (mark, error) {
	offsets, err := s.admin.FetchOffsets(kadm.RequireStable(ctx), s.group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return mark{}, nil
	}
	if err != nil {
		return mark{}, fmt.Errorf("reading the offsets of group %q: %w", s.group, err)
	}
	var newest mark
	for _, o := range offsets.Sorted() {
		if o.Err != nil {
			return mark{}, fmt.Errorf("reading the offset of group %q for %s/%d: %w", s.group, o.Topic, o.Partition, o.Err)
		}
		if m, ok := parseMark(o.Offset); ok && !newest.covers(m) {
			newest = m
		}
	}
	return newest, nil
}

// putMark keeps a mark outside of a transaction.
func (s *session) putMark(ctx context.Context, m mark) error {
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: m.topic, TopicID: m.id, Partition: m.partition, At: int64(m.epoch), LeaderEpoch: -1, Metadata: m.metadata()})
	if err := s.admin.CommitAllOffsets(ctx, s.group, offsets); err != nil {
		return fmt.Errorf("committing the offset of group %q: %w", s.group, err)
	}
	return nil
}

// addMark makes a mark part of the open transaction, which the producer's id and its
// epoch stand for. The client may have taken another epoch of its own accord, to mend
// an error; then the records are of an aborted transaction and the mark would be alone.
func (s *session) addMark(ctx context.Context, m mark, id int64, epoch int16) error {
	nowID, nowEpoch, err := s.client.ProducerID(ctx)
	if err != nil {
		return fmt.Errorf("the producer's id: %w", err)
	}
	if nowID != id || nowEpoch != epoch {
		return fmt.Errorf("the producer's id was %d in epoch %d when the transaction began and is %d in %d: %w", id, epoch, nowID, nowEpoch, kerr.TransactionAbortable)
	}
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = s.group, id, epoch, s.group
	err = s.concurrent(ctx, func() error {
		added, err := add.RequestWith(ctx, s.client)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(added.ErrorCode)
	})
	if err != nil {
		return fmt.Errorf("adding the offset of group %q to the transaction: %w", s.group, err)
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = s.group, s.group, id, epoch
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = m.partition, int64(m.epoch), -1, kmsg.StringPtr(m.metadata())
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic, t.TopicID = m.topic, m.id
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	err = s.concurrent(ctx, func() error {
		resp, err := req.RequestWith(ctx, s.client)
		if err != nil {
			return err
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("committing the offset of group %q in the transaction: %w", s.group, err)
	}
	return nil
}
