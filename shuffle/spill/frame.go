package spill

import (
	"encoding/binary"
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
)

const (
	hasTimes  = 1 << 0
	hasHashes = 1 << 1
)

// appendFrame appends a batch as the body of a block of sub-partition p. It panics with
// a *codec.EncodeError where a record cannot be encoded.
func appendFrame[T any](dst []byte, c *codec.Codec[T], p int, b *flow.Batch[T], from, to int) []byte {
	flags := byte(0)
	if len(b.Times) > 0 {
		flags |= hasTimes
	}
	if len(b.Hashes) > 0 {
		flags |= hasHashes
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(p))
	dst = c.AppendValues(dst, b.Values[from:to])
	if flags&hasTimes != 0 {
		for _, t := range b.Times[from:to] {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(t))
		}
	}
	if flags&hasHashes != 0 {
		for _, h := range b.Hashes[from:to] {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(h))
		}
	}
	return dst
}

// parseFrame appends the records of a block to b, which is empty, and says of which
// sub-partition they are.
func parseFrame[T any](body []byte, c *codec.Codec[T], b *flow.Batch[T]) (p int, err error) {
	if len(body) == 0 || body[0]&^(hasTimes|hasHashes) != 0 {
		return 0, fmt.Errorf("%w: a block with an unknown flag", ErrCorrupt)
	}
	flags := body[0]
	part, n := binary.Uvarint(body[1:])
	if n <= 0 || part >= flow.MaxMaxParallelism {
		return 0, fmt.Errorf("%w: a block of no sub-partition", ErrCorrupt)
	}
	rest := body[1+n:]
	if b.Values, rest, err = c.DecodeValues(rest, b.Values); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	columns := int(flags&hasTimes) + int(flags&hasHashes)>>1
	records := len(b.Values)
	if records == 0 || len(rest) != 8*records*columns {
		return 0, fmt.Errorf("%w: a block has %d records and %d bytes of times and hashes", ErrCorrupt, records, len(rest))
	}
	if flags&hasTimes != 0 {
		for range records {
			b.Times = append(b.Times, flow.Time(binary.LittleEndian.Uint64(rest)))
			rest = rest[8:]
		}
	}
	if flags&hasHashes != 0 {
		for range records {
			b.Hashes = append(b.Hashes, flow.Hash(binary.LittleEndian.Uint64(rest)))
			rest = rest[8:]
		}
	}
	return int(part), nil
}

// encodeError turns the panic of a record that cannot be encoded into an error. It
// is to be deferred.
func encodeError(err *error) {
	switch r := recover().(type) {
	case nil:
	case *codec.EncodeError:
		*err = fmt.Errorf("shuffle/spill: a record: %w", r)
	default:
		panic(r) // Not one of ours: a user's marshaler has panicked.
	}
}
