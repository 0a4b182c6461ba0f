package state

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/flow"
)

// Schema is the shape of the entries. The value's is that of one value of a list.
func (l *Lists[K, V]) Schema() Schema { return l.f.schema() }

// Freeze gives access to all entries by key group. It also gives back memory not
// needed since the last call.
func (l *Lists[K, V]) Freeze(maxParallelism int, r flow.KeyGroupRange) (Frozen, error) {
	l.t.trim()
	g, err := byGroup(l.f.desc, l.t.n, maxParallelism, r, l.t.each)
	if err != nil {
		return nil, err
	}
	return &frozenLists[K, V]{f: &l.f, g: g}, nil
}

type frozenLists[K comparable, V any] struct {
	f          *format[K, struct{}, V]
	g          *groups[*slot[K, struct{}, []V]]
	key, value []byte
}

func (z *frozenLists[K, V]) Each(g flow.KeyGroup, f func(key, value []byte) error) (err error) {
	defer caught(z.f.desc, &err)
	for _, e := range z.g.of(g) {
		z.key = z.f.appendKey(z.key[:0], &e.k, &e.n)
		z.value = z.f.value.AppendValues(z.value[:0], e.v)
		if err := f(z.key, z.value); err != nil {
			return err
		}
	}
	return nil
}

// Loader takes entries that were written with another schema, or the same.
func (l *Lists[K, V]) Loader(maxParallelism int, written Schema) (Loader, error) {
	f, err := l.f.reading(written)
	if err != nil {
		return nil, err
	}
	return &listsLoader[K, V]{l: l, f: f, max: maxParallelism}, nil
}

type listsLoader[K comparable, V any] struct {
	l   *Lists[K, V]
	f   format[K, struct{}, V]
	max int
}

func (d *listsLoader[K, V]) Load(g flow.KeyGroup, key, value []byte) error {
	h, k, _, err := d.f.decodeKey(key, g, d.max)
	if err != nil {
		return err
	}
	v, rest, err := d.f.value.DecodeValues(value, nil)
	switch {
	case err != nil:
		return d.f.corrupt("value", err)
	case len(rest) > 0:
		return d.f.corrupt("value", fmt.Errorf("%d bytes too many", len(rest)))
	case len(v) == 0:
		return d.f.corrupt("value", errors.New("a list without values"))
	}
	p, fresh := d.l.t.ref(h, k, struct{}{})
	if !fresh {
		return d.f.corrupt("key", errTwice)
	}
	*p = v
	d.l.account(cap(v))
	return nil
}

func (d *listsLoader[K, V]) Done() {}
