package portable

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/weirflow/weir/flow"
)

// Writer writes a stream. After an error it is good for nothing.
type Writer struct {
	w       io.Writer
	head    *Header
	buf     []byte
	group   flow.KeyGroup
	entries uint64
}

// NewWriter begins a stream.
func NewWriter(w io.Writer, h *Header) (*Writer, error) {
	if len(h.States) > 1<<16 {
		return nil, fmt.Errorf("%d states are more than the %d that a task can have", len(h.States), 1<<16)
	}
	if _, err := io.WriteString(w, magic); err != nil {
		return nil, err
	}
	if err := writeSection(w, sectionHeader, headerCodec.AppendNamed(make([]byte, headSize), stored(h))); err != nil {
		return nil, err
	}
	return &Writer{w: w, head: h, group: h.KeyGroups.First, buf: make([]byte, headSize, sectionSize+4096)}, nil
}

// Add writes an entry. Entries come in the order of key groups, and within one of
// the ids of states.
func (w *Writer) Add(g flow.KeyGroup, id uint16, key, value []byte) error {
	if len(key)+len(value) > maxSection-64 {
		return fmt.Errorf("an entry of %s takes %d bytes; at most %d can be stored", w.name(id), len(key)+len(value), maxSection-64)
	}
	if g != w.group || len(w.buf)+len(key)+len(value) > sectionSize {
		if err := w.flush(); err != nil {
			return err
		}
		w.group = g
	}
	w.buf = binary.AppendUvarint(w.buf, uint64(prefixSize+len(key)))
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(g))
	w.buf = binary.BigEndian.AppendUint16(w.buf, id)
	w.buf = append(w.buf, key...)
	w.buf = binary.AppendUvarint(w.buf, uint64(len(value)))
	w.buf = append(w.buf, value...)
	w.entries++
	return nil
}

func (w *Writer) name(id uint16) string {
	for _, s := range w.head.States {
		if s.ID == id {
			return s.Descriptor.String()
		}
	}
	return fmt.Sprintf("state %d", id)
}

func (w *Writer) flush() error {
	if len(w.buf) == headSize {
		return nil
	}
	err := writeSection(w.w, sectionEntries, w.buf)
	w.buf = w.buf[:headSize]
	return err
}

// Close ends the stream. It does not close what the stream is written to.
func (w *Writer) Close() error {
	if err := w.flush(); err != nil {
		return err
	}
	return writeSection(w.w, sectionEnd, binary.BigEndian.AppendUint64(make([]byte, headSize, headSize+8), w.entries))
}
