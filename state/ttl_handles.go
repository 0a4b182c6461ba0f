package state

import (
	"github.com/weirflow/weir/flow/codec"
)

// NewValue declares a value for each key in s and returns a handle on cur's.
func NewValue[K comparable, V any](s Store, d Descriptor, cur *Current[K], o Options[V]) (Value[V], error) {
	c, e, err := newValues[K](s, d, &o)
	switch {
	case err != nil:
		return nil, err
	case e != nil:
		return expiringValue[K, V]{cur, e}, nil
	}
	return BindValue(cur, c), nil
}

// NewReducing declares a value for each key that others are folded into by reduce;
// see [BindReducing].
func NewReducing[K comparable, V any](s Store, d Descriptor, cur *Current[K], o Options[V], reduce func(a, b V) V) (Reducing[V], error) {
	c, e, err := newValues[K](s, d, &o)
	switch {
	case err != nil:
		return nil, err
	case e != nil:
		return expiringReducing[K, V]{expiringValue[K, V]{cur, e}, reduce}, nil
	}
	return BindReducing(cur, c, reduce), nil
}

// NewAggregating declares an accumulator for each key; see [BindAggregating].
func NewAggregating[K comparable, Acc, In, Out any](s Store, d Descriptor, cur *Current[K], o Options[Acc],
	add func(*Acc, In), result func(*Acc) Out) (Aggregating[In, Out], error) {
	c, e, err := newValues[K](s, d, &o)
	switch {
	case err != nil:
		return nil, err
	case e != nil:
		return expiringAggregating[K, Acc, In, Out]{cur, e, add, result}, nil
	}
	return BindAggregating(cur, c, add, result), nil
}

// newValues registers cells, with a time to live or without.
func newValues[K comparable, V any](s Store, d Descriptor, o *Options[V]) (*Cells[K, struct{}, V], *expiring[K, V], error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, nil, err
	}
	d.Kind = KindValue
	l := o.life()
	if l.after > 0 {
		e, err := newExpiring[K](s, d, l, func(written codec.Schema) (decodeFunc[stamped[V]], error) {
			inner, was := unstamp(written)
			read, err := readOne(inner, o.Migrations)
			return stampedReader(l, was, read), err
		})
		return nil, e, err
	}
	c, err := newOptioned[K](d, func(written codec.Schema) (decodeFunc[V], error) {
		inner, was := unstamp(written)
		read, err := readOne(inner, o.Migrations)
		return plainReader(l.now, was, read), err
	})
	if err != nil {
		return nil, nil, err
	}
	return c.Cells, nil, s.Register(c)
}

// NewList declares a list for each key in s and returns a handle on cur's. A time
// to live is that of the whole list.
func NewList[K comparable, V any](s Store, d Descriptor, cur *Current[K], o Options[V]) (List[V], error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	d.Kind = KindList
	l := o.life()
	if l.after > 0 {
		if _, err := codec.For[V](); err != nil {
			return nil, labelledState(d, err)
		}
		e, err := newExpiring[K](s, d, l, func(written codec.Schema) (decodeFunc[stamped[[]V]], error) {
			inner, was := unstamp(written)
			read, err := readMany(inner, o.Migrations)
			return stampedReader(l, was, read), err
		})
		return expiringList[K, V]{cur, e}, err
	}
	lists, err := newLists[K](d, func(written codec.Schema) (decodeFunc[[]V], error) {
		inner, was := unstamp(written)
		read, err := readMany(inner, o.Migrations)
		return plainReader(l.now, was, read), err
	})
	if err != nil {
		return nil, err
	}
	return BindList(cur, lists), s.Register(lists)
}

