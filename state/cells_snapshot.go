package state

import (
	"errors"

	"github.com/weirflow/weir/flow"
)

// errTwice says that a snapshot, or several together, hold an entry twice.
var errTwice = errors.New("an entry is there twice")

// Schema is the shape of the entries.
func (c *Cells[K, N, V]) Schema() Schema { return c.f.schema() }

// Freeze gives access to all entries by key group. It also gives back memory not
// needed since the last call.
func (c *Cells[K, N, V]) Freeze(maxParallelism int, r flow.KeyGroupRange) (Frozen, error) {
	c.t.trim()
	g, err := byGroup(c.f.desc, c.t.n, maxParallelism, r, c.t.each)
	if err != nil {
		return nil, err
	}
	return &frozenCells[K, N, V]{f: &c.f, g: g}, nil
}

type frozenCells[K, N comparable, V any] struct {
	f          *format[K, N, V]
	g          *groups[*slot[K, N, V]]
	key, value []byte
}

func (z *frozenCells[K, N, V]) Each(g flow.KeyGroup, f func(key, value []byte) error) (err error) {
	defer caught(z.f.desc, &err)
	for _, e := range z.g.of(g) {
		z.key = z.f.appendKey(z.key[:0], &e.k, &e.n)
		z.value = z.f.value.Append(z.value[:0], &e.v)
		if err := f(z.key, z.value); err != nil {
			return err
		}
	}
	return nil
}

// Loader takes entries that were written with another schema, or the same.
func (c *Cells[K, N, V]) Loader(maxParallelism int, written Schema) (Loader, error) {
	f, err := c.f.reading(written)
	if err != nil {
		return nil, err
	}
	return &cellsLoader[K, N, V]{c: c, f: f, max: maxParallelism}, nil
}

type cellsLoader[K, N comparable, V any] struct {
	c   *Cells[K, N, V]
	f   format[K, N, V]
	max int
}

func (l *cellsLoader[K, N, V]) Load(g flow.KeyGroup, key, value []byte) error {
	_, err := l.load(g, key, value)
	return err
}

// load returns where the value now is.
func (l *cellsLoader[K, N, V]) load(g flow.KeyGroup, key, value []byte) (*V, error) {
	h, k, n, err := l.f.decodeKey(key, g, l.max)
	if err != nil {
		return nil, err
	}
	var v V
	if err := l.f.decodeValue(value, &v); err != nil {
		return nil, err
	}
	p, fresh := l.c.t.ref(h, k, n)
	if !fresh {
		return nil, l.f.corrupt("key", errTwice)
	}
	*p = v
	return p, nil
}

func (l *cellsLoader[K, N, V]) Done() {}
