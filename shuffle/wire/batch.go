package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/internal/invariants"
)

// The columns of a batch, in the first byte of its body.
const (
	hasTimes  = 1 << 0
	hasHashes = 1 << 1
)

// encoded is the body of a batch's frame; it implements shuffle.Shared. Each sender that
// has queued it holds a share, until it was written.
type encoded struct {
	data   []byte
	flags  uint8
	sum    uint32
	charge uint32 // what it takes of the credit
	shares atomic.Int32
}

// mostKept is the size up to which the memory of a body is used again.
const mostKept = 1 << 20

var bodies = sync.Pool{New: func() any { return new(encoded) }}

// Release gives up a share.
func (e *encoded) Release() {
	if n := e.shares.Add(-1); n > 0 {
		return
	} else if n < 0 {
		panic("shuffle/wire: a batch was released too often")
	}
	if cap(e.data) > mostKept {
		e.data = nil
	}
	invariants.Bytes(e.data)
	e.data = e.data[:0]
	bodies.Put(e)
}

// maxCharge is the most that a batch takes of the credit.
const maxCharge = 1<<31 - 1

// encode makes the body of a batch. bytes is what it takes of the credit, if that is not
// less than its memory and its body. The error is that of a record that cannot be encoded.
func encode[T any](c *codec.Codec[T], z Compression, limit int, b *flow.Batch[T], bytes int) (e *encoded, err error) {
	e = bodies.Get().(*encoded)
	e.shares.Store(1)
	defer func() {
		if r := recover(); r != nil {
			bad, ok := r.(*codec.EncodeError)
			if !ok {
				panic(r) // Not one of ours: a user's marshaler has panicked.
			}
			e.Release()
			e, err = nil, fmt.Errorf("shuffle/wire: a record: %w", bad)
		}
	}()
	columns := byte(0)
	if len(b.Times) > 0 {
		columns |= hasTimes
	}
	if len(b.Hashes) > 0 {
		columns |= hasHashes
	}
	data := c.AppendValues(append(e.data[:0], columns), b.Values)
	data = appendColumn(data, b.Times)
	data = appendColumn(data, b.Hashes)
	e.data, e.flags = data, uint8(None)
	if len(data) > limit {
		n := len(data)
		e.Release()
		return nil, &flow.Failure{Domain: flow.DomainUser, Message: fmt.Sprintf(
			"shuffle/wire: a batch of %d records has %d bytes, and no more than %d can be sent: split records that are so large, or allow larger frames",
			len(b.Values), n, limit)}
	}
	e.charge = uint32(min(max(bytes, memory(b), len(data), 1), maxCharge))
	if z != None {
		small := bodies.Get().(*encoded)
		if out, ok := z.compress(small.data[:0], data); ok {
			small.shares.Store(1)
			small.data, small.flags, small.charge = out, uint8(z), e.charge
			e.Release()
			e = small
		} else {
			small.data = out
			bodies.Put(small)
		}
	}
	e.sum = crc32.Checksum(e.data, castagnoli)
	return e, nil
}

// appendColumn appends 8 bytes for each value.
func appendColumn[V flow.Time | flow.Hash](dst []byte, col []V) []byte {
	if len(col) == 0 {
		return dst
	}
	at := len(dst)
	dst = append(dst, make([]byte, 8*len(col))...)
	for i, v := range col {
		binary.LittleEndian.PutUint64(dst[at+8*i:], uint64(v))
	}
	return dst
}

// memory is what a batch takes without what its values point to, as a local channel
// counts it.
func memory[T any](b *flow.Batch[T]) int {
	var v T
	return cap(b.Values)*int(unsafe.Sizeof(v)) + 8*(cap(b.Times)+cap(b.Hashes))
}

// decode reads a body into a batch that is empty.
func decode[T any](c *codec.Codec[T], body []byte, b *flow.Batch[T]) (err error) {
	if len(body) == 0 || body[0]&^(hasTimes|hasHashes) != 0 {
		return protocol("a batch begins with %x", body[:min(1, len(body))])
	}
	columns, rest := body[0], body[1:]
	if b.Values, rest, err = c.DecodeValues(rest, b.Values); err != nil {
		return protocol("a batch: %v", err)
	}
	want := 0
	if columns&hasTimes != 0 {
		want += 8 * len(b.Values)
	}
	if columns&hasHashes != 0 {
		want += 8 * len(b.Values)
	}
	if len(rest) != want || len(b.Values) == 0 {
		return protocol("a batch of %d records has %d bytes behind them and not %d", len(b.Values), len(rest), want)
	}
	if columns&hasTimes != 0 {
		b.Times, rest = readColumn(b.Times, rest, len(b.Values))
	}
	if columns&hasHashes != 0 {
		b.Hashes, _ = readColumn(b.Hashes, rest, len(b.Values))
	}
	return nil
}

func readColumn[V flow.Time | flow.Hash](col []V, src []byte, n int) ([]V, []byte) {
	for i := range n {
		col = append(col, V(binary.LittleEndian.Uint64(src[8*i:])))
	}
	return col, src[8*n:]
}

// controlSize is the length of a control record's body.
const controlSize = 19

// appendControl appends the body of a control record.
func appendControl(dst []byte, c flow.Control) []byte {
	dst = append(dst, byte(c.Kind), byte(c.Barrier.Kind), 0)
	if c.Barrier.Unaligned {
		dst[len(dst)-1] = 1
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.Time))
	return binary.LittleEndian.AppendUint64(dst, uint64(c.Barrier.Epoch))
}

// readControl reads what appendControl wrote.
func readControl(b []byte) (c flow.Control, err error) {
	if len(b) != controlSize {
		return c, protocol("a control record of %d bytes", len(b))
	}
	c = flow.Control{Kind: flow.ControlKind(b[0]), Time: flow.Time(binary.LittleEndian.Uint64(b[3:])),
		Barrier: flow.Barrier{Kind: flow.BarrierKind(b[1]), Unaligned: b[2] == 1, Epoch: flow.Epoch(binary.LittleEndian.Uint64(b[11:]))}}
	if c.Kind < flow.ControlWatermark || c.Kind > flow.ControlEnd || c.Barrier.Kind > flow.BarrierFinal || b[2] > 1 ||
		c.Kind != flow.ControlBarrier && c.Barrier != (flow.Barrier{}) || c.Kind != flow.ControlWatermark && c.Time != 0 {
		return flow.Control{}, protocol("a control record of % x", b)
	}
	return c, nil
}
