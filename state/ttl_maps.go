package state

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
)

// expiringMaps is maps whose entries have a time to live.
type expiringMaps[K, U comparable, V any] struct {
	*Maps[K, U, stamped[V]]
	life
	sweeping
	swept sweptMaps[K, U, V]
}

// newExpiringMaps registers maps whose entries have a time to live.
func newExpiringMaps[K, U comparable, V any](s Store, d Descriptor, l life,
	open func(codec.Schema) (decodeFunc[stamped[V]], error)) (*expiringMaps[K, U, V], error) {
	m, err := newMaps[K, U](d, open)
	if err != nil {
		return nil, err
	}
	e := &expiringMaps[K, U, V]{Maps: m, life: l, swept: sweptMaps[K, U, V]{m: m}}
	return e, s.Register(e)
}

func (e *expiringMaps[K, U, V]) get(h flow.Hash, k K, u U) (v V, ok bool) {
	s, ok := e.Get(h, k, u)
	if !ok {
		return v, false
	}
	now := e.now()
	switch {
	case s.Expires <= now:
		return v, false
	case e.onRead && !e.walking():
		s.Expires = now.Plus(e.after)
		e.Put(h, k, u, s)
	}
	return s.Value, true
}

// walking reports that each is under way, during which nothing can be written.
func (e *expiringMaps[K, U, V]) walking() bool { return e.swept.walking > 0 }

func (e *expiringMaps[K, U, V]) put(h flow.Hash, k K, u U, v V) {
	e.Put(h, k, u, stamped[V]{e.now().Plus(e.after), v})
}

func (e *expiringMaps[K, U, V]) remove(h flow.Hash, k K, u U) bool {
	s, ok := e.Get(h, k, u)
	return ok && e.Delete(h, k, u) && s.Expires > e.now()
}

// each calls f for the entries that have not expired. With OnReadAndWrite those are
// renewed that f was called for.
func (e *expiringMaps[K, U, V]) each(h flow.Hash, k K, f func(u U, v V) bool) {
	now := e.now()
	var seen []pair[U, stamped[V]]
	e.swept.walking++
	defer func() {
		e.swept.walking--
		for _, p := range seen {
			p.v.Expires = now.Plus(e.after)
			e.Put(h, k, p.u, p.v)
		}
	}()
	e.Each(h, k, func(u U, s stamped[V]) bool {
		if s.Expires <= now {
			return true
		}
		if e.onRead {
			seen = append(seen, pair[U, stamped[V]]{u, s})
		}
		return f(u, s.Value)
	})
}

// count goes through the map: an entry may expire at any time.
func (e *expiringMaps[K, U, V]) count(h flow.Hash, k K) (n int) {
	now := e.now()
	e.Each(h, k, func(_ U, s stamped[V]) bool {
		if s.Expires > now {
			n++
		}
		return true
	})
	return n
}

// Freeze leaves out what has expired.
func (e *expiringMaps[K, U, V]) Freeze(maxParallelism int, groups flow.KeyGroupRange) (Frozen, error) {
	z, err := e.Maps.Freeze(maxParallelism, groups)
	return live{z, e.now()}, err
}

// Mount says that entries which the tables lack may be on a disk.
func (e *expiringMaps[K, U, V]) Mount(m Mount) {
	e.sweeping.mount(m)
	e.Maps.Mount(m)
}

// Sweep removes some of what has expired.
func (e *expiringMaps[K, U, V]) Sweep(n int) (more bool) {
	return e.sweep(&e.life, n, &e.swept)
}

// sweptMaps is maps as a sweep sees them.
type sweptMaps[K, U comparable, V any] struct {
	m       *Maps[K, U, stamped[V]]
	walking int
	plain   walk[K, struct{}, submap[U, stamped[V]]]
	paged   walk[K, struct{}, *pagedMap[K, U, stamped[V]]]
	expired []doomed[K, U]
}

func (s *sweptMaps[K, U, V]) here(n int, now, most flow.Time) (done bool) {
	look := func(h flow.Hash, k K, m *submap[U, stamped[V]], marks []mark) {
		n -= len(m.entries)
		for i := range m.entries {
			e := &m.entries[i]
			if (marks == nil || marks[i]&gone == 0) && (e.v.Expires <= now || e.v.Expires > most) {
				s.expired = append(s.expired, doomed[K, U]{h, k, e.u})
			}
		}
	}
	const slots = 8 // at a time: a map may be large
	for n > 0 && !done {
		n -= slots
		if s.m.p != nil {
			done = s.paged.some(&s.m.p.t, slots, func(h flow.Hash, e *slot[K, struct{}, *pagedMap[K, U, stamped[V]]]) {
				look(h, e.k, &e.v.submap, e.v.marks)
			})
		} else {
			done = s.plain.some(&s.m.t, slots, func(h flow.Hash, e *slot[K, struct{}, submap[U, stamped[V]]]) {
				look(h, e.k, &e.v, nil)
			})
		}
	}
	for _, e := range s.expired {
		s.settle(e.h, e.k, e.u, now, most)
	}
	clear(s.expired)
	s.expired = s.expired[:0]
	return done
}

func (s *sweptMaps[K, U, V]) there(g flow.KeyGroup, key []byte, now, most flow.Time) {
	h, k, u, err := s.m.f.decodeKey(key, g, s.m.p.MaxParallelism)
	if err != nil {
		s.m.p.Disk.Fail(err)
		return
	}
	s.settle(h, k, u, now, most)
}

// settle removes an entry that has expired, or lets it expire at most.
func (s *sweptMaps[K, U, V]) settle(h flow.Hash, k K, u U, now, most flow.Time) {
	v, ok := s.m.Get(h, k, u)
	switch {
	case !ok:
	case v.Expires <= now:
		s.m.Delete(h, k, u)
	case v.Expires > most:
		v.Expires = most
		s.m.Put(h, k, u, v)
	}
}

// doomed is an entry that a sweep has found.
type doomed[K, U comparable] struct {
	h flow.Hash
	k K
	u U
}
