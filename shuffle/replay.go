package shuffle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
)

// Replay reads what a [Recorder] wrote and hands it to a receiver, batch by batch. It
// implements [Replayer].
//
// The records may have been written by an earlier version of the type: fields are
// found by name, as in state.
type Replay[T any] struct {
	codec  *codec.Codec[T]
	summer *Summer[T] // nil where only records are counted
	to     Receiver[T]
	keep   func(flow.Hash) bool // nil keeps all
	data   []byte               // what is left
	offset int                  // of data, for errors
	read   int64                // records, kept or not
	ended  bool
	count  Count
	batch  flow.Batch[T]
}

// NewReplay reads the header. keep, where it is not nil, chooses the records by the
// hash of their key. With hashes the count has sums too. The errors are [ErrCorrupt],
// and those of codec.Codec.Reading where T cannot hold what was written.
func NewReplay[T any](data []byte, to Receiver[T], keep func(flow.Hash) bool, hashes bool) (*Replay[T], error) {
	c, err := codec.For[T]()
	if err != nil {
		return nil, fmt.Errorf("shuffle: records in flight: %w", err)
	}
	r := &Replay[T]{to: to, keep: keep, data: data}
	if hashes {
		r.summer = &Summer[T]{codec: c}
	}
	if len(data) < len(inFlightMagic) || string(data[:len(inFlightMagic)]) != inFlightMagic {
		return nil, r.corrupt("they begin with %q and not with %q", data[:min(len(data), len(inFlightMagic))], inFlightMagic)
	}
	r.skip(len(inFlightMagic))
	head, err := r.frame()
	if err != nil {
		return nil, err
	}
	schemas, err := codec.For[codec.Schema]()
	if err != nil {
		return nil, fmt.Errorf("shuffle: the schema of records in flight: %w", err)
	}
	var written codec.Schema
	if rest, err := schemas.Decode(head, &written); err != nil {
		return nil, r.corrupt("the schema: %v", err)
	} else if len(rest) > 0 {
		return nil, r.corrupt("%d bytes behind the schema", len(rest))
	}
	if r.codec, err = c.Reading(written); err != nil {
		return nil, fmt.Errorf("shuffle: records in flight: %w", err)
	}
	return r, nil
}

func (r *Replay[T]) corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: at byte %d: %s", ErrCorrupt, r.offset, fmt.Sprintf(format, args...))
}

func (r *Replay[T]) skip(n int) {
	r.data = r.data[n:]
	r.offset += n
}

// frame reads a length, a sum, and what they are of; nil for the end.
func (r *Replay[T]) frame() ([]byte, error) {
	if len(r.data) < 8 {
		return nil, r.corrupt("%d bytes are left and the end is missing", len(r.data))
	}
	n, sum := binary.LittleEndian.Uint32(r.data), binary.LittleEndian.Uint32(r.data[4:])
	end := n == 0
	if end {
		n = 8
	}
	if uint64(n) > uint64(len(r.data)-8) {
		return nil, r.corrupt("%d bytes are wanted and %d are left", n, len(r.data)-8)
	}
	body := r.data[8 : 8+n]
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, r.corrupt("the CRC-32C of the next %d bytes is %08x and not %08x", n, got, sum)
	}
	r.skip(8 + int(n))
	if !end {
		return body, nil
	}
	if want := binary.LittleEndian.Uint64(body); want != uint64(r.read) {
		return nil, r.corrupt("%d records were written and there are %d", want, r.read)
	}
	if len(r.data) > 0 {
		return nil, r.corrupt("%d bytes behind the end", len(r.data))
	}
	return nil, nil
}

// Next hands the next batch to the receiver.
func (r *Replay[T]) Next() (records int, ok bool, err error) {
	for !r.ended {
		body, err := r.frame()
		if err != nil {
			return 0, false, err
		}
		if body == nil {
			r.ended = true
			break
		}
		if err := r.decode(body); err != nil {
			return 0, false, err
		}
		r.read += int64(len(r.batch.Values))
		if err := r.filter(); err != nil {
			return 0, false, err
		}
		n := Count{Records: int64(len(r.batch.Values))}
		if n.Records == 0 {
			continue
		}
		if r.summer != nil {
			if n, err = r.summer.Batch(&r.batch); err != nil {
				return 0, false, err
			}
		}
		r.count.Add(n)
		return int(n.Records), true, r.to.Receive(&r.batch)
	}
	return 0, false, nil
}

// Count is what was handed over so far.
func (r *Replay[T]) Count() Count { return r.count }

// decode reads a frame's body into the batch.
func (r *Replay[T]) decode(body []byte) (err error) {
	b := &r.batch
	b.Reset()
	if len(body) == 0 || body[0]&^(hasTimes|hasHashes) != 0 {
		return r.corrupt("the frame before has an unknown flag")
	}
	flags, rest := body[0], body[1:]
	if b.Values, rest, err = r.codec.DecodeValues(rest, b.Values); err != nil {
		return r.corrupt("the frame before: %v", err)
	}
	columns := 0
	for f := flags; f != 0; f &= f - 1 {
		columns++
	}
	if n := len(b.Values); n == 0 || len(rest) != 8*n*columns {
		return r.corrupt("the frame before has %d records and %d bytes of times and hashes", n, len(rest))
	}
	if flags&hasTimes != 0 {
		for range b.Values {
			b.Times = append(b.Times, flow.Time(binary.LittleEndian.Uint64(rest)))
			rest = rest[8:]
		}
	}
	if flags&hasHashes != 0 {
		for range b.Values {
			b.Hashes = append(b.Hashes, flow.Hash(binary.LittleEndian.Uint64(rest)))
			rest = rest[8:]
		}
	}
	return nil
}

// filter takes out of the batch what is not to be kept.
func (r *Replay[T]) filter() error {
	if r.keep == nil {
		return nil
	}
	b := &r.batch
	if len(b.Hashes) == 0 {
		return errors.New("shuffle: records in flight have no hashes of their keys to divide them by: they were under way to an " +
			"input that was not divided by key; start from an aligned epoch or a savepoint")
	}
	n := 0
	for i, h := range b.Hashes {
		if !r.keep(h) {
			continue
		}
		b.Values[n], b.Hashes[n] = b.Values[i], h
		if len(b.Times) > 0 {
			b.Times[n] = b.Times[i]
		}
		n++
	}
	clear(b.Values[n:])
	b.Values, b.Hashes = b.Values[:n], b.Hashes[:n]
	if len(b.Times) > 0 {
		b.Times = b.Times[:n]
	}
	return nil
}
