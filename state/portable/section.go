package portable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/state"
)

const (
	magic = "weirstate\x01"

	sectionHeader  = 'H'
	sectionEntries = 'G'
	sectionEnd     = 'E'

	// sectionSize is the payload from which a section of entries is written.
	sectionSize = 64 << 10
	// maxSection bounds what a reader takes for a section's length, and a writer
	// for an entry.
	maxSection = 1 << 30

	headSize   = 9 // type, length, CRC
	prefixSize = 4 // of an entry's key: key group, state id
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// headerCodec cannot fail: header is of plain types.
var headerCodec = func() *codec.Codec[header] {
	c, err := codec.For[header]()
	if err != nil {
		// The type is ours, and plain.
		panic(err)
	}
	return c
}()

// writeSection writes buf, of which the first headSize bytes are left free, as a
// section.
func writeSection(w io.Writer, kind byte, buf []byte) error {
	buf[0] = kind
	binary.BigEndian.PutUint32(buf[1:], uint32(len(buf)-headSize))
	sum := crc32.Update(crc32.Checksum(buf[:5], castagnoli), castagnoli, buf[headSize:])
	binary.BigEndian.PutUint32(buf[5:], sum)
	_, err := w.Write(buf)
	return err
}

// sections reads one section after the other.
type sections struct {
	r   io.Reader
	buf bytes.Buffer
}

// next returns a section's payload, which is valid until the next call.
func (s *sections) next() (kind byte, payload []byte, err error) {
	var head [headSize]byte
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		return 0, nil, short(err)
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxSection {
		return 0, nil, corrupt("a section of %d bytes, more than the %d there may be", n, maxSection)
	}
	// The length is believed only as far as there are bytes.
	s.buf.Reset()
	if _, err := io.CopyN(&s.buf, s.r, int64(n)); err != nil {
		return 0, nil, short(err)
	}
	payload = s.buf.Bytes()
	if crc32.Update(crc32.Checksum(head[:5], castagnoli), castagnoli, payload) != binary.BigEndian.Uint32(head[5:]) {
		return 0, nil, corrupt("the checksum of a section of %d bytes is wrong", n)
	}
	return head[0], payload, nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", state.ErrCorrupt, fmt.Errorf(format, args...))
}

// short tells the end of the stream, where there should be more, from an error
// in reading it.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return corrupt("it ends too early")
	}
	return fmt.Errorf("state/portable: reading a snapshot: %w", err)
}

// takeBytes cuts a slice with its length before it off src.
func takeBytes(src []byte) (b, rest []byte, ok bool) {
	n, k := binary.Uvarint(src)
	if k <= 0 || n > uint64(len(src)-k) {
		return nil, nil, false
	}
	return src[k : k+int(n)], src[k+int(n):], true
}
