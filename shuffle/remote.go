package shuffle

import (
	"context"

	"github.com/weirflow/weir/flow"
)

// Inlet is a channel of a gate that a transport feeds for a producer in another
// process: what came over the network is pushed into it.
type Inlet[T any] interface {
	Sender[T]
	// Watch sets what is called without a lock: taken on the consumer's goroutine,
	// for each batch in order, when its bytes are free again; closed once, when the
	// gate is closed. It is called before the first batch.
	Watch(taken, closed func())
	// Fail makes the gate's Next return err from now on: what would follow on this
	// channel will never come. It does not block, and may be called on any goroutine.
	Fail(err error)
}

// Sharer is a [Sender] that encodes. What one of them has encoded can be sent by
// others too, so that a broadcast encodes a batch once.
type Sharer[T any] interface {
	Sender[T]
	// Share encodes the batch and takes its memory. bytes is as with Send. nil is an
	// empty batch.
	Share(b *flow.Batch[T], bytes int) (Shared, error)
	// SendShared is Send, and PushShared Push, of what is encoded already.
	SendShared(ctx context.Context, s Shared) error
	PushShared(s Shared) error
	// Shares reports whether both can send the same encoded batch.
	Shares(o Sender[T]) bool
}

// Shared is a batch in the form in which it travels.
type Shared interface {
	// Release gives up the caller's share. Its memory is used again when all who send
	// it have sent it.
	Release()
}

// Faulty is a [Sender] that can fail without being called. A Writer asks for it when
// it is flushed: its task may have nothing to send for long.
type Faulty interface {
	// Fault is why nothing can be sent any more; nil while it can, and after the gate
	// was closed.
	Fault() error
}
