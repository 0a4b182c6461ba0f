package shuffle

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
)

// Count is how much has gone over one partition since it was made, as one of its
// ends has seen it. Of both ends it is the same at a barrier, but for what the
// barrier has overtaken.
type Count struct {
	Records int64
	// Sum is the sum of the hashes of the records; 0 where only records are counted.
	Sum Sum
}

// Add adds another count.
func (c *Count) Add(o Count) {
	c.Records += o.Records
	c.Sum.Add(o.Sum)
}

// Sum is an order-free sum of 128-bit hashes, with wrap-around: equal for the same
// records in any order, and different, but for chance, if one is missing, doubled or
// changed.
type Sum struct{ High, Low uint64 }

// Add adds another sum.
func (s *Sum) Add(o Sum) {
	var carry uint64
	s.Low, carry = bits.Add64(s.Low, o.Low, 0)
	s.High, _ = bits.Add64(s.High, o.High, carry)
}

// Summer adds up hashes of records. A record's hash is XXH3-128 of its stable array
// form and, where it has one, its time. The hash of its key is not part of it: it is
// made of the record.
//
// A Summer has scratch memory and belongs to one goroutine.
type Summer[T any] struct {
	codec *codec.Codec[T]
	buf   []byte
}

// NewSummer makes a Summer. The error names the part of T that cannot be encoded.
func NewSummer[T any]() (*Summer[T], error) {
	c, err := codec.For[T]()
	if err != nil {
		return nil, fmt.Errorf("shuffle: sums of hashes: %w", err)
	}
	return &Summer[T]{codec: c}, nil
}

// Batch is the count of a batch's records. The error is that of a record's own
// encoding.
func (s *Summer[T]) Batch(b *flow.Batch[T]) (c Count, err error) {
	defer encodeError(&err)
	for i := range b.Values {
		s.buf = s.codec.AppendStable(s.buf[:0], &b.Values[i])
		if t := b.Time(i); t != flow.MinTime {
			s.buf = binary.LittleEndian.AppendUint64(s.buf, uint64(t))
		}
		h := xxh3.Hash128(s.buf)
		c.Sum.Add(Sum{h.Hi, h.Lo})
	}
	c.Records = int64(len(b.Values))
	return c, nil
}

// encodeError turns the panic of a record that cannot be encoded into an error. It
// is to be deferred.
func encodeError(err *error) {
	switch r := recover().(type) {
	case nil:
	case *codec.EncodeError:
		*err = fmt.Errorf("shuffle: a record: %w", r)
	default:
		panic(r) // Not one of ours: a user's marshaler has panicked.
	}
}
