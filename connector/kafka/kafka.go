// Package kafka reads and writes the topics of Apache Kafka and of what speaks
// its protocol.
//
// Its words are Kafka's: a topic has partitions, a partition is a log of records
// with offsets. A split is a partition, from an offset on, to an end offset or for
// ever. The same source is a stream where it has no end, and a finite one where
// it has. An outage is the time in which no broker answers.
//
// Invariants:
//
//  1. Each record of a split is returned once, in the order of the offsets; a
//     position is the offset after the last one that was looked at, whether it was
//     a record, a transaction's marker, or a bad record that was skipped.
//  2. An outage changes nothing but the time: reading goes on at the position. A
//     position that the brokers no longer have is an error, never a jump.
//  3. What is fetched and not yet read is bounded in bytes, and so is what is
//     written and not yet acknowledged. A paused split's records do not keep the
//     others from being fetched.
//  4. A sink's epoch is written in one transaction, after it was committed, together
//     with a mark that says so; no transaction is open while an epoch is filled. With
//     AtLeastOnce, all that was written before the end of an epoch has been
//     acknowledged by all in-sync replicas then.
//  5. A position belongs to a topic, not to its name: one that was created again is
//     an error.
//
// A reader owns one client and one goroutine, which polls it and puts what it
// gets into the reader's inbox; another one tells a group's offsets where that is
// asked for. Close ends them. All else runs on the task's goroutine, that of the
// committer, and the client's hooks on the client's.
package kafka

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirflow/weir/flow"
)

// Record is what a decoder is given. Its memory stays valid and may be kept, but
// must not be changed.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       []byte // nil where there is none
	Value     []byte // nil for a tombstone
	Headers   []Header
	// Time is the record's timestamp, as its producer or the broker set it;
	// flow.MinTime where it has none.
	Time flow.Time
}

// Header is a key with a value beside a record.
type Header = kgo.RecordHeader

// Where names the record's place.
func (r *Record) Where() string { return where(r.Topic, r.Partition, r.Offset) }

func where(topic string, partition int32, offset int64) string {
	return fmt.Sprintf("topic %q, partition %d, offset %d", topic, partition, offset)
}

// Partition names one partition.
type Partition struct {
	Topic     string
	Partition int32
}

// String is "topic/partition".
func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// Message is what an encoder makes of a value. Its memory must stay unchanged
// until the epoch ends.
type Message struct {
	// Topic is "" for the sink's own topic.
	Topic string
	// Key chooses the partition, as Kafka's own clients do; without one, records
	// are spread.
	Key     []byte
	Value   []byte
	Headers []Header
	// Time is the record's timestamp. Where it is 0 the record's event time is
	// taken, and where there is none the time of writing.
	Time flow.Time
}
