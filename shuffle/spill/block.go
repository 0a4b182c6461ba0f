package spill

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// ErrCorrupt says that stored bytes are not what was written. Callers may use
// errors.Is.
var ErrCorrupt = errors.New("shuffle/spill: stored data is corrupt")

// MaxBlock is the largest number of bytes in a block, as stored and decompressed.
const MaxBlock = 64 << 20

// Compression says how blocks are compressed. A block that does not get smaller is
// stored as it is.
type Compression uint8

// The numbers are stored.
const (
	// None stores blocks as they are: for a disk that is faster than the processor.
	None Compression = iota
	// LZ4 is the fastest to read.
	LZ4
	// S2 is the fastest to write.
	S2
	// Zstd makes the smallest files, at its fastest level.
	Zstd
)

var compressions = []string{"none", "lz4", "s2", "zstd"}

// String is the name that ParseCompression takes.
func (c Compression) String() string {
	if int(c) < len(compressions) {
		return compressions[c]
	}
	return fmt.Sprintf("compression(%d)", uint8(c))
}

// ParseCompression finds a compression by its name.
func ParseCompression(name string) (Compression, error) {
	if i := slices.Index(compressions, name); i >= 0 {
		return Compression(i), nil
	}
	return None, fmt.Errorf("shuffle/spill: unknown compression %q; there are %q", name, compressions)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The coders of zstd are made at their first use. EncodeAll and DecodeAll may be
// called by many goroutines, and start none.
var (
	zstdEncoder = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	})
	zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(MaxBlock))
	})
)

// BlockWriter makes blocks. It has scratch memory and belongs to one goroutine.
type BlockWriter struct {
	Compression Compression
	lz4         lz4.Compressor
	packed      []byte
}

// Append appends a block with body to dst: length and sum of what follows, the way it is
// compressed, and the body. It must not be empty nor larger than MaxBlock.
func (w *BlockWriter) Append(dst, body []byte) ([]byte, error) {
	if len(body) == 0 || len(body) > MaxBlock-16 {
		return dst, fmt.Errorf("shuffle/spill: a block of %d bytes; between 1 and %d can be stored", len(body), MaxBlock-16)
	}
	packed, err := w.pack(body)
	if err != nil {
		return dst, fmt.Errorf("shuffle/spill: compressing a block by %s: %w", w.Compression, err)
	}
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	if packed == nil {
		dst = append(append(dst, byte(None)), body...)
	} else {
		dst = append(dst, byte(w.Compression))
		dst = binary.AppendUvarint(dst, uint64(len(body)))
		dst = append(dst, packed...)
	}
	stored := dst[at+8:]
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(stored)))
	binary.LittleEndian.PutUint32(dst[at+4:], crc32.Checksum(stored, castagnoli))
	return dst, nil
}

// pack compresses body; nil where that does not pay.
func (w *BlockWriter) pack(body []byte) ([]byte, error) {
	if len(body) < minPack {
		return nil, nil
	}
	var packed []byte
	switch w.Compression {
	case None:
		return nil, nil
	case LZ4:
		w.packed = slices.Grow(w.packed[:0], lz4.CompressBlockBound(len(body)))
		n, err := w.lz4.CompressBlock(body, w.packed[:cap(w.packed)])
		if err != nil {
			return nil, err
		}
		packed = w.packed[:n] // nothing if it cannot be compressed
	case S2:
		w.packed = slices.Grow(w.packed[:0], s2.MaxEncodedLen(len(body)))
		packed = s2.Encode(w.packed[:cap(w.packed)], body)
	case Zstd:
		e, err := zstdEncoder()
		if err != nil {
			return nil, err
		}
		w.packed = e.EncodeAll(body, w.packed[:0])
		packed = w.packed
	default:
		return nil, fmt.Errorf("there are %q only", compressions)
	}
	// A reader's work for less than a sixteenth would not pay.
	if len(packed) == 0 || len(packed) > len(body)-len(body)/16 {
		return nil, nil
	}
	return packed, nil
}

// minPack is the size below which no block is compressed.
const minPack = 256