// NewMap declares a map for each key in s and returns a handle on cur's. A time to
// live is that of each entry.
func NewMap[K, U comparable, V any](s Store, d Descriptor, cur *Current[K], o Options[V]) (Map[U, V], error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	l := o.life()
	if l.after > 0 {
		e, err := newExpiringMaps[K, U](s, d, l, func(written codec.Schema) (decodeFunc[stamped[V]], error) {
			inner, was := unstamp(written)
			read, err := readOne(inner, o.Migrations)
			return stampedReader(l, was, read), err
		})
		return expiringMap[K, U, V]{cur, e}, err
	}
	m, err := newMaps[K, U](d, func(written codec.Schema) (decodeFunc[V], error) {
		inner, was := unstamp(written)
		read, err := readOne(inner, o.Migrations)
		return plainReader(l.now, was, read), err
	})
	if err != nil {
		return nil, err
	}
	return BindMap(cur, m), s.Register(m)
}

type expiringValue[K comparable, V any] struct {
	cur *Current[K]
	e   *expiring[K, V]
}

func (b expiringValue[K, V]) Get() (v V, ok bool) {
	if p := b.e.find(b.cur.Hash, b.cur.Key); p != nil {
		return *p, true
	}
	return v, false
}

func (b expiringValue[K, V]) Set(v V) {
	p, _ := b.e.ref(b.cur.Hash, b.cur.Key)
	*p = v
}

func (b expiringValue[K, V]) Clear() { b.e.Delete(b.cur.Hash, b.cur.Key, struct{}{}) }

type expiringReducing[K comparable, V any] struct {
	expiringValue[K, V]
	reduce func(a, b V) V
}

func (b expiringReducing[K, V]) Add(v V) {
	p, fresh := b.e.ref(b.cur.Hash, b.cur.Key)
	if fresh {
		*p = v
	} else {
		*p = b.reduce(*p, v)
	}
}

type expiringAggregating[K comparable, Acc, In, Out any] struct {
	cur    *Current[K]
	e      *expiring[K, Acc]
	add    func(*Acc, In)
	result func(*Acc) Out
}

func (b expiringAggregating[K, Acc, In, Out]) Add(v In) {
	p, _ := b.e.ref(b.cur.Hash, b.cur.Key)
	b.add(p, v)
}

func (b expiringAggregating[K, Acc, In, Out]) Get() (v Out, ok bool) {
	if p := b.e.find(b.cur.Hash, b.cur.Key); p != nil {
		return b.result(p), true
	}
	return v, false
}

func (b expiringAggregating[K, Acc, In, Out]) Clear() {
	b.e.Delete(b.cur.Hash, b.cur.Key, struct{}{})
}

type expiringList[K comparable, V any] struct {
	cur *Current[K]
	e   *expiring[K, []V]
}

func (b expiringList[K, V]) Get() []V {
	if p := b.e.find(b.cur.Hash, b.cur.Key); p != nil {
		return *p
	}
	return nil
}

func (b expiringList[K, V]) Append(v ...V) {
	if len(v) > 0 {
		p, _ := b.e.ref(b.cur.Hash, b.cur.Key)
		*p = append(*p, v...)
	}
}

func (b expiringList[K, V]) Set(v []V) {
	if len(v) == 0 {
		b.Clear()
		return
	}
	p, _ := b.e.ref(b.cur.Hash, b.cur.Key)
	*p = replaced(*p, v)
}

func (b expiringList[K, V]) Clear() { b.e.Delete(b.cur.Hash, b.cur.Key, struct{}{}) }

type expiringMap[K, U comparable, V any] struct {
	cur *Current[K]
	e   *expiringMaps[K, U, V]
}

func (b expiringMap[K, U, V]) Get(u U) (V, bool)      { return b.e.get(b.cur.Hash, b.cur.Key, u) }
func (b expiringMap[K, U, V]) Set(u U, v V)           { b.e.put(b.cur.Hash, b.cur.Key, u, v) }
func (b expiringMap[K, U, V]) Delete(u U) bool        { return b.e.remove(b.cur.Hash, b.cur.Key, u) }
func (b expiringMap[K, U, V]) Each(f func(U, V) bool) { b.e.each(b.cur.Hash, b.cur.Key, f) }
func (b expiringMap[K, U, V]) Len() int               { return b.e.count(b.cur.Hash, b.cur.Key) }
func (b expiringMap[K, U, V]) Clear()                 { b.e.Clear(b.cur.Hash, b.cur.Key) }
