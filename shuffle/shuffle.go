package shuffle

import (
	"context"
	"errors"

	"github.com/weirflow/weir/flow"
)

// ErrClosed is returned by a sender whose consumer is gone. Callers may use
// errors.Is.
var ErrClosed = errors.New("shuffle: partition closed")

// DefaultCredit is the number of bytes that a partition holds when nothing else is
// said.
const DefaultCredit = 512 << 10

// DefaultBatchSize is the number of records after which a batch is sent.
const DefaultBatchSize = 1024

// DefaultBatchBytes is the number of bytes after which a batch is sent though it
// has fewer records.
const DefaultBatchBytes = 128 << 10

// Sender is the producer's end of one partition.
type Sender[T any] interface {
	// Buffer returns an empty batch to fill, with the memory of one that was
	// received where there is one.
	Buffer() *flow.Batch[T]
	// Send hands the batch over and takes its bytes off the credit, or what its
	// memory comes to if that is more. It blocks while there is no credit, until ctx
	// ends or the gate is closed. An empty batch is dropped.
	Send(ctx context.Context, b *flow.Batch[T], bytes int) error
	// Push is Send beyond the credit: it does not block. It is for what is collected
	// when a control record comes, at most one batch for each.
	Push(b *flow.Batch[T], bytes int) error
	// Control sends a control record. It needs no credit and does not block: the
	// number of control records under way is bounded by the engine, not by data.
	Control(c flow.Control)
	// Available reports whether Send would not block.
	Available() bool
	// Notify sets what is called, on any goroutine, when credit comes back after
	// Available was false, and when the gate is closed.
	Notify(f func())
}

// Receiver takes batches of T: what a gate feeds, and what operators and routers
// are.
type Receiver[T any] interface {
	// Receive handles the batch before it returns; the batch is lent.
	Receive(b *flow.Batch[T]) error
}

// Event is what a gate has next.
type Event struct {
	// Channel is the partition it came from: the producing subtask.
	Channel int
	// Records is the number of records that were handed to the receiver; the event
	// is a control record when it is 0.
	Records int
	Control flow.Control
}

// Gate is the consumer's end of one exchange for one task, with a channel for
// each producing subtask.
type Gate interface {
	// Attach sets the receiver of the batches: a Receiver of the gate's type.
	Attach(receiver any) error
	// Next takes the next batch or control record off some channel that is not
	// blocked. A batch is handed to the receiver before Next returns. ok is false
	// when there is none now.
	Next() (e Event, ok bool, err error)
	// Ready reports whether Next would find something.
	Ready() bool
	// Channels is the number of channels.
	Channels() int
	// Block stops and resumes taking from a channel: barriers are aligned with it.
	Block(channel int, blocked bool)
	// Notify sets what is called, on any goroutine, when an empty gate gets
	// something.
	Notify(f func())
	// Queued is the number of bytes that wait in the gate.
	Queued() int
	// Counts appends what was handed over so far, channel by channel, to dst.
	Counts(dst []Count) []Count
	Overtaken
	// Close makes senders fail with ErrClosed and drops what is queued.
	Close()
}

// Writer is the untyped face of a [Router]: what a task does with the output side
// of an exchange besides writing records.
type Writer interface {
	// Flush sends what is collected, as far as there is credit, and does not block.
	// The task calls it when it has nothing else to do, and again when Available may
	// have become true.
	Flush() error
	// Control sends what is collected, beyond the credit where there is none, and then
	// c on all partitions. It does not block.
	Control(c flow.Control) error
	// Available reports whether all partitions have credit.
	Available() bool
	// Notify sets what is called when Available may have become true.
	Notify(f func())
	// Counts appends what was sent so far, partition by partition, to dst. After a
	// control record that is all there was.
	Counts(dst []Count) []Count
}
