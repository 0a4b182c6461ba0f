package state

import (
	"fmt"
	"unsafe"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
)

// Timers holds timers by key and namespace. They come due in the order of their
// times; those of one time in the order in which they were added. The same
// (key, namespace, time) is registered once.
//
// If the store has a disk, the timers that are due first are here, and others are
// read when their time comes near; see timerPages.
//
// Window timers come in crowds: one for each key, all at the window's end. So
// timers of one time stand in one list, and the heap orders the lists, not the
// timers:
//
//	heap     (time, list) (time, list) ...    4-ary, least time first
//	lists    time -> first and last timer
//	timers   key, namespace, previous and next of the list
//	known    (key, namespace, time) -> timer
//
// A deleted timer leaves its list at once. A list that became empty stays in the
// heap until it comes to the top or until half of the heap is empty lists.
type Timers[K, N comparable] struct {
	known table[K, timerID[N], uint32]
	times table[flow.Time, struct{}, uint32]

	timers   []timer[K, N]
	lists    []timerList
	freeTmr  uint32 // chain of unused timers, by next
	freeList uint32 // chain of unused lists, by head
	heap     []due
	empty    int    // lists in the heap that are empty
	recent   uint32 // the list found last

	f format[K, N, uint64]
	p *timerPages[K, N] // nil where all timers are here
}

type timerID[N comparable] struct {
	n  N
	at flow.Time
}

type timer[K, N comparable] struct {
	h          flow.Hash
	n          N
	k          K
	list       uint32
	prev, next uint32
}

type timerList struct {
	at         flow.Time
	head, tail uint32
}

type due struct {
	at   flow.Time
	list uint32
}

// none is no timer and no list.
const none = ^uint32(0)

// NewTimers declares a state of timers in s. It refuses types that cannot be
// encoded.
func NewTimers[K, N comparable](s Store, d Descriptor) (*Timers[K, N], error) {
	d.Kind = KindTimers
	f, err := newFormat[K, N, uint64](d)
	if err != nil {
		return nil, err
	}
	var mix func(timerID[N]) flow.Hash
	if !plainWords[timerID[N]]() {
		if mix, err = keyhash.For[timerID[N]](); err != nil {
			return nil, fmt.Errorf("%s: namespace: %w", d, err)
		}
	}
	t := &Timers[K, N]{f: f, freeTmr: none, freeList: none, recent: none}
	t.known.init(mix)
	t.times.init(nil)
	if err := s.Register(t); err != nil {
		return nil, err
	}
	return t, nil
}

// Add registers a timer, if it is not there already.
func (t *Timers[K, N]) Add(h flow.Hash, k K, n N, at flow.Time) {
	p, fresh := t.known.ref(h, k, timerID[N]{n, at})
	if !fresh {
		if t.p != nil {
			t.revive(*p)
		}
		return
	}
	if t.known.own != nil {
		k = t.known.own(k)
	}
	*p = t.enlist(h, k, n, at)
	if t.p != nil {
		t.created(*p, at)
	}
}

// enlist makes a timer at the end of its time's list.
func (t *Timers[K, N]) enlist(h flow.Hash, k K, n N, at flow.Time) uint32 {
	l := t.listAt(at)
	list := &t.lists[l]
	i := t.unused()
	t.timers[i] = timer[K, N]{h: h, k: k, n: n, list: l, prev: list.tail, next: none}
	if list.tail == none {
		list.head = i
	} else {
		t.timers[list.tail].next = i
	}
	list.tail = i
	return i
}

// unused takes a timer from those that are not in use.
func (t *Timers[K, N]) unused() uint32 {
	i := t.freeTmr
	if i == none {
		i = uint32(len(t.timers))
		t.timers = append(t.timers, timer[K, N]{})
	} else {
		t.freeTmr = t.timers[i].next
	}
	return i
}

// make takes an unused timer, which is in no list yet.
func (t *Timers[K, N]) make(h flow.Hash, k K, n N) uint32 {
	i := t.unused()
	t.timers[i] = timer[K, N]{h: h, k: k, n: n}
	return i
}

// link puts timer i at the end of its time's list.
func (t *Timers[K, N]) link(i uint32, at flow.Time) {
	l := t.listAt(at)
	list := &t.lists[l]
	e := &t.timers[i]
	e.list, e.prev, e.next = l, list.tail, none
	if list.tail == none {
		list.head = i
	} else {
		t.timers[list.tail].next = i
	}
	list.tail = i
}

