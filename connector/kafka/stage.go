package kafka

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/s2"
)

// A staged file holds the messages of one subtask and epoch until the epoch is
// committed; docs/format/kafka.md describes it. It is a magic number and blocks, each
// with its length and checksum, so that a damaged file is known as such before a
// record of the block is handed on.

// stageMagic begins a staged file; its last byte is the version.
const stageMagic = "weirks\x00\x01"

const (
	stageBlock  = 128 << 10 // unpacked bytes from which a block is ended
	blockHeader = 12
	// maxStageBlock bounds what a reader believes a block's header: the largest
	// message that Kafka's protocol can carry, and a block before it.
	maxStageBlock = 1<<31 - 1
)

// errStaged is wrapped by the error of a staged file that is not what was written.
var errStaged = errors.New("the staged file is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	hasKey = 1 << iota
	hasValue
	hasTime
)

// stager writes a staged file.
type stager struct {
	w       io.Writer
	block   []byte
	packed  []byte
	began   bool
	written int64
}

// add appends a message; milli is its time, and is passed over unless timed. The
// message's memory is free when it returns.
func (s *stager) add(topic string, m *Message, milli int64, timed bool) error {
	b := appendBytes(s.block, topic)
	flags := byte(0)
	if m.Key != nil {
		flags |= hasKey
	}
	if m.Value != nil {
		flags |= hasValue
	}
	if timed {
		flags |= hasTime
	}
	b = append(b, flags)
	if timed {
		b = binary.AppendVarint(b, milli)
	}
	if m.Key != nil {
		b = appendBytes(b, m.Key)
	}
	if m.Value != nil {
		b = appendBytes(b, m.Value)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Headers)))
	for _, h := range m.Headers {
		b = appendBytes(b, h.Key)
		// A header without a value differs from one with an empty one.
		if h.Value == nil {
			b = append(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(h.Value))+1)
		b = append(b, h.Value...)
	}
	s.block = b
	if len(b) < stageBlock {
		return nil
	}
	return s.flush()
}

func appendBytes[B ~string | ~[]byte](dst []byte, b B) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// flush ends the block.
func (s *stager) flush() error {
	if len(s.block) == 0 {
		return nil
	}
	out := s.packed[:0]
	if !s.began {
		out = append(out, stageMagic...)
		s.began = true
	}
	head := len(out)
	out = append(out, make([]byte, blockHeader+s2.MaxEncodedLen(len(s.block)))...)
	data := s2.Encode(out[head+blockHeader:], s.block)
	out = out[:head+blockHeader+len(data)]
	binary.LittleEndian.PutUint32(out[head:], uint32(len(data)))
	binary.LittleEndian.PutUint32(out[head+4:], uint32(len(s.block)))
	sum := crc32.Update(crc32.Checksum(out[head:head+8], castagnoli), castagnoli, data)
	binary.LittleEndian.PutUint32(out[head+8:], sum)
	n, err := s.w.Write(out)
	s.written += int64(n)
	if cap(out) > 8*stageBlock { // a huge message must not be paid for to the end
		s.block, s.packed = nil, nil
	} else {
		s.block, s.packed = s.block[:0], out
	}
	return err
}

// readStaged calls each for every message of a staged file, in order, and returns
// their number. The messages' memory is theirs for good.
func readStaged(r io.Reader, each func(m Message, milli int64, timed bool) error) (int64, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	magic := make([]byte, len(stageMagic))
	if _, err := io.ReadFull(in, magic); err != nil {
		return 0, cut(err)
	}
	if string(magic) != stageMagic {
		return 0, fmt.Errorf("%w: it begins with %q", errStaged, magic)
	}
	var count int64
	for {
		block, err := readBlock(in)
		if err == io.EOF { //nolint:errorlint // readBlock's own
			return count, nil
		}
		if err != nil {
			return count, fmt.Errorf("after %d messages: %w", count, err)
		}
		p := parser{b: block}
		for len(p.b) > 0 {
			m, milli, timed := p.message()
			if p.bad {
				return count, fmt.Errorf("after %d messages: %w: a block ends within a message", count, errStaged)
			}
			if err := each(m, milli, timed); err != nil {
				return count, err
			}
			count++
		}
	}
}

func readBlock(in *bufio.Reader) ([]byte, error) {
	var head [blockHeader]byte
	if n, err := io.ReadFull(in, head[:]); err != nil {
		if n == 0 && errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, cut(err)
	}
	packed, plain := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:])
	if plain > maxStageBlock || int64(packed) > int64(s2.MaxEncodedLen(int(plain))) {
		return nil, fmt.Errorf("%w: a block claims to have %d bytes, %d of them packed", errStaged, plain, packed)
	}
	// Memory is taken as the bytes come, not as a damaged header claims.
	data, err := io.ReadAll(io.LimitReader(in, int64(packed)))
	if err == nil && len(data) < int(packed) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, cut(err)
	}
	sum := crc32.Update(crc32.Checksum(head[:8], castagnoli), castagnoli, data)
	if want := binary.LittleEndian.Uint32(head[8:]); sum != want {
		return nil, fmt.Errorf("%w: a block has the checksum %08x, not %08x", errStaged, sum, want)
	}
	block, err := s2.Decode(nil, data)
	if err != nil || len(block) != int(plain) {
		return nil, fmt.Errorf("%w: a block of %d bytes does not unpack: %w", errStaged, packed, err)
	}
	return block, nil
}

// cut says of a file that ends too early that it is damaged; other errors are those
// of reading it.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut off", errStaged)
	}
	return err
}

// parser takes messages apart.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) message() (m Message, milli int64, timed bool) {
	m.Topic = string(p.bytes())
	if len(p.b) == 0 {
		p.bad = true
		return m, 0, false
	}
	flags := p.b[0]
	p.b = p.b[1:]
	if timed = flags&hasTime != 0; timed {
		v, n := binary.Varint(p.b)
		p.skip(n)
		milli = v
	}
	if flags&hasKey != 0 {
		m.Key = p.bytes()
	}
	if flags&hasValue != 0 {
		m.Value = p.bytes()
	}
	n := p.number()
	if p.bad || n > uint64(len(p.b)) { // a header has a byte at least
		p.bad = true
		return m, 0, false
	}
	for range n {
		h := Header{Key: string(p.bytes())}
		if size := p.number(); size > 0 {
			h.Value = p.take(size - 1)
		}
		m.Headers = append(m.Headers, h)
		if p.bad {
			break
		}
	}
	return m, milli, timed
}

func (p *parser) skip(n int) {
	if n <= 0 {
		p.bad, p.b = true, nil
		return
	}
	p.b = p.b[n:]
}

func (p *parser) number() uint64 {
	v, n := binary.Uvarint(p.b)
	p.skip(n)
	return v
}

func (p *parser) bytes() []byte { return p.take(p.number()) }

// take returns n bytes; not nil, unless the block is at fault.
func (p *parser) take(n uint64) []byte {
	if p.bad || n > uint64(len(p.b)) {
		p.bad, p.b = true, nil
		return nil
	}
	v := p.b[:n:n]
	p.b = p.b[n:]
	return v
}
