package state

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
)

// optioned is cells whose values may have been stored with a time to live, or as
// another type.
type optioned[K comparable, V any] struct {
	*Cells[K, struct{}, V]
}

// Loader passes over what has expired.
func (c optioned[K, V]) Loader(maxParallelism int, written Schema) (Loader, error) {
	l, err := c.Cells.Loader(maxParallelism, written)
	return sparse{l}, err
}

// newOptioned makes cells that read older values as open says. They are not
// registered yet.
func newOptioned[K comparable, V any](d Descriptor, open func(codec.Schema) (decodeFunc[V], error)) (optioned[K, V], error) {
	f, err := newFormat[K, struct{}, V](d)
	if err != nil {
		return optioned[K, V]{}, err
	}
	f.open = open
	c := &Cells[K, struct{}, V]{f: f}
	c.t.init(f.mix)
	c.t.unhashed(f.hash)
	return optioned[K, V]{c}, nil
}

// expiring is cells with a time to live.
type expiring[K comparable, V any] struct {
	optioned[K, stamped[V]]
	life
	sweeping
	swept sweptCells[K, V]
}

// newExpiring registers cells with a time to live.
func newExpiring[K comparable, V any](s Store, d Descriptor, l life, open func(codec.Schema) (decodeFunc[stamped[V]], error)) (*expiring[K, V], error) {
	o, err := newOptioned[K](d, open)
	if err != nil {
		return nil, err
	}
	e := &expiring[K, V]{optioned: o, life: l, swept: sweptCells[K, V]{c: o.Cells}}
	return e, s.Register(e)
}

// find returns a value for reading.
func (e *expiring[K, V]) find(h flow.Hash, k K) *V {
	p := e.Find(h, k, struct{}{})
	if p == nil {
		return nil
	}
	now := e.now()
	if p.Expires <= now {
		e.Delete(h, k, struct{}{})
		return nil
	}
	if e.onRead {
		p, _ = e.Ref(h, k, struct{}{})
		p.Expires = now.Plus(e.after)
	}
	return &p.Value
}

// ref returns a value for changing, which is new and zero if fresh.
func (e *expiring[K, V]) ref(h flow.Hash, k K) (v *V, fresh bool) {
	p, fresh := e.Ref(h, k, struct{}{})
	now := e.now()
	if !fresh && p.Expires <= now {
		*p = stamped[V]{}
		fresh = true
	}
	p.Expires = now.Plus(e.after)
	return &p.Value, fresh
}

// Freeze leaves out what has expired.
func (e *expiring[K, V]) Freeze(maxParallelism int, groups flow.KeyGroupRange) (Frozen, error) {
	z, err := e.Cells.Freeze(maxParallelism, groups)
	return live{z, e.now()}, err
}

// Mount says that entries which the tables lack may be on a disk.
func (e *expiring[K, V]) Mount(m Mount) {
	e.sweeping.mount(m)
	e.Cells.Mount(m)
}

// Sweep removes some of what has expired.
func (e *expiring[K, V]) Sweep(n int) (more bool) {
	return e.sweep(&e.life, n, &e.swept)
}
