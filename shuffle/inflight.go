package shuffle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
)

// ErrCorrupt is returned for stored records that are not what was written. Callers may
// use errors.Is.
var ErrCorrupt = errors.New("shuffle: records in flight are corrupt")

// inFlightMagic begins the records of a channel; its last byte is the version.
const inFlightMagic = "weirfly\x01"

const (
	hasTimes  = 1 << 0
	hasHashes = 1 << 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Recorder copies batches into the form of docs/format/inflight.md: a header with the
// type's schema, a frame for each batch, and an end with the number of records. What
// was cut off, changed or left out is found when it is read.
//
// A Recorder belongs to one goroutine.
type Recorder[T any] struct {
	codec  *codec.Codec[T]
	summer *Summer[T] // nil where only records are counted
	count  Count
	data   []byte
	err    error // the first; nothing is added behind it
}

// NewRecorder makes a Recorder, which adds up hashes too where it is told to. The
// error names the part of T that cannot be encoded.
func NewRecorder[T any](hashes bool) (*Recorder[T], error) {
	c, err := codec.For[T]()
	if err != nil {
		return nil, fmt.Errorf("shuffle: records in flight: %w", err)
	}
	r := &Recorder[T]{codec: c}
	if hashes {
		r.summer = &Summer[T]{codec: c}
	}
	return r, nil
}

// Add copies a batch. Finish tells of a record that could not be encoded.
func (r *Recorder[T]) Add(b *flow.Batch[T]) {
	if r.err == nil {
		r.err = r.add(b)
	}
}

func (r *Recorder[T]) add(b *flow.Batch[T]) (err error) {
	n := Count{Records: int64(len(b.Values))}
	if r.summer != nil {
		if n, err = r.summer.Batch(b); err != nil {
			return err
		}
	}
	defer encodeError(&err)
	if len(r.data) == 0 {
		if r.data, err = appendInFlightHeader(r.data, r.codec.Schema()); err != nil {
			return err
		}
	}
	r.data = r.appendFrame(r.data, b)
	r.count.Add(n)
	return nil
}

// appendFrame appends a batch: length, sum, and what they are of.
func (r *Recorder[T]) appendFrame(data []byte, b *flow.Batch[T]) []byte {
	at := len(data)
	data = append(data, make([]byte, 8)...)
	flags := byte(0)
	if len(b.Times) > 0 {
		flags |= hasTimes
	}
	if len(b.Hashes) > 0 {
		flags |= hasHashes
	}
	data = append(data, flags)
	data = r.codec.AppendValues(data, b.Values)
	for _, t := range b.Times {
		data = binary.LittleEndian.AppendUint64(data, uint64(t))
	}
	for _, h := range b.Hashes {
		data = binary.LittleEndian.AppendUint64(data, uint64(h))
	}
	body := data[at+8:]
	binary.LittleEndian.PutUint32(data[at:], uint32(len(body)))
	binary.LittleEndian.PutUint32(data[at+4:], crc32.Checksum(body, castagnoli))
	return data
}

func appendInFlightHeader(data []byte, s codec.Schema) ([]byte, error) {
	c, err := codec.For[codec.Schema]()
	if err != nil {
		return nil, fmt.Errorf("shuffle: the schema of records in flight: %w", err)
	}
	data = append(data, inFlightMagic...)
	at := len(data)
	data = append(data, make([]byte, 8)...)
	data = c.AppendNamed(data, &s)
	body := data[at+8:]
	binary.LittleEndian.PutUint32(data[at:], uint32(len(body)))
	binary.LittleEndian.PutUint32(data[at+4:], crc32.Checksum(body, castagnoli))
	return data, nil
}

// Size is the number of bytes so far.
func (r *Recorder[T]) Size() int { return len(r.data) }

// Finish returns what was added, or why that is not all. The Recorder is not to be
// used any more.
func (r *Recorder[T]) Finish() (InFlight, error) {
	if r.err != nil || len(r.data) == 0 {
		return InFlight{}, r.err
	}
	end := make([]byte, 16)
	binary.LittleEndian.PutUint64(end[8:], uint64(r.count.Records))
	binary.LittleEndian.PutUint32(end[4:], crc32.Checksum(end[8:], castagnoli))
	return InFlight{Count: r.count, Data: append(r.data, end...)}, nil
}