// listAt finds or makes the list of a time that a timer is about to be added to.
func (t *Timers[K, N]) listAt(at flow.Time) uint32 {
	if t.recent != none && t.lists[t.recent].at == at {
		if t.lists[t.recent].head == none {
			t.empty--
		}
		return t.recent
	}
	p, fresh := t.times.ref(timeHash(at), at, struct{}{})
	if fresh {
		i := t.freeList
		if i == none {
			i = uint32(len(t.lists))
			t.lists = append(t.lists, timerList{})
		} else {
			t.freeList = t.lists[i].head
		}
		t.lists[i] = timerList{at: at, head: none, tail: none}
		*p = i
		t.push(due{at, i})
	} else if t.lists[*p].head == none {
		t.empty--
	}
	t.recent = *p
	return *p
}

// timeHash spreads times, which are often multiples of a window's size.
func timeHash(at flow.Time) flow.Hash { return flow.Hash(mum(uint64(at)^mix1, mix2)) }

// Delete removes a timer and reports whether it was there.
func (t *Timers[K, N]) Delete(h flow.Hash, k K, n N, at flow.Time) bool {
	p := t.known.get(h, k, timerID[N]{n, at})
	if t.p != nil {
		return t.takeBack(h, k, n, at, p)
	}
	if p == nil {
		return false
	}
	i := *p
	t.known.remove(h, k, timerID[N]{n, at})
	if t.unlink(i); t.lists[t.timers[i].list].head == none {
		t.empty++
	}
	t.release(i)
	if t.empty > 64 && t.empty > len(t.heap)/2 {
		t.sweep()
	}
	return true
}

// unlink takes timer i out of its list.
func (t *Timers[K, N]) unlink(i uint32) {
	e := &t.timers[i]
	l := &t.lists[e.list]
	if e.prev == none {
		l.head = e.next
	} else {
		t.timers[e.prev].next = e.next
	}
	if e.next == none {
		l.tail = e.prev
	} else {
		t.timers[e.next].prev = e.prev
	}
}

// release makes timer i free for use.
func (t *Timers[K, N]) release(i uint32) {
	t.timers[i] = timer[K, N]{list: none, next: t.freeTmr}
	t.freeTmr = i
}

// releaseList forgets a list that is empty and no longer in the heap.
func (t *Timers[K, N]) releaseList(i uint32) {
	at := t.lists[i].at
	t.times.remove(timeHash(at), at, struct{}{})
	t.lists[i] = timerList{head: t.freeList}
	t.freeList = i
	if t.recent == i {
		t.recent = none
	}
}

// Next is the time of the timer that is due first.
func (t *Timers[K, N]) Next() (at flow.Time, ok bool) {
	if t.p != nil {
		t.near(flow.MaxTime)
	}
	return t.first()
}

// first is Next of the timers that are here.
func (t *Timers[K, N]) first() (at flow.Time, ok bool) {
	for len(t.heap) > 0 {
		top := t.heap[0]
		if t.lists[top.list].head != none {
			return top.at, true
		}
		t.empty--
		t.dropTop()
	}
	return 0, false
}

// Pop removes and returns the timer that is due first, if its time is not after
// upTo.
func (t *Timers[K, N]) Pop(upTo flow.Time) (h flow.Hash, k K, n N, at flow.Time, ok bool) {
	if t.p != nil {
		t.near(upTo)
	}
	at, ok = t.first()
	if !ok || at > upTo {
		return 0, k, n, 0, false
	}
	l := t.heap[0].list
	i := t.lists[l].head
	e := &t.timers[i]
	h, k, n = e.h, e.k, e.n
	t.unlink(i)
	if t.p == nil || t.strike(i) {
		t.known.remove(h, k, timerID[N]{n, at})
		t.release(i)
	}
	if t.lists[l].head == none {
		t.dropTop()
	}
	return h, k, n, at, true
}

// Len is the number of timers. If the store has a disk it may be too large: a timer
// that was added while it was on disk may count twice.
func (t *Timers[K, N]) Len() int {
	if t.p != nil {
		return int(t.p.total)
	}
	return t.known.n
}

// Each calls f for all timers, in any order, until it returns false. f must not
// call methods of t. If the store has a disk it is read from end to end.
func (t *Timers[K, N]) Each(f func(h flow.Hash, k K, n N, at flow.Time) bool) {
	if t.p != nil {
		t.eachPaged(f)
		return
	}
	t.known.each(func(h flow.Hash, e *slot[K, timerID[N], uint32]) bool {
		return f(h, e.k, e.n.n, e.n.at)
	})
}

// Bytes is the memory that the timers take, without what keys point to; that is
// estimated and added if the store has a disk.
func (t *Timers[K, N]) Bytes() int64 {
	return t.known.bytes + t.times.bytes + t.p.memory() +
		int64(cap(t.timers))*int64(unsafe.Sizeof(timer[K, N]{})) +
		int64(cap(t.lists))*int64(unsafe.Sizeof(timerList{})) +
		int64(cap(t.heap))*int64(unsafe.Sizeof(due{}))
}

// Descriptor says which state this is.
func (t *Timers[K, N]) Descriptor() Descriptor { return t.f.desc }
