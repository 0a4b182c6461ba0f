package state

import "github.com/weirflow/weir/flow"

// Cells holds typed values by key and namespace. The namespace is struct{} for
// plain state, and then costs nothing; a window for windows.
//
// All methods take the key's hash, which the caller has computed already, by
// flow/keyhash.
type Cells[K, N comparable, V any] struct {
	t table[K, N, V]
	f format[K, N, V]
}

// NewCells declares a state of single values in s. It refuses types that cannot
// be encoded.
func NewCells[K, N comparable, V any](s Store, d Descriptor) (*Cells[K, N, V], error) {
	d.Kind = KindValue
	f, err := newFormat[K, N, V](d)
	if err != nil {
		return nil, err
	}
	c := &Cells[K, N, V]{f: f}
	c.t.init(f.mix)
	c.t.unhashed(f.hash)
	if err := s.Register(c); err != nil {
		return nil, err
	}
	return c, nil
}

// Find returns the value, or nil if there is none. It is for reading, and valid
// until the next call on c.
func (c *Cells[K, N, V]) Find(h flow.Hash, k K, n N) *V { return c.t.get(h, k, n) }

// Ref returns the value for update in place, valid until the next call on c. If
// there was none it makes a zero one, and fresh is true.
func (c *Cells[K, N, V]) Ref(h flow.Hash, k K, n N) (v *V, fresh bool) { return c.t.ref(h, k, n) }

// Ahead says that the values of these hashes are asked for next. It changes nothing but
// how long that takes, in states that are larger than the processor's caches.
func (c *Cells[K, N, V]) Ahead(hashes []flow.Hash, n N) { c.t.ahead(hashes, n) }

// Put sets the value.
func (c *Cells[K, N, V]) Put(h flow.Hash, k K, n N, v V) {
	p, _ := c.t.ref(h, k, n)
	*p = v
}

// Delete removes the value and reports whether there was one.
func (c *Cells[K, N, V]) Delete(h flow.Hash, k K, n N) bool { return c.t.remove(h, k, n) }

// Len is the number of values.
func (c *Cells[K, N, V]) Len() int { return c.t.len() }

// Bytes is the memory that the values take, without what keys and values point
// to; that is estimated and added if the store has a disk.
func (c *Cells[K, N, V]) Bytes() int64 { return c.t.memory() }

// Descriptor says which state this is.
func (c *Cells[K, N, V]) Descriptor() Descriptor { return c.f.desc }

// Each calls f for all values, in any order, until it returns false. f must not
// change the value, nor call methods of c. If the store has a disk it is read from
// end to end.
func (c *Cells[K, N, V]) Each(f func(h flow.Hash, k K, n N, v *V) bool) {
	c.t.each(func(h flow.Hash, e *slot[K, N, V]) bool { return f(h, e.k, e.n, &e.v) })
}
