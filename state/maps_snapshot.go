package state

import "github.com/weirflow/weir/flow"

// Schema is the shape of the entries. The namespace's is that of the maps' keys.
func (m *Maps[K, U, V]) Schema() Schema { return m.f.schema() }

// Freeze gives access to all entries by key group. It also gives back memory not
// needed since the last call.
func (m *Maps[K, U, V]) Freeze(maxParallelism int, r flow.KeyGroupRange) (Frozen, error) {
	m.t.trim()
	g, err := byGroup(m.f.desc, m.t.n, maxParallelism, r, m.t.each)
	if err != nil {
		return nil, err
	}
	return &frozenMaps[K, U, V]{f: &m.f, g: g}, nil
}

type frozenMaps[K, U comparable, V any] struct {
	f          *format[K, U, V]
	g          *groups[*slot[K, struct{}, submap[U, V]]]
	key, value []byte
}

func (z *frozenMaps[K, U, V]) Each(g flow.KeyGroup, f func(key, value []byte) error) (err error) {
	defer caught(z.f.desc, &err)
	for _, e := range z.g.of(g) {
		for i := range e.v.entries {
			p := &e.v.entries[i]
			z.key = z.f.appendKey(z.key[:0], &e.k, &p.u)
			z.value = z.f.value.Append(z.value[:0], &p.v)
			if err := f(z.key, z.value); err != nil {
				return err
			}
		}
	}
	return nil
}

// Loader takes entries that were written with another schema, or the same.
func (m *Maps[K, U, V]) Loader(maxParallelism int, written Schema) (Loader, error) {
	f, err := m.f.reading(written)
	if err != nil {
		return nil, err
	}
	return sparse{&mapsLoader[K, U, V]{m: m, f: f, max: maxParallelism}}, nil
}

type mapsLoader[K, U comparable, V any] struct {
	m   *Maps[K, U, V]
	f   format[K, U, V]
	max int
}

func (l *mapsLoader[K, U, V]) Load(g flow.KeyGroup, key, value []byte) error {
	h, k, u, err := l.f.decodeKey(key, g, l.max)
	if err != nil {
		return err
	}
	var v V
	if err := l.f.decodeValue(value, &v); err != nil {
		return err
	}
	before := l.m.Entries()
	if l.m.Put(h, k, u, v); l.m.Entries() == before {
		return l.f.corrupt("key", errTwice)
	}
	return nil
}

func (l *mapsLoader[K, U, V]) Done() {}

// Mount says that entries which the tables lack may be on a disk.
func (m *Maps[K, U, V]) Mount(to Mount) { m.p = newMapPages(&m.f, to) }

// Changed is how many entries have changed since the last Cut, about.
func (m *Maps[K, U, V]) Changed() int { return len(m.p.dirtied) }

// Cut freezes what has changed since the last Cut.
func (m *Maps[K, U, V]) Cut(put Put, join bool) { m.p.cut(put, join) }

// Flush begins to put what has changed without freezing it.
func (m *Maps[K, U, V]) Flush(put Put) { m.p.flush(put) }

// Drain gives about n entries of the cut to put.
func (m *Maps[K, U, V]) Drain(n int) (done bool) { return m.p.drain(n) }

// Settled says that all that was put is on disk.
func (m *Maps[K, U, V]) Settled() { m.p.cuts.settled() }

// Evict lets go of about n bytes.
func (m *Maps[K, U, V]) Evict(n int64) int64 { return m.p.evict(n) }
