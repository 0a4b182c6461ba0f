package state

import "github.com/weirflow/weir/flow"

// Current is the key that handles refer to. Whoever runs user code sets it
// before each call.
type Current[K comparable] struct {
	Hash flow.Hash
	Key  K
}

// Value is a single value of the current key.
type Value[V any] interface {
	Get() (v V, ok bool)
	Set(v V)
	Clear()
}

// List is a list of the current key.
type List[V any] interface {
	// Get returns the list, oldest value first. It is lent: for reading, and valid
	// until the next call on the state.
	Get() []V
	Append(v ...V)
	// Set replaces the list by a copy of v.
	Set(v []V)
	Clear()
}

// Map is a map of the current key.
type Map[U comparable, V any] interface {
	Get(u U) (v V, ok bool)
	Set(u U, v V)
	// Delete reports whether u was there.
	Delete(u U) bool
	// Each calls f for all entries, in any order, until it returns false. f must
	// not change the map.
	Each(f func(u U, v V) bool)
	Len() int
	Clear()
}

// Reducing folds values of the current key into one of the same type.
type Reducing[V any] interface {
	Add(v V)
	Get() (v V, ok bool)
	Clear()
}

// Aggregating folds values of the current key into an accumulator.
type Aggregating[In, Out any] interface {
	Add(v In)
	// Get returns the result, and false if nothing was added.
	Get() (v Out, ok bool)
	Clear()
}

type valueHandle[K comparable, V any] struct {
	cur *Current[K]
	c   *Cells[K, struct{}, V]
}

// BindValue makes a handle on cur's value in c.
func BindValue[K comparable, V any](cur *Current[K], c *Cells[K, struct{}, V]) Value[V] {
	return valueHandle[K, V]{cur, c}
}

func (b valueHandle[K, V]) Get() (v V, ok bool) {
	if p := b.c.Find(b.cur.Hash, b.cur.Key, struct{}{}); p != nil {
		return *p, true
	}
	return v, false
}

func (b valueHandle[K, V]) Set(v V) { b.c.Put(b.cur.Hash, b.cur.Key, struct{}{}, v) }
func (b valueHandle[K, V]) Clear()  { b.c.Delete(b.cur.Hash, b.cur.Key, struct{}{}) }

type listHandle[K comparable, V any] struct {
	cur *Current[K]
	l   *Lists[K, V]
}

// BindList makes a handle on cur's list in l.
func BindList[K comparable, V any](cur *Current[K], l *Lists[K, V]) List[V] {
	return listHandle[K, V]{cur, l}
}

func (b listHandle[K, V]) Get() []V      { return b.l.Get(b.cur.Hash, b.cur.Key) }
func (b listHandle[K, V]) Append(v ...V) { b.l.Append(b.cur.Hash, b.cur.Key, v...) }
func (b listHandle[K, V]) Set(v []V)     { b.l.Set(b.cur.Hash, b.cur.Key, v) }
func (b listHandle[K, V]) Clear()        { b.l.Delete(b.cur.Hash, b.cur.Key) }

type mapHandle[K, U comparable, V any] struct {
	cur *Current[K]
	m   *Maps[K, U, V]
}

// BindMap makes a handle on cur's map in m.
func BindMap[K, U comparable, V any](cur *Current[K], m *Maps[K, U, V]) Map[U, V] {
	return mapHandle[K, U, V]{cur, m}
}

func (b mapHandle[K, U, V]) Get(u U) (V, bool)      { return b.m.Get(b.cur.Hash, b.cur.Key, u) }
func (b mapHandle[K, U, V]) Set(u U, v V)           { b.m.Put(b.cur.Hash, b.cur.Key, u, v) }
func (b mapHandle[K, U, V]) Delete(u U) bool        { return b.m.Delete(b.cur.Hash, b.cur.Key, u) }
func (b mapHandle[K, U, V]) Each(f func(U, V) bool) { b.m.Each(b.cur.Hash, b.cur.Key, f) }
func (b mapHandle[K, U, V]) Len() int               { return b.m.Len(b.cur.Hash, b.cur.Key) }
func (b mapHandle[K, U, V]) Clear()                 { b.m.Clear(b.cur.Hash, b.cur.Key) }

type reducingHandle[K comparable, V any] struct {
	valueHandle[K, V]
	reduce func(a, b V) V
}

// BindReducing makes a handle on cur's value in c that folds with reduce. reduce
// is called with the value so far and the new one; it must not use the handle.
func BindReducing[K comparable, V any](cur *Current[K], c *Cells[K, struct{}, V], reduce func(a, b V) V) Reducing[V] {
	return reducingHandle[K, V]{valueHandle[K, V]{cur, c}, reduce}
}

func (b reducingHandle[K, V]) Add(v V) {
	p, fresh := b.c.Ref(b.cur.Hash, b.cur.Key, struct{}{})
	if fresh {
		*p = v
	} else {
		*p = b.reduce(*p, v)
	}
}

type aggregatingHandle[K comparable, Acc, In, Out any] struct {
	cur    *Current[K]
	c      *Cells[K, struct{}, Acc]
	add    func(*Acc, In)
	result func(*Acc) Out
}

// BindAggregating makes a handle on cur's accumulator in c. A new accumulator is
// zero. add and result must not use the handle.
func BindAggregating[K comparable, Acc, In, Out any](cur *Current[K], c *Cells[K, struct{}, Acc],
	add func(*Acc, In), result func(*Acc) Out) Aggregating[In, Out] {
	return aggregatingHandle[K, Acc, In, Out]{cur, c, add, result}
}

func (b aggregatingHandle[K, Acc, In, Out]) Add(v In) {
	p, _ := b.c.Ref(b.cur.Hash, b.cur.Key, struct{}{})
	b.add(p, v)
}

func (b aggregatingHandle[K, Acc, In, Out]) Get() (v Out, ok bool) {
	if p := b.c.Find(b.cur.Hash, b.cur.Key, struct{}{}); p != nil {
		return b.result(p), true
	}
	return v, false
}

func (b aggregatingHandle[K, Acc, In, Out]) Clear() {
	b.c.Delete(b.cur.Hash, b.cur.Key, struct{}{})
}
