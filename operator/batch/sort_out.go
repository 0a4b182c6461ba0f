package batch

import (
	"context"
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/shuffle/spill"
)

// Sorted is the output of a Sorter.
type Sorted[T any] struct {
	codec  *codec.Codec[T]
	byHash bool
	merger *merger
	err    error
}

// Next fills b with records of at most n, in order; b is emptied before. It is empty
// at the end only.
func (o *Sorted[T]) Next(ctx context.Context, b *flow.Batch[T], n int) error {
	b.Reset()
	if o.err == nil {
		o.err = ctx.Err()
	}
	for o.err == nil && len(b.Values) < n {
		e, err := o.merger.next()
		if e == nil {
			o.err = err
			return err
		}
		at := len(b.Values)
		b.Values = append(b.Values, *new(T))
		rest, err := o.codec.Decode(e.value, &b.Values[at])
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("%d bytes behind it", len(rest))
		}
		if err != nil {
			b.Values = b.Values[:at]
			o.err = fmt.Errorf("operator/batch: %w: a sorted record: %w", spill.ErrCorrupt, err)
			break
		}
		b.Stamp(e.time)
		if o.byHash {
			b.Hashes = append(b.Hashes, flow.Hash(e.prefix))
		}
	}
	return o.err
}

// Close closes the runs.
func (o *Sorted[T]) Close() error { return o.merger.close() }
