package operator

import (
	"errors"
	"fmt"
	"slices"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/state"
)

// BroadcastState is a map of which every subtask has a copy.
//
// It is in memory, since it is small by its nature: every subtask has all of it
// anyway. It is part of each epoch as operator state, and with another parallelism
// every subtask is given one of the copies.
type BroadcastState[U comparable, V any] struct {
	name string
	// entries are in the order in which they were first set; those that were deleted
	// are taken out when they are many.
	entries []broadcastEntry[U, V]
	index   map[U]int
	item    *codec.Codec[broadcastItem[U, V]]
	// items is the stored form, nil when entries have changed.
	items [][]byte
}

type broadcastEntry[U comparable, V any] struct {
	key  U
	val  V
	live bool
}

// broadcastItem is the stored form of an entry. The first item of a state is the
// schema of the others.
type broadcastItem[U comparable, V any] struct {
	Key   U `msgpack:"key"`
	Value V `msgpack:"value"`
}

// keptState is the untyped face of a BroadcastState.
type keptState interface {
	is(name string) bool
	keep() checkpoint.OperatorState
	restore(checkpoint.OperatorState) error
}

// NewBroadcastState declares a broadcast state.
func NewBroadcastState[U comparable, V any, K comparable](s *Setup[K], name string) *BroadcastState[U, V] {
	if s.ctx == nil {
		s.decl.state(name, "broadcast", "", typeName[U]()+" to "+typeName[V]())
		if err := errors.Join(encodable[U](), encodable[V]()); err != nil {
			s.decl.err = errors.Join(s.decl.err, fmt.Errorf("state %q: %w", name, err))
		}
		return nil
	}
	item, err := codec.For[broadcastItem[U, V]]()
	if err != nil {
		s.fail(fmt.Errorf("state %q: %w", name, err))
		return nil
	}
	st := &BroadcastState[U, V]{name: name, index: map[U]int{}, item: item}
	s.broadcast = append(s.broadcast, st)
	return st
}

// Get returns the value of u.
func (s *BroadcastState[U, V]) Get(u U) (v V, ok bool) {
	i, ok := s.index[u]
	if !ok {
		return v, false
	}
	return s.entries[i].val, true
}

// Each calls f for all entries until it returns false, in an order that is the
// same where the same calls of Set and Delete were made. f must not change the
// state.
func (s *BroadcastState[U, V]) Each(f func(u U, v V) bool) {
	for i := range s.entries {
		if e := &s.entries[i]; e.live && !f(e.key, e.val) {
			return
		}
	}
}

// Len is the number of entries.
func (s *BroadcastState[U, V]) Len() int { return len(s.index) }

// Set sets the value of u. b is what the Broadcast function was given; it panics
// if that call is over.
func (s *BroadcastState[U, V]) Set(b *Broadcast, u U, v V) {
	b.mustBeOpen()
	s.set(u, v)
}

func (s *BroadcastState[U, V]) set(u U, v V) {
	s.items = nil
	if i, ok := s.index[u]; ok {
		s.entries[i].val = v
		return
	}
	s.index[u] = len(s.entries)
	s.entries = append(s.entries, broadcastEntry[U, V]{u, v, true})
}

// Delete removes u and reports whether it was there. b is what the Broadcast
// function was given; it panics if that call is over.
func (s *BroadcastState[U, V]) Delete(b *Broadcast, u U) (was bool) {
	b.mustBeOpen()
	i, was := s.index[u]
	if !was {
		return false
	}
	s.items = nil
	delete(s.index, u)
	s.entries[i] = broadcastEntry[U, V]{}
	if len(s.entries) > 2*len(s.index)+16 {
		s.entries = slices.DeleteFunc(s.entries, func(e broadcastEntry[U, V]) bool { return !e.live })
		for i := range s.entries {
			s.index[s.entries[i].key] = i
		}
	}
	return true
}

func (s *BroadcastState[U, V]) is(name string) bool { return s.name == name }

// keep encodes the state, if it has changed since it was last encoded. A value that
// was changed behind our back, through a pointer in it, is not seen: Set says that a
// value has changed.
func (s *BroadcastState[U, V]) keep() checkpoint.OperatorState {
	if s.items == nil {
		schema := s.item.Schema()
		s.items = append(make([][]byte, 0, 1+len(s.index)), schemaCodec.AppendNamed(nil, &schema))
		s.Each(func(u U, v V) bool {
			s.items = append(s.items, s.item.Append(nil, &broadcastItem[U, V]{u, v}))
			return true
		})
	}
	return checkpoint.OperatorState{Name: s.name, Mode: checkpoint.Broadcast, Items: s.items}
}

func (s *BroadcastState[U, V]) restore(o checkpoint.OperatorState) error {
	if o.Mode != checkpoint.Broadcast || len(o.Items) == 0 {
		return fmt.Errorf("%w: %q is no broadcast state there", state.ErrIncompatible, s.name)
	}
	var written codec.Schema
	if _, err := schemaCodec.Decode(o.Items[0], &written); err != nil {
		return fmt.Errorf("%w: the schema of broadcast state %q: %w", state.ErrCorrupt, s.name, err)
	}
	reading, err := s.item.Reading(written)
	if err != nil {
		return fmt.Errorf("%w: broadcast state %q: %w", state.ErrIncompatible, s.name, err)
	}
	s.entries, s.index = nil, map[U]int{}
	for i, b := range o.Items[1:] {
		var e broadcastItem[U, V]
		rest, err := reading.Decode(b, &e)
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("%d bytes too many", len(rest))
		}
		if err != nil {
			return fmt.Errorf("%w: entry %d of broadcast state %q: %w", state.ErrCorrupt, i, s.name, err)
		}
		s.set(e.Key, e.Value)
	}
	return nil
}

var schemaCodec = func() *codec.Codec[codec.Schema] {
	c, err := codec.For[codec.Schema]()
	if err != nil {
		panic("operator: " + err.Error()) // the type is ours
	}
	return c
}()
