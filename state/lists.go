package state

import (
	"errors"
	"slices"
	"unsafe"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
)

// Lists holds a list of values by key. A list without values and a list that is
// not there are the same.
//
// A list is one entry. To append to it on disk costs reading and writing all of it,
// once an epoch; a list that grows without end had better be a map by number.
type Lists[K comparable, V any] struct {
	c       *Cells[K, struct{}, []V]
	spilled int64 // bytes of the lists themselves, where cells do not count them
}

// NewLists declares a state of lists in s. It refuses types that cannot be
// encoded.
func NewLists[K comparable, V any](s Store, d Descriptor) (*Lists[K, V], error) {
	l, err := newLists[K, V](d, func(written codec.Schema) (decodeFunc[[]V], error) { return readMany[V](written, nil) })
	if err != nil {
		return nil, err
	}
	return l, s.Register(l)
}

// newLists makes lists that read older values as open says.
func newLists[K comparable, V any](d Descriptor, open func(codec.Schema) (decodeFunc[[]V], error)) (*Lists[K, V], error) {
	if _, err := codec.For[V](); err != nil {
		return nil, labelledState(d, err)
	}
	d.Kind = KindList
	c, err := newOptioned[K](d, open)
	return &Lists[K, V]{c: c.Cells}, err
}

// Append adds values at the list's end.
func (l *Lists[K, V]) Append(h flow.Hash, k K, v ...V) {
	if len(v) == 0 {
		return
	}
	p, _ := l.c.t.ref(h, k, struct{}{})
	before := cap(*p)
	*p = append(*p, v...)
	l.account(cap(*p) - before)
}

// Get returns the list, oldest value first. It is lent: for reading, and valid
// until the next call on l.
func (l *Lists[K, V]) Get(h flow.Hash, k K) []V {
	if p := l.c.t.get(h, k, struct{}{}); p != nil {
		return *p
	}
	return nil
}

// Set replaces the list by a copy of v, which may be part of what Get returned.
func (l *Lists[K, V]) Set(h flow.Hash, k K, v []V) {
	if len(v) == 0 {
		l.Delete(h, k)
		return
	}
	p, _ := l.c.t.ref(h, k, struct{}{})
	before := cap(*p)
	*p = replaced(*p, v)
	l.account(cap(*p) - before)
}

// replaced is old with the contents of v, which may be a part of it, in the same
// memory if it fits well.
func replaced[V any](old, v []V) []V {
	if len(v) > cap(old) || cap(old) > 4*len(v) {
		return slices.Clone(v)
	}
	list := old[:copy(old[:len(v)], v)]
	if len(v) < len(old) {
		clear(old[len(v):]) // what it held must not be kept alive
	}
	return list
}

// Delete removes the list and reports whether there was one.
func (l *Lists[K, V]) Delete(h flow.Hash, k K) bool {
	if l.c.t.pages == nil {
		if p := l.c.t.get(h, k, struct{}{}); p != nil {
			l.account(-cap(*p))
		}
	}
	return l.c.t.remove(h, k, struct{}{})
}

// Len is the number of keys that have a list.
func (l *Lists[K, V]) Len() int { return l.c.Len() }

// Bytes is the memory that keys and lists take, without what they point to; that is
// estimated and added if the store has a disk.
func (l *Lists[K, V]) Bytes() int64 { return l.c.Bytes() + l.spilled }

// Descriptor says which state this is.
func (l *Lists[K, V]) Descriptor() Descriptor { return l.c.f.desc }

// Each calls f for all lists, in any order, until it returns false. The lists
// are lent; f must not call methods of l. If the store has a disk it is read from
// end to end.
func (l *Lists[K, V]) Each(f func(h flow.Hash, k K, v []V) bool) {
	l.c.t.each(func(h flow.Hash, e *slot[K, struct{}, []V]) bool { return f(h, e.k, e.v) })
}

// account counts memory that a list takes more.
func (l *Lists[K, V]) account(n int) {
	if n == 0 || l.c.t.pages != nil {
		return
	}
	var v V
	l.spilled += int64(n) * int64(unsafe.Sizeof(v))
}

// errNoValues says that there is a list without values.
var errNoValues = errors.New("a list without values")
