package memory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/portable"
)

// pending is what was restored of a state that is not registered yet.
type pending struct {
	desc   state.Descriptor
	schema state.Schema
	groups map[flow.KeyGroup][]byte // keys and values in turn, each with its length
	bytes  int64
}

// Load adds an entry.
func (p *pending) Load(g flow.KeyGroup, key, value []byte) error {
	b := p.groups[g]
	before := cap(b)
	b = appendBytes(appendBytes(b, key), value)
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
		key, b = takeBytes(b)
		value, b = takeBytes(b)
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
	if err := s.restore(r, takes); err != nil {
		return s.fail(fmt.Errorf("state/memory: restore: %w", err))
	}
	return nil
}

func (s *Store) restore(r io.Reader, takes func(flow.OperatorID) bool) error {
	in, err := portable.NewReader(r)
	if err != nil {
		return err
	}
	if err := in.Header().Check(s.opts.MaxParallelism); err != nil {
		return err
	}
	loaders := map[uint16]state.Loader{}
	for _, st := range in.Header().States {
		loaders[st.ID] = dropped{}
		if takes(st.Descriptor.Operator) {
			if loaders[st.ID], err = s.loader(st.Descriptor, st.Schema); err != nil {
				return err
			}
		}
	}
	for {
		e, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			for _, st := range in.Header().States {
				loaders[st.ID].Done()
			}
			return nil
		case err != nil:
			return err
		case !s.opts.KeyGroups.Contains(e.Group):
			continue
		}
		if err := loaders[e.ID].Load(e.Group, e.Key, e.Value); err != nil {
			return err
		}
	}
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

// takeBytes cuts a slice with its length before it off src, which appendBytes made.
func takeBytes(src []byte) (b, rest []byte) {
	n, k := binary.Uvarint(src)
	return src[k : k+int(n)], src[k+int(n):]
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}
