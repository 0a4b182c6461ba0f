package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrProtocol is what a connection is closed with over which something came that is not
// allowed. Callers may use errors.Is.
var ErrProtocol = errors.New("shuffle/wire: what came over the connection is not what it should be")

func protocol(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// kind is what a frame is.
type kind uint8

const (
	kindHello   kind = iota + 1 // producer: who it is
	kindWelcome                 // consumer: who it is
	kindRefused                 // consumer: why there is no connection
	kindOpen                    // producer: a partition by its id; the number is its name from now on
	kindBatch                   // producer
	kindControl                 // producer
	kindDone                    // producer: nothing more comes; the number is free of meaning
	kindGrant                   // consumer: credit
	kindClosed                  // consumer: the gate is closed, or the attempt is over
	kindBad                     // consumer: why the partition cannot be
	kinds
)

var kindNames = [kinds]string{"", "hello", "welcome", "refused", "open", "batch", "control", "done", "grant", "closed", "bad"}

func (k kind) String() string {
	if k > 0 && k < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// The flags of a batch.
const (
	flagCompression = 0x07 // a Compression
	flagPushed      = 0x08 // goes beyond the credit
	flags           = flagCompression | flagPushed
)

// headSize is the length of a frame's head.
const headSize = 24

// header is the head of a frame.
type header struct {
	size      uint32 // of the body
	kind      kind
	flags     uint8
	partition uint32
	credit    uint32 // that a batch takes, or that is granted
	sum       uint32 // CRC-32C of the body
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// put writes the head into b, which has headSize bytes.
func (h *header) put(b []byte) {
	binary.LittleEndian.PutUint32(b, h.size)
	b[4], b[5], b[6], b[7] = byte(h.kind), h.flags, 0, 0
	binary.LittleEndian.PutUint32(b[8:], h.partition)
	binary.LittleEndian.PutUint32(b[12:], h.credit)
	binary.LittleEndian.PutUint32(b[16:], h.sum)
	binary.LittleEndian.PutUint32(b[20:], crc32.Checksum(b[:20], castagnoli))
}

// readHeader reads and checks a head.
func readHeader(b []byte) (h header, err error) {
	if got, want := crc32.Checksum(b[:20], castagnoli), binary.LittleEndian.Uint32(b[20:]); got != want {
		return h, protocol("the head of a frame has the CRC-32C %08x and not %08x", got, want)
	}
	h = header{
		size: binary.LittleEndian.Uint32(b), kind: kind(b[4]), flags: b[5],
		partition: binary.LittleEndian.Uint32(b[8:]), credit: binary.LittleEndian.Uint32(b[12:]), sum: binary.LittleEndian.Uint32(b[16:]),
	}
	if h.kind == 0 || h.kind >= kinds || h.flags&^flags != 0 || h.flags != 0 && h.kind != kindBatch || b[6] != 0 || b[7] != 0 {
		return h, protocol("a frame is of %s with flags %#x: is the other side newer?", h.kind, b[5:8])
	}
	return h, nil
}

// appendFrame appends a frame that is small.
func appendFrame(dst []byte, h header, body []byte) []byte {
	h.size, h.sum = uint32(len(body)), crc32.Checksum(body, castagnoli)
	var b [headSize]byte
	h.put(b[:])
	return append(append(dst, b[:]...), body...)
}

// readBuffer is how much is read from a connection at once. Frames up to it are
// decoded where they lie.
const readBuffer = 128 << 10

// creditBuffer is readBuffer where only credit comes.
const creditBuffer = 4 << 10

// growth is by how much the memory for a longer frame grows at once: no more than came
// is taken for one that only claims to be long.
const growth = 1 << 20

// frames reads frames from a connection.
type frames struct {
	r     *bufio.Reader
	size  int    // of the buffer
	limit int    // of a body
	pass  int    // bytes of the last frame, to be discarded
	long  []byte // a body that does not fit into the buffer
}

func newFrames(r io.Reader, size, limit int) *frames {
	return &frames{r: bufio.NewReaderSize(r, size), size: size, limit: limit}
}

// next reads a frame. Its body may be used until the call after. io.EOF is a connection that
// ended between two frames.
func (f *frames) next() (h header, body []byte, err error) {
	if _, err := f.r.Discard(f.pass); err != nil {
		return h, nil, err
	}
	f.pass = 0
	b, err := f.r.Peek(headSize)
	if err != nil {
		if len(b) > 0 {
			err = cut(err)
		}
		return h, nil, err
	}
	if h, err = readHeader(b); err != nil {
		return h, nil, err
	}
	if uint64(h.size) > uint64(f.limit) {
		return h, nil, protocol("a frame (%s) of %d bytes is larger than the limit of %d", h.kind, h.size, f.limit)
	}
	n := headSize + int(h.size)
	if n <= f.size {
		if b, err = f.r.Peek(n); err != nil {
			return h, nil, cut(err)
		}
		body, f.pass = b[headSize:], n
	} else if body, err = f.read(int(h.size)); err != nil {
		return h, nil, cut(err)
	}
	if got := crc32.Checksum(body, castagnoli); got != h.sum {
		return h, nil, protocol("the body of a frame (%s, %d bytes) has the CRC-32C %08x and not %08x", h.kind, h.size, got, h.sum)
	}
	return h, body, nil
}

// read reads a body of n bytes that is longer than the buffer.
func (f *frames) read(n int) ([]byte, error) {
	if _, err := f.r.Discard(headSize); err != nil {
		return nil, err
	}
	f.long = f.long[:0]
	for len(f.long) < n {
		at, more := len(f.long), min(n-len(f.long), max(growth, cap(f.long)-len(f.long)))
		if cap(f.long) < at+more {
			f.long = append(make([]byte, 0, min(n, max(at+more, 2*at))), f.long...)
		}
		f.long = f.long[:at+more]
		if _, err := io.ReadFull(f.r, f.long[at:]); err != nil {
			return nil, err
		}
	}
	return f.long, nil
}

// cut is the end of a connection within a frame.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
