package state

import (
	"unsafe"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
)

// Maps holds a map by key. A map without entries and a map that is not there are
// the same.
type Maps[K, U comparable, V any] struct {
	t       table[K, struct{}, submap[U, V]]
	f       format[K, U, V]
	n       int                // entries of all maps
	spilled int64              // bytes of the maps themselves
	own     func(U) U          // nil where entries' keys have no memory of their own
	p       *mapPages[K, U, V] // in place of all that, if the store has a disk
}

// submap is the map of one key: its entries in a row, so that walking them is
// fast and its order depends on nothing but the calls made; and an index as soon
// as there are too many to look through.
type submap[U comparable, V any] struct {
	entries []pair[U, V]
	index   map[U]int32
}

type pair[U comparable, V any] struct {
	u U
	v V
}

// indexed is the number of entries from which a map has an index, and below half
// of which it loses it.
const indexed = 16

// NewMaps declares a state of maps in s. It refuses types that cannot be encoded.
func NewMaps[K, U comparable, V any](s Store, d Descriptor) (*Maps[K, U, V], error) {
	m, err := newMaps[K, U, V](d, nil)
	if err != nil {
		return nil, err
	}
	return m, s.Register(m)
}

// newMaps makes maps that read older values as open says. They are not registered
// yet.
func newMaps[K, U comparable, V any](d Descriptor, open func(codec.Schema) (decodeFunc[V], error)) (*Maps[K, U, V], error) {
	d.Kind = KindMap
	f, err := newFormat[K, U, V](d)
	if err != nil {
		return nil, err
	}
	f.open = open
	m := &Maps[K, U, V]{f: f, own: Own[U]()}
	m.t.init(nil)
	return m, nil
}

// Get returns the value of u in k's map.
func (m *Maps[K, U, V]) Get(h flow.Hash, k K, u U) (v V, ok bool) {
	if m.p != nil {
		return m.p.get(h, k, u)
	}
	if s := m.t.get(h, k, struct{}{}); s != nil {
		if i := s.find(u); i >= 0 {
			return s.entries[i].v, true
		}
	}
	return v, false
}

// Put sets the value of u in k's map.
func (m *Maps[K, U, V]) Put(h flow.Hash, k K, u U, v V) {
	if m.p != nil {
		m.p.set(h, k, u, v)
		return
	}
	s, _ := m.t.ref(h, k, struct{}{})
	if i := s.find(u); i >= 0 {
		s.entries[i].v = v
		return
	}
	if m.own != nil {
		u = m.own(u)
	}
	before := s.bytes()
	s.append(u, v)
	m.n++
	m.spilled += s.bytes() - before
}

// Delete removes u from k's map and reports whether it was there.
func (m *Maps[K, U, V]) Delete(h flow.Hash, k K, u U) bool {
	if m.p != nil {
		return m.p.remove(h, k, u)
	}
	s := m.t.get(h, k, struct{}{})
	if s == nil {
		return false
	}
	i := s.find(u)
	if i < 0 {
		return false
	}
	before := s.bytes()
	s.remove(i)
	m.n--
	m.spilled += s.bytes() - before
	if len(s.entries) == 0 {
		m.Clear(h, k)
	}
	return true
}

// Each calls f for the entries of k's map, in any order, until it returns false.
// f must not call methods of m other than Get. If the store has a disk, and there
// is no room for the whole map, it is read in pieces.
func (m *Maps[K, U, V]) Each(h flow.Hash, k K, f func(u U, v V) bool) {
	if m.p != nil {
		m.p.each(h, k, f)
		return
	}
	s := m.t.get(h, k, struct{}{})
	if s == nil {
		return
	}
	for i := range s.entries {
		if e := &s.entries[i]; !f(e.u, e.v) {
			return
		}
	}
}

// Len is the number of entries of k's map. If the store has a disk it may have to
// read them, as Each.
func (m *Maps[K, U, V]) Len(h flow.Hash, k K) int {
	if m.p != nil {
		return m.p.count(h, k)
	}
	if s := m.t.get(h, k, struct{}{}); s != nil {
		return len(s.entries)
	}
	return 0
}

// Clear removes k's map. If the store has a disk each entry is deleted for itself.
func (m *Maps[K, U, V]) Clear(h flow.Hash, k K) {
	if m.p != nil {
		m.p.clear(h, k)
		return
	}
	if s := m.t.get(h, k, struct{}{}); s != nil {
		m.n -= len(s.entries)
		m.spilled -= s.bytes()
		m.t.remove(h, k, struct{}{})
	}
}

// EachKey calls f for all keys that have a map, in any order, until it returns
// false. f must not change m. If the store has a disk it is read from end to end.
func (m *Maps[K, U, V]) EachKey(f func(h flow.Hash, k K) bool) {
	if m.p != nil {
		m.p.eachKey(f)
		return
	}
	m.t.each(func(h flow.Hash, e *slot[K, struct{}, submap[U, V]]) bool { return f(h, e.k) })
}

// Entries is the number of entries of all maps, here and on disk.
func (m *Maps[K, U, V]) Entries() int64 {
	if m.p != nil {
		return m.p.total
	}
	return int64(m.n)
}

// Bytes is the memory that keys and maps take, without what they point to; that is
// estimated and added if the store has a disk.
func (m *Maps[K, U, V]) Bytes() int64 {
	if m.p != nil {
		return m.p.memory()
	}
	return m.t.bytes + m.spilled
}

// Descriptor says which state this is.
func (m *Maps[K, U, V]) Descriptor() Descriptor { return m.f.desc }

// append adds an entry that is not there.
func (s *submap[U, V]) append(u U, v V) {
	s.entries = append(s.entries, pair[U, V]{u, v})
	if s.index != nil {
		s.index[u] = int32(len(s.entries) - 1)
	} else if len(s.entries) >= indexed {
		s.index = make(map[U]int32, 2*len(s.entries))
		for i := range s.entries {
			s.index[s.entries[i].u] = int32(i)
		}
	}
}

// remove takes out entry i; the last one takes its place.
func (s *submap[U, V]) remove(i int) {
	last := len(s.entries) - 1
	if s.index != nil {
		delete(s.index, s.entries[i].u)
		if i != last {
			s.index[s.entries[last].u] = int32(i)
		}
	}
	s.entries[i] = s.entries[last]
	s.entries[last] = pair[U, V]{}
	s.entries = s.entries[:last]
	if last < indexed/2 {
		s.index = nil
	}
	if c := cap(s.entries); c > indexed && last < c/4 {
		s.entries = append(make([]pair[U, V], 0, c/2), s.entries...)
	}
}

func (s *submap[U, V]) find(u U) int {
	if s.index != nil {
		if i, ok := s.index[u]; ok {
			return int(i)
		}
		return -1
	}
	for i := range s.entries {
		if s.entries[i].u == u {
			return i
		}
	}
	return -1
}

// bytes estimates the index: Go's map takes a key, a value and a control byte at
// 7/8 load or less.
func (s *submap[U, V]) bytes() int64 {
	var e pair[U, V]
	var u U
	return int64(cap(s.entries))*int64(unsafe.Sizeof(e)) + int64(len(s.index))*int64(unsafe.Sizeof(u)+5)*4/3
}
