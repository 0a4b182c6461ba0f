package file

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxAvroHeader bounds a file's header, whose schema is most of it.
const maxAvroHeader = 16 << 20

// header reads the container's header, up to and with its sync marker, which ends
// at after.
//
//	"Obj" 1 | map: {count, {key, value}...}... 0 | sync marker of 16 bytes
func (c *avroCursor[T]) header() (schema []byte, codec string, after int64, err error) {
	size := int64(4 << 10)
	for {
		buf, err := c.in.peek(0, int(min(size, c.d.Size)))
		if err != nil {
			return nil, "", 0, err
		}
		h := avroHeader{buf: buf}
		if h.parse() {
			if h.err != nil {
				return nil, "", 0, fmt.Errorf("%w: the Avro header: %w", errCorrupt, h.err)
			}
			copy(c.sync[:], h.sync)
			return append([]byte(nil), h.schema...), string(h.codec), int64(h.at), nil
		}
		if size >= c.d.Size || size >= maxAvroHeader {
			return nil, "", 0, fmt.Errorf("%w: the Avro header is not complete in %d bytes", errCorrupt, len(buf))
		}
		size *= 8
	}
}

// avroHeader parses a header in memory.
type avroHeader struct {
	buf    []byte
	at     int
	schema []byte
	codec  []byte
	sync   []byte
	err    error
}

var (
	errNoAvro   = errors.New(`it does not begin with "Obj" and a 1, so this is no Avro container file`)
	errNoSchema = errors.New("it holds no avro.schema")
	errBadMap   = errors.New("its metadata cannot be read")
)

// parse reports false when the buffer ends too early.
func (h *avroHeader) parse() bool {
	if n := min(len(h.buf), 4); string(h.buf[:n]) != "Obj\x01"[:n] {
		h.err = errNoAvro
		return true
	}
	if h.at = 4; len(h.buf) < 4 {
		return false
	}
	for {
		count, ok := h.long()
		if !ok || h.err != nil {
			return h.err != nil
		}
		if count == 0 {
			break
		}
		if count < 0 { // then the block's size in bytes follows
			count = -count
			if _, ok := h.long(); !ok || h.err != nil {
				return h.err != nil
			}
		}
		for ; count > 0; count-- {
			key, ok := h.bytes()
			if !ok {
				return h.err != nil
			}
			value, ok := h.bytes()
			if !ok {
				return h.err != nil
			}
			switch string(key) {
			case "avro.schema":
				h.schema = value
			case "avro.codec":
				h.codec = value
			}
		}
	}
	if len(h.buf)-h.at < 16 {
		return false
	}
	h.sync = h.buf[h.at : h.at+16]
	h.at += 16
	if h.schema == nil {
		h.err = errNoSchema
	}
	return true
}

func (h *avroHeader) long() (int64, bool) {
	v, n := avroLong(h.buf[h.at:])
	if n < 0 {
		h.err = errBadMap
		return 0, false
	}
	h.at += n
	return v, n > 0
}

func (h *avroHeader) bytes() ([]byte, bool) {
	n, ok := h.long()
	if !ok {
		return nil, false
	}
	if n < 0 || n > maxAvroHeader {
		h.err = errBadMap
		return nil, false
	}
	if int64(len(h.buf)-h.at) < n {
		return nil, false
	}
	b := h.buf[h.at : h.at+int(n)]
	h.at += int(n)
	return b, true
}

// avroLong reads Avro's long: a zigzag varint. n is 0 if b is too short, and less
// than 0 if it is none.
func avroLong(b []byte) (v int64, n int) { return binary.Varint(b) }

// avroInput reads pieces of a file, through one buffer for the small ones.
type avroInput struct {
	in  *input
	buf []byte
}

// peek returns up to n bytes at off, fewer only at the end of the file. They are
// good until the next call.
func (a *avroInput) peek(off int64, n int) ([]byte, error) {
	if cap(a.buf) < n {
		a.buf = make([]byte, n)
	}
	buf := a.buf[:n]
	got, err := a.in.ReadAt(buf, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return buf[:got], nil
}

// full fills buf from off on.
func (a *avroInput) full(buf []byte, off int64) error {
	if n, err := a.in.ReadAt(buf, off); n < len(buf) {
		if err == nil || errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it ends at byte %d", errCorrupt, off+int64(n))
		}
		return err
	}
	return nil
}
