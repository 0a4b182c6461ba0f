package collect

import (
	"fmt"
	"math/rand/v2"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/flow"
)

func nonce() uint64 { return rand.Uint64() }

type writer[T any] struct {
	sink    *Sink[T]
	subtask int
	attempt flow.Attempt
	open    *chunk[T]
}

func (w *writer[T]) chunk() *chunk[T] { return &chunk[T]{subtask: w.subtask, attempt: w.attempt} }

func (w *writer[T]) Write(b *flow.Batch[T]) error {
	if err := w.sink.reserve(b.Len()); err != nil {
		return err
	}
	if len(b.Times) == 0 && len(w.open.Times) == 0 {
		w.open.Values = append(w.open.Values, b.Values...)
		return nil
	}
	for i, v := range b.Values {
		w.open.Append(v, b.Time(i))
	}
	return nil
}

func (*writer[T]) Idle() error { return nil }

func (w *writer[T]) Prepare(b flow.Barrier) ([]byte, error) {
	if w.open.Len() == 0 {
		return nil, nil
	}
	data, err := msgpack.Marshal(w.sink.prepare(w.open))
	if err != nil {
		return nil, fmt.Errorf("collect: preparing %s: %w", b, err)
	}
	w.open = w.chunk()
	return data, nil
}

func (*writer[T]) Tick(flow.Time) error { return nil }

// Close gives up what was not prepared.
func (w *writer[T]) Close() error {
	w.sink.release(w.open.Len())
	w.open = w.chunk()
	return nil
}
