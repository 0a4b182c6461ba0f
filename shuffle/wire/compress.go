package wire

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Compression is how the bodies of batches are compressed.
type Compression uint8

// What there is. docs/design/0008-shuffle-wire.md says what each brings.
const (
	None Compression = iota
	LZ4
	S2
	Zstd
	compressions
)

var compressionNames = [compressions]string{"none", "lz4", "s2", "zstd"}

// String is "none", "lz4", "s2" or "zstd".
func (c Compression) String() string {
	if c < compressions {
		return compressionNames[c]
	}
	return fmt.Sprintf("compression(%d)", uint8(c))
}

// ParseCompression reads what String gives; "" is None.
func ParseCompression(s string) (Compression, error) {
	for c, name := range compressionNames {
		if s == name {
			return Compression(c), nil
		}
	}
	if s == "" {
		return None, nil
	}
	return None, fmt.Errorf("shuffle/wire: there is no compression %q, but none, lz4, s2 and zstd", s)
}

// worthwhile is the size from which a body is compressed.
const worthwhile = 512

var (
	lz4s       = sync.Pool{New: func() any { return new(lz4.Compressor) }}
	compressor = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false))
	})
)

// compress appends the compressed form of src to dst: the length of src and a block. ok is
// false where it gains less than an eighth.
func (c Compression) compress(dst, src []byte) (out []byte, ok bool) {
	if c == None || len(src) < worthwhile {
		return dst, false
	}
	from := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(src)))
	at, most := len(dst), len(src)-len(src)/8
	switch c {
	case LZ4:
		dst = room(dst, lz4.CompressBlockBound(len(src)))
		z := lz4s.Get().(*lz4.Compressor)
		n, err := z.CompressBlock(src, dst[at:cap(dst)])
		lz4s.Put(z)
		if err != nil || n == 0 {
			return dst[:from], false
		}
		dst = dst[:at+n]
	case S2:
		dst = room(dst, s2.MaxEncodedLen(len(src)))
		dst = dst[:at+len(s2.Encode(dst[at:cap(dst)], src))]
	case Zstd:
		z, err := compressor()
		if err != nil {
			return dst[:from], false
		}
		dst = z.EncodeAll(src, dst)
	}
	if len(dst)-from > most {
		return dst[:from], false
	}
	return dst, true
}

func room(b []byte, n int) []byte {
	if cap(b)-len(b) < n {
		b = append(make([]byte, 0, len(b)+n), b...)
	}
	return b
}

// expander reads compressed bodies. It belongs to one goroutine.
type expander struct {
	limit int
	buf   []byte
	zstd  *zstd.Decoder
}

// expand returns what was compressed, to be used until the next call.
func (x *expander) expand(c Compression, body []byte) ([]byte, error) {
	if len(body) < 4 {
		return nil, protocol("a compressed body of %d bytes", len(body))
	}
	n, block := uint64(binary.LittleEndian.Uint32(body)), body[4:]
	if n > uint64(x.limit) {
		return nil, protocol("a body of %d bytes, compressed, is larger than the limit of %d", n, x.limit)
	}
	var out []byte
	var err error
	switch c {
	case LZ4:
		// A block of lz4 grows to 255 times its size at most: no more is taken.
		if n > 255*uint64(len(block))+64 {
			return nil, protocol("a compressed body of %d bytes claims to hold %d", len(body), n)
		}
		x.buf = room(x.buf[:0], int(n))
		var k int
		if k, err = lz4.UncompressBlock(block, x.buf[:n]); err == nil {
			out = x.buf[:k]
		}
	case S2:
		var k int
		if k, err = s2.DecodedLen(block); err == nil && uint64(k) != n {
			err = fmt.Errorf("it says that it has %d bytes", k)
		}
		if err == nil {
			x.buf = room(x.buf[:0], int(n))
			out, err = s2.Decode(x.buf[:n], block)
		}
	case Zstd:
		if x.zstd == nil {
			if x.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(x.limit)+1)); err != nil {
				return nil, fmt.Errorf("shuffle/wire: zstd: %w", err)
			}
		}
		if out, err = x.zstd.DecodeAll(block, x.buf[:0]); err == nil {
			x.buf = out
		}
	default:
		return nil, protocol("a body with %s", c)
	}
	if err != nil {
		return nil, protocol("a body compressed by %s: %v", c, err)
	}
	if uint64(len(out)) != n {
		return nil, protocol("a body compressed by %s has %d bytes and not %d", c, len(out), n)
	}
	return out, nil
}

func (x *expander) close() {
	if x.zstd != nil {
		x.zstd.Close()
	}
}
