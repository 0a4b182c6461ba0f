package state

import (
	"unsafe"

	"github.com/weirflow/weir/flow"
)

// Lists holds a list of values by key. A list without values and a list that is
// not there are the same.
type Lists[K comparable, V any] struct {
	t       table[K, struct{}, []V]
	f       format[K, struct{}, V]
	spilled int64 // bytes of the lists themselves
}

// NewLists declares a state of lists in s. It refuses types that cannot be
// encoded.
func NewLists[K comparable, V any](s Store, d Descriptor) (*Lists[K, V], error) {
	d.Kind = KindList
	f, err := newFormat[K, struct{}, V](d)
	if err != nil {
		return nil, err
	}
	l := &Lists[K, V]{f: f}
	l.t.init(nil)
	if err := s.Register(l); err != nil {
		return nil, err
	}
	return l, nil
}

// Append adds values at the list's end.
func (l *Lists[K, V]) Append(h flow.Hash, k K, v ...V) {
	if len(v) == 0 {
		return
	}
	p, _ := l.t.ref(h, k, struct{}{})
	before := cap(*p)
	*p = append(*p, v...)
	l.account(cap(*p) - before)
}

// Get returns the list, oldest value first. It is lent: for reading, and valid
// until the next call on l.
func (l *Lists[K, V]) Get(h flow.Hash, k K) []V {
	if p := l.t.get(h, k, struct{}{}); p != nil {
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
	p, _ := l.t.ref(h, k, struct{}{})
	before := cap(*p)
	old := *p
	if len(v) <= cap(old) && cap(old) <= 4*len(v) {
		*p = old[:copy(old[:len(v)], v)]
		if len(v) < len(old) {
			clear(old[len(v):]) // what it held must not be kept alive
		}
	} else {
		*p = append([]V(nil), v...)
	}
	l.account(cap(*p) - before)
}

// Delete removes the list and reports whether there was one.
func (l *Lists[K, V]) Delete(h flow.Hash, k K) bool {
	p := l.t.get(h, k, struct{}{})
	if p == nil {
		return false
	}
	l.account(-cap(*p))
	return l.t.remove(h, k, struct{}{})
}

// Len is the number of keys that have a list.
func (l *Lists[K, V]) Len() int { return l.t.n }

// Bytes is the memory that keys and lists take, without what they point to.
func (l *Lists[K, V]) Bytes() int64 { return l.t.bytes + l.spilled }

// Descriptor says which state this is.
func (l *Lists[K, V]) Descriptor() Descriptor { return l.f.desc }

// Each calls f for all lists, in any order, until it returns false. The lists
// are lent; f must not call methods of l.
func (l *Lists[K, V]) Each(f func(h flow.Hash, k K, v []V) bool) {
	l.t.each(func(h flow.Hash, e *slot[K, struct{}, []V]) bool { return f(h, e.k, e.v) })
}

func (l *Lists[K, V]) account(n int) {
	var v V
	l.spilled += int64(n) * int64(unsafe.Sizeof(v))
}
