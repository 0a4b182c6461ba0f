package spill

import (
	"context"

	"github.com/weirflow/weir/flow"
)

// sender is the end for one sub-partition.
type sender[T any] struct {
	out  *Output[T]
	part int
}

// Buffer returns an empty batch.
func (s *sender[T]) Buffer() *flow.Batch[T] {
	o := s.out
	if n := len(o.spare); n > 0 {
		b := o.spare[n-1]
		o.spare = o.spare[:n-1]
		return b
	}
	return &flow.Batch[T]{}
}

// Send encodes the batch, and writes to disk when the memory is used up.
func (s *sender[T]) Send(ctx context.Context, b *flow.Batch[T], _ int) error {
	return s.out.add(ctx, s.part, b)
}

// Push is Send.
func (s *sender[T]) Push(b *flow.Batch[T], _ int) error {
	return s.out.add(context.Background(), s.part, b)
}

// Control notes the end of input. Nothing else is stored: see the package's invariants.
func (s *sender[T]) Control(c flow.Control) {
	if c.Kind == flow.ControlEnd && !s.out.parts[s.part].ended {
		s.out.parts[s.part].ended = true
		s.out.ended++
	}
}

// Available is true: a disk gives no credit.
func (s *sender[T]) Available() bool { return true }

// Notify does nothing, as Available is never false.
func (s *sender[T]) Notify(func()) {}
