package memory

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// Snapshot writes all states. It holds up the task until it is done; w had better
// be memory.
func (s *Store) Snapshot(w io.Writer) error {
	if err := s.snapshot(w); err != nil {
		return fmt.Errorf("state/memory: snapshot: %w", err)
	}
	return nil
}

func (s *Store) snapshot(w io.Writer) error {
	if s.err != nil {
		return s.err
	}
	r := s.opts.KeyGroups
	head := header{MaxParallelism: s.opts.MaxParallelism, First: uint16(r.First), End: uint16(r.End)}
	frozen := make([]state.Frozen, 0, len(s.states)+len(s.pending))
	add := func(d state.Descriptor, sc state.Schema, f state.Frozen) {
		head.States = append(head.States, stateHeader{
			ID: uint16(len(frozen)), Operator: string(d.Operator), Name: d.Name, Kind: uint8(sc.Kind),
			Key: sc.Key, Namespace: sc.Namespace, Value: sc.Value,
		})
		frozen = append(frozen, f)
	}
	for _, st := range s.states {
		f, err := st.Freeze(s.opts.MaxParallelism, r)
		if err != nil {
			return err
		}
		add(st.Descriptor(), st.Schema(), f)
	}
	for _, p := range s.pending {
		add(p.desc, p.schema, p)
	}
	if len(frozen) > 1<<16 {
		return fmt.Errorf("%d states are more than the %d that a task can have", len(frozen), 1<<16)
	}
	if _, err := io.WriteString(w, magic); err != nil {
		return err
	}
	if err := writeSection(w, sectionHeader, headerCodec.AppendNamed(make([]byte, headSize), &head)); err != nil {
		return err
	}
	e := entryWriter{w: w, buf: make([]byte, headSize, sectionSize+4096)}
	for g := r.First; g < r.End; g++ {
		for id, f := range frozen {
			e.desc = &head.States[id]
			if err := e.group(g, uint16(id), f); err != nil {
				return err
			}
		}
		if err := e.flush(); err != nil {
			return err
		}
	}
	return writeSection(w, sectionEnd, binary.BigEndian.AppendUint64(make([]byte, headSize, headSize+8), e.entries))
}

// entryWriter gathers the entries of a key group into sections.
type entryWriter struct {
	w       io.Writer
	buf     []byte
	entries uint64
	desc    *stateHeader
}

func (e *entryWriter) group(g flow.KeyGroup, id uint16, f state.Frozen) error {
	return f.Each(g, func(key, value []byte) error {
		if len(key)+len(value) > maxSection-64 {
			return fmt.Errorf("an entry of %s takes %d bytes; at most %d can be stored", e.desc.descriptor(),
				len(key)+len(value), maxSection-64)
		}
		if len(e.buf)+len(key)+len(value) > sectionSize {
			if err := e.flush(); err != nil {
				return err
			}
		}
		e.buf = binary.AppendUvarint(e.buf, uint64(prefixSize+len(key)))
		e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(g))
		e.buf = binary.BigEndian.AppendUint16(e.buf, id)
		e.buf = append(e.buf, key...)
		e.buf = binary.AppendUvarint(e.buf, uint64(len(value)))
		e.buf = append(e.buf, value...)
		e.entries++
		return nil
	})
}

func (e *entryWriter) flush() error {
	if len(e.buf) == headSize {
		return nil
	}
	err := writeSection(e.w, sectionEntries, e.buf)
	e.buf = e.buf[:headSize]
	return err
}