// AppendEnd appends what ends a stream of blocks with so many records.
func AppendEnd(dst []byte, records int64) []byte {
	var count [8]byte
	binary.LittleEndian.PutUint64(count[:], uint64(records))
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(count[:], castagnoli))
	return append(dst, count[:]...)
}

// BlockReader reads blocks. It belongs to one goroutine.
type BlockReader struct {
	r      io.Reader
	offset int64
	stored []byte
	body   []byte
}

// NewBlockReader reads the blocks of r, which is best a bufio.Reader.
func NewBlockReader(r io.Reader) *BlockReader { return &BlockReader{r: r} }

// Offset is the number of bytes read.
func (r *BlockReader) Offset() int64 { return r.offset }

func (r *BlockReader) corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: before byte %d: %s", ErrCorrupt, r.offset, fmt.Sprintf(format, args...))
}

// Next is the body of the next block, valid until the next call; nil at the end,
// with the number of records that the end tells of.
func (r *BlockReader) Next() (body []byte, records int64, err error) {
	var head [8]byte
	if err := r.read(head[:]); err != nil {
		return nil, 0, err
	}
	n, sum := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:])
	if n > MaxBlock {
		return nil, 0, r.corrupt("a block of %d bytes", n)
	}
	end := n == 0
	if end {
		n = 8
	}
	// In steps, so that a false length asks for no more memory than there are bytes.
	r.stored = r.stored[:0]
	for left := int(n); left > 0; {
		step := min(left, max(cap(r.stored)-len(r.stored), len(r.stored), 256<<10))
		at := len(r.stored)
		r.stored = slices.Grow(r.stored, step)[:at+step]
		if err := r.read(r.stored[at:]); err != nil {
			return nil, 0, err
		}
		left -= step
	}
	if got := crc32.Checksum(r.stored, castagnoli); got != sum {
		return nil, 0, r.corrupt("the CRC-32C of %d bytes is %08x and not %08x", n, got, sum)
	}
	if end {
		return nil, int64(binary.LittleEndian.Uint64(r.stored)), nil
	}
	body, err = r.unpack(Compression(r.stored[0]), r.stored[1:])
	return body, 0, err
}

func (r *BlockReader) read(p []byte) error {
	n, err := io.ReadFull(r.r, p)
	r.offset += int64(n)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return r.corrupt("%d bytes are wanted and %d are left", len(p), n)
	case err != nil:
		return fmt.Errorf("shuffle/spill: reading at byte %d: %w", r.offset, err)
	}
	return nil
}

// unpack decompresses what was stored.
func (r *BlockReader) unpack(c Compression, packed []byte) ([]byte, error) {
	if c == None {
		if len(packed) == 0 {
			return nil, r.corrupt("an empty block")
		}
		return packed, nil
	}
	size, n := binary.Uvarint(packed)
	if n <= 0 || size == 0 || size > MaxBlock {
		return nil, r.corrupt("a %s block that says to have %d bytes", c, size)
	}
	packed = packed[n:]
	r.body = slices.Grow(r.body[:0], int(size))[:size]
	var (
		got int
		err error
	)
	switch c {
	case LZ4:
		got, err = lz4.UncompressBlock(packed, r.body)
	case S2:
		if got, err = s2.DecodedLen(packed); err == nil && got == int(size) {
			_, err = s2.Decode(r.body, packed)
		}
	case Zstd:
		var d *zstd.Decoder
		if d, err = zstdDecoder(); err != nil {
			return nil, fmt.Errorf("shuffle/spill: zstd: %w", err)
		}
		var out []byte
		out, err = d.DecodeAll(packed, r.body[:0])
		if got = len(out); got == len(r.body) {
			r.body = out
		}
	default:
		return nil, r.corrupt("a block with %s", c)
	}
	if err != nil {
		return nil, r.corrupt("a %s block: %v", c, err)
	}
	if got != int(size) {
		return nil, r.corrupt("a %s block of %d bytes that says to have %d", c, got, size)
	}
	return r.body, nil
}
