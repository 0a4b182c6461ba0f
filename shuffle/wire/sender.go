package wire

import (
	"context"
	"fmt"
	"sync"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/shuffle"
)

// Sender is the producer's end of a partition whose consumer is in another process. It
// implements shuffle.Sharer and shuffle.Faulty.
type Sender[T any] struct {
	outbound
	e     *Endpoint
	codec *codec.Codec[T]
	clear bool // records hold pointers
	size  int
	free  []*flow.Batch[T]
}

// mostFree is how many batches wait to be filled again: one is filled while none is sent.
const mostFree = 2

// NewSender makes the producer's end of a partition whose consumer is at peer, an address of
// its endpoint. It does not wait for the connection: the sender has no credit until the
// consumer has attached the partition. It is to be closed.
func NewSender[T any](e *Endpoint, peer string, id PartitionID, opt SenderOptions) (*Sender[T], error) {
	c, err := codec.For[T]()
	if err != nil {
		return nil, fmt.Errorf("shuffle/wire: %s: %w", id, err)
	}
	schema, err := fingerprint(c.Schema())
	if err != nil {
		return nil, err
	}
	if opt.BatchSize <= 0 {
		opt.BatchSize = shuffle.DefaultBatchSize
	}
	s := &Sender[T]{e: e, codec: c, clear: !c.Pointerless(), size: opt.BatchSize}
	if err := e.open(&s.outbound, peer, id, schema); err != nil {
		return nil, err
	}
	return s, nil
}

// Buffer returns an empty batch.
func (s *Sender[T]) Buffer() *flow.Batch[T] {
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b
	}
	return &flow.Batch[T]{Values: make([]T, 0, s.size)}
}

// recycle keeps the memory of a batch that was encoded.
func (s *Sender[T]) recycle(b *flow.Batch[T]) {
	if len(s.free) == mostFree {
		return
	}
	if s.clear {
		b.Reset()
	} else {
		b.Truncate()
	}
	s.free = append(s.free, b)
}

// Send waits for credit, encodes the batch and queues it.
func (s *Sender[T]) Send(ctx context.Context, b *flow.Batch[T], bytes int) error {
	if len(b.Values) == 0 {
		s.recycle(b)
		return nil
	}
	if err := s.acquire(ctx); err != nil {
		return err
	}
	return s.send(b, bytes, false)
}

// Push encodes the batch and queues it, credit or not.
func (s *Sender[T]) Push(b *flow.Batch[T], bytes int) error {
	if len(b.Values) == 0 {
		s.recycle(b)
		return nil
	}
	return s.send(b, bytes, true)
}

func (s *Sender[T]) send(b *flow.Batch[T], bytes int, pushed bool) error {
	e, err := encode(s.codec, s.e.opt.Compression, s.e.opt.MaxFrame, b, bytes)
	if err != nil {
		return err
	}
	s.recycle(b)
	return s.put(e, pushed)
}

// Share encodes a batch for this sender and others of the endpoint.
func (s *Sender[T]) Share(b *flow.Batch[T], bytes int) (shuffle.Shared, error) {
	if len(b.Values) == 0 {
		s.recycle(b)
		return nil, nil
	}
	e, err := encode(s.codec, s.e.opt.Compression, s.e.opt.MaxFrame, b, bytes)
	if err != nil {
		return nil, err
	}
	s.recycle(b)
	return e, nil
}

// SendShared waits for credit and queues what another sender has encoded.
func (s *Sender[T]) SendShared(ctx context.Context, b shuffle.Shared) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	return s.putShared(b, false)
}

// PushShared queues what another sender has encoded, credit or not.
func (s *Sender[T]) PushShared(b shuffle.Shared) error { return s.putShared(b, true) }

func (s *Sender[T]) putShared(b shuffle.Shared, pushed bool) error {
	e, ok := b.(*encoded)
	if !ok {
		return fmt.Errorf("shuffle/wire: %s cannot send what %T is", s.id, b)
	}
	e.shares.Add(1)
	return s.put(e, pushed)
}

// Shares reports whether o is a sender of the same endpoint.
func (s *Sender[T]) Shares(o shuffle.Sender[T]) bool {
	other, ok := o.(*Sender[T])
	return ok && other.e == s.e
}

// init fills what an outbound needs of its link.
func (o *outbound) init(l *link, id PartitionID) {
	o.link, o.id = l, id
	o.wait = sync.NewCond(&l.mu.Mutex)
}
