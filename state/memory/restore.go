package memory

import (
	"encoding/binary"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// pending is what was restored of a state that is not registered yet.
type pending struct {
	desc   state.Descriptor
	schema state.Schema
	groups map[flow.KeyGroup][]byte // entries as in a section, without prefix
	bytes  int64
}

// Load adds an entry.
func (p *pending) Load(g flow.KeyGroup, key, value []byte) error {
	b := p.groups[g]
	before := cap(b)
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	b = binary.AppendUvarint(b, uint64(len(value)))
	b = append(b, value...)
	p.groups[g] = b
	p.bytes += int64(cap(b) - before)
	return nil
}

// Done does nothing.
func (p *pending) Done() {}

// Each calls f for all entries of a key group.
func (p *pending) Each(g flow.KeyGroup, f func(key, value []byte) error) error {
	for b := p.groups[g]; len(b) > 0; {
		var key, value []byte
		key, b, _ = takeBytes(b)
		value, b, _ = takeBytes(b)
		if err := f(key, value); err != nil {
			return err
		}
	}
	return nil
}

func sameState(a, b state.Descriptor) bool { return a.Operator == b.Operator && a.Name == b.Name }

// claim gives a state that has just been registered what is pending of it.
func (s *Store) claim(r state.Resident) error {
	i := slices.IndexFunc(s.pending, func(p *pending) bool { return sameState(p.desc, r.Descriptor()) })
	if i < 0 {
		return nil
	}
	p := s.pending[i]
	l, err := r.Loader(s.opts.MaxParallelism, p.schema)
	if err != nil {
		return err
	}
	for g := s.opts.KeyGroups.First; g < s.opts.KeyGroups.End; g++ {
		if err := p.Each(g, func(key, value []byte) error { return l.Load(g, key, value) }); err != nil {
			return err
		}
	}
	l.Done()
	s.pending = slices.Delete(s.pending, i, i+1)
	return nil
}

// Read adds what a stream of the portable form holds of the store's key groups.
func (s *Store) Read(r io.Reader) error {
	return s.read(r, func(flow.OperatorID) bool { return true })
}

// read adds the states of the operators that takes says.
func (s *Store) read(r io.Reader, takes func(flow.OperatorID) bool) error {
	if s.err != nil {
		return s.err
	}
	if err := s.restore(&sections{r: r}, takes); err != nil {
		return s.fail(fmt.Errorf("state/memory: restore: %w", err))
	}
	return nil
}

func (s *Store) restore(in *sections, takes func(flow.OperatorID) bool) error {
	var start [len(magic)]byte
	if _, err := io.ReadFull(in.r, start[:]); err != nil {
		return short(err)
	}
	if string(start[:]) != magic {
		return corrupt("it begins %q, not %q: it is no snapshot, or of another version", start[:], magic)
	}
	kind, payload, err := in.next()
	if err != nil {
		return err
	}
	if kind != sectionHeader {
		return corrupt("its first section is %q, not a header", kind)
	}
	var head header
	if rest, err := headerCodec.Decode(payload, &head); err != nil {
		return corrupt("header: %w", err)
	} else if len(rest) > 0 {
		return corrupt("header: %d bytes too many", len(rest))
	}
	if head.MaxParallelism != s.opts.MaxParallelism {
		return fmt.Errorf("%w: it was made with max parallelism %d and cannot be read with %d; "+
			"the number is fixed for the life of a job's state", state.ErrIncompatible, head.MaxParallelism, s.opts.MaxParallelism)
	}
	loaders, err := s.loaders(&head, takes)
	if err != nil {
		return err
	}
	for entries := uint64(0); ; {
		kind, payload, err := in.next()
		if err != nil {
			return err
		}
		switch kind {
		case sectionEntries:
			n, err := s.load(loaders, payload)
			if err != nil {
				return err
			}
			entries += n
		case sectionEnd:
			if len(payload) != 8 || binary.BigEndian.Uint64(payload) != entries {
				return corrupt("its end does not tell the %d entries that there were", entries)
			}
			for _, l := range loaders {
				l.Done()
			}
			return nil
		default:
			return corrupt("a section of the unknown type %q", kind)
		}
	}
}

// loaders finds, for each state of a snapshot, who takes its entries.
func (s *Store) loaders(head *header, takes func(flow.OperatorID) bool) (map[uint16]state.Loader, error) {
	loaders := make(map[uint16]state.Loader, len(head.States))
	seen := make(map[state.Descriptor]bool, len(head.States))
	for i := range head.States {
		h := &head.States[i]
		d := h.descriptor()
		name := state.Descriptor{Operator: d.Operator, Name: d.Name}
		if seen[name] || loaders[h.ID] != nil {
			return nil, corrupt("header: %s is there twice, or its id", d)
		}
		seen[name] = true
		if !takes(d.Operator) {
			loaders[h.ID] = dropped{}
			continue
		}
		l, err := s.loader(d, h.schema())
		if err != nil {
			return nil, err
		}
		loaders[h.ID] = l
	}
	return loaders, nil
}

func (s *Store) loader(d state.Descriptor, written state.Schema) (state.Loader, error) {
	for _, r := range s.states {
		if sameState(r.Descriptor(), d) {
			return r.Loader(s.opts.MaxParallelism, written)
		}
	}
	for _, p := range s.pending {
		if !sameState(p.desc, d) {
			continue
		}
		if !reflect.DeepEqual(p.schema, written) {
			return nil, fmt.Errorf("%w: two snapshots that are restored together hold %s with different types", state.ErrIncompatible, d)
		}
		return p, nil
	}
	p := &pending{desc: d, schema: written, groups: map[flow.KeyGroup][]byte{}}
	s.pending = append(s.pending, p)
	return p, nil
}

// load loads the entries of a section, if they are of the store's key groups.
func (s *Store) load(loaders map[uint16]state.Loader, payload []byte) (entries uint64, err error) {
	var group flow.KeyGroup
	for b := payload; len(b) > 0; entries++ {
		key, rest, ok := takeBytes(b)
		if !ok || len(key) < prefixSize {
			return 0, corrupt("the key of an entry is cut off")
		}
		value, rest, ok := takeBytes(rest)
		if !ok {
			return 0, corrupt("the value of an entry is cut off")
		}
		g := flow.KeyGroup(binary.BigEndian.Uint16(key))
		id := binary.BigEndian.Uint16(key[2:])
		if entries > 0 && g != group {
			return 0, corrupt("entries of the key groups %d and %d in one section", group, g)
		}
		group, b = g, rest
		l := loaders[id]
		if l == nil {
			return 0, corrupt("an entry of state %d, which the header does not name", id)
		}
		if !s.opts.KeyGroups.Contains(g) {
			continue
		}
		if err := l.Load(g, key[prefixSize:], value); err != nil {
			return 0, err
		}
	}
	return entries, nil
}
