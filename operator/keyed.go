package operator

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
)

// Key is how a keyed operator finds the key of its records.
type Key[T any, K comparable] struct {
	// Of extracts the key.
	Of func(T) K
	// Hash computes the hashes of the keys of a column of records.
	Hash HashFunc[T]
}

// NewKey compiles the hash of keys. It refuses a key type that has no hash that is
// the same everywhere, naming the field.
func NewKey[T any, K comparable](of func(T) K) (Key[T, K], error) {
	h, err := keyhash.Columns(of)
	if err != nil {
		return Key[T, K]{}, err
	}
	return Key[T, K]{Of: of, Hash: h}, nil
}

// hasher holds the hashes of a batch that came without them.
type hasher[T any, K comparable] struct {
	key Key[T, K]
	buf []flow.Hash
}

// hashes returns the hashes of the batch's keys: those that the exchange has
// computed, where the batch comes from one.
func (h *hasher[T, K]) hashes(b *flow.Batch[T]) []flow.Hash {
	if len(b.Hashes) == len(b.Values) {
		return b.Hashes
	}
	h.buf = h.key.Hash(b.Values, h.buf[:0])
	return h.buf
}
