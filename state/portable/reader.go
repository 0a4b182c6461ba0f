package portable

import (
	"encoding/binary"
	"io"

	"github.com/weirflow/weir/flow"
)

// Entry is one entry of a stream.
type Entry struct {
	Group flow.KeyGroup
	// ID is that of a state of the header.
	ID uint16
	// Key is without key group and id.
	Key, Value []byte
}

// Reader reads a stream.
type Reader struct {
	in      sections
	head    *Header
	ids     map[uint16]bool
	rest    []byte // of the section that is being read
	first   bool   // nothing of it has been read
	group   flow.KeyGroup
	entries uint64
	done    bool
}

// NewReader reads the header of a stream.
func NewReader(r io.Reader) (*Reader, error) {
	in := &Reader{in: sections{r: r}, ids: map[uint16]bool{}}
	var start [len(magic)]byte
	if _, err := io.ReadFull(r, start[:]); err != nil {
		return nil, short(err)
	}
	if string(start[:]) != magic {
		return nil, corrupt("it begins %q, not %q: it is no snapshot, or of another version", start[:], magic)
	}
	kind, payload, err := in.in.next()
	if err != nil {
		return nil, err
	}
	if kind != sectionHeader {
		return nil, corrupt("its first section is %q, not a header", kind)
	}
	var head header
	if rest, err := headerCodec.Decode(payload, &head); err != nil {
		return nil, corrupt("header: %w", err)
	} else if len(rest) > 0 {
		return nil, corrupt("header: %d bytes too many", len(rest))
	}
	if in.head, err = head.header(); err != nil {
		return nil, err
	}
	for _, s := range in.head.States {
		in.ids[s.ID] = true
	}
	return in, nil
}

// Header says what the stream holds.
func (r *Reader) Header() *Header { return r.head }

// Next returns the next entry, which is valid until the next call, or io.EOF when
// the stream has ended as it should.
func (r *Reader) Next() (e Entry, err error) {
	for len(r.rest) == 0 {
		if r.done {
			return e, io.EOF
		}
		kind, payload, err := r.in.next()
		if err != nil {
			return e, err
		}
		switch kind {
		case sectionEntries:
			r.rest, r.first = payload, true
		case sectionEnd:
			if len(payload) != 8 || binary.BigEndian.Uint64(payload) != r.entries {
				return e, corrupt("its end does not tell the %d entries that there were", r.entries)
			}
			r.done = true
		default:
			return e, corrupt("a section of the unknown type %q", kind)
		}
	}
	key, rest, ok := takeBytes(r.rest)
	if !ok || len(key) < prefixSize {
		return e, corrupt("the key of an entry is cut off")
	}
	value, rest, ok := takeBytes(rest)
	if !ok {
		return e, corrupt("the value of an entry is cut off")
	}
	e = Entry{flow.KeyGroup(binary.BigEndian.Uint16(key)), binary.BigEndian.Uint16(key[2:]), key[prefixSize:], value}
	if !r.first && e.Group != r.group {
		return e, corrupt("entries of the key groups %d and %d in one section", r.group, e.Group)
	}
	if !r.ids[e.ID] {
		return e, corrupt("an entry of state %d, which the header does not name", e.ID)
	}
	r.rest, r.first, r.group = rest, false, e.Group
	r.entries++
	return e, nil
}
