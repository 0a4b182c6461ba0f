package state

import (
	"bytes"
	"slices"

	"github.com/weirflow/weir/flow"
)

// Entries is how many timers there are, here and on disk, at least.
func (t *Timers[K, N]) Entries() int64 { return int64(t.Len()) }

// Changed is how many timers have changed since the last Cut, about.
func (t *Timers[K, N]) Changed() int { return len(t.p.dirtied) }

// Cut freezes what has changed since the last Cut.
func (t *Timers[K, N]) Cut(put Put, join bool) {
	t.p.freeze(put, join)
	t.p.list()
}

// Flush begins to put what has changed without freezing it.
func (t *Timers[K, N]) Flush(put Put) {
	t.p.flush(put)
	t.p.list()
}

// list has Drain go through what has changed, and what is left of a flush.
func (p *timerPages[K, N]) list() {
	p.leaving, p.dirtied = joined(p.leaving[p.next:], p.dirtied)
	p.next = 0
	p.bury, p.gone = append(p.bury, p.gone...), p.gone[:0]
}

// Drain gives about n timers of the cut to put, and forgets deleted ones that
// hide nothing any more.
func (t *Timers[K, N]) Drain(n int) (done bool) {
	p := t.p
	if p.from == 0 {
		return true
	}
	defer failEncode(p.Disk, t.f.desc)
	for ; n > 0 && p.next < len(p.leaving); n-- {
		i := p.leaving[p.next]
		p.next++
		p.marks[i] &^= listing(p.from)
		if p.marks[i]&p.from != 0 {
			t.give(i)
		}
	}
	for ; n > 0 && len(p.bury) > 0; n-- {
		i := p.bury[len(p.bury)-1]
		p.bury = p.bury[:len(p.bury)-1]
		switch m := p.marks[i]; {
		case m&gone == 0 || m&dirty != 0:
			// It is there again, or it will be put once more.
		case m&p.flying != 0:
			p.gone = append(p.gone, i)
		default:
			t.forget(i)
		}
	}
	if p.next < len(p.leaving) || len(p.bury) > 0 {
		return false
	}
	p.leaving, p.next = p.leaving[:0], 0
	p.drained()
	return true
}

// forget lets go of timer i, which is in no list.
func (t *Timers[K, N]) forget(i uint32) {
	e := &t.timers[i]
	t.known.remove(e.h, e.k, timerID[N]{e.n, t.p.ats[i]})
	t.p.marks[i] &= listed
	t.release(i)
}

// give puts a changed timer.
func (t *Timers[K, N]) give(i uint32) {
	p := t.p
	if p.marks[i]&gone != 0 {
		p.put(t.group(i), t.keyOf(i), nil)
		p.gone = append(p.gone, i)
	} else {
		p.put(t.group(i), t.keyOf(i), p.value)
		t.sample(i)
	}
	p.marks[i] = p.given(p.marks[i])
}

// giveNow puts a frozen timer that is about to change.
func (t *Timers[K, N]) giveNow(i uint32) {
	defer failEncode(t.p.Disk, t.f.desc)
	t.give(i)
}

// Settled says that what was put at the earliest cut that has not settled is on
// disk.
func (t *Timers[K, N]) Settled() { t.p.settled() }

// Evict lets go of about n bytes: the timers that are due last. It keeps a quarter of
// those that are here.
func (t *Timers[K, N]) Evict(n int64) int64 {
	p := t.p
	before := t.Bytes()
	if p.here == 0 {
		t.shrink()
		return before - t.Bytes()
	}
	// What one timer takes, with its places in the tables and its part of a list.
	each := max(before/p.here, 1)
	want := min(max(n/each, p.here/8)+1, p.here*3/4)
	from := t.lateTime(want)
	for _, d := range t.heap {
		if d.at < from || want <= 0 {
			continue
		}
		for i := t.lists[d.list].head; i != none && want > 0; {
			next := t.timers[i].next
			if p.idle(p.marks[i]) {
				t.letGo(i)
				want--
			}
			i = next
		}
		if t.lists[d.list].head == none {
			t.empty++
		}
	}
	p.look()
	t.sweep()
	t.shrink()
	return before - t.Bytes()
}

// lateTime is a time so that about n timers are due then or later.
func (t *Timers[K, N]) lateTime(n int64) flow.Time {
	const samples = 512
	all := int64(len(t.timers))
	ats := make([]flow.Time, 0, samples)
	step := max(all/samples, 1)
	for i := int64(0); i < all; i += step {
		if t.timers[i].list != none && t.p.marks[i]&gone == 0 {
			ats = append(ats, t.p.ats[i])
		}
	}
	if len(ats) == 0 {
		return flow.MinTime
	}
	slices.Sort(ats)
	keep := int64(len(ats)) - (n*int64(len(ats))+t.p.here-1)/t.p.here
	return ats[min(max(keep, 0), int64(len(ats))-1)]
}

// letGo forgets timer i, which is on disk, and takes its group's cursor back to it.
func (t *Timers[K, N]) letGo(i uint32) {
	p := t.p
	c := t.cursorOf(i)
	at := p.ats[i]
	if !c.open || at < c.at || at == c.at && bytes.Compare(t.keyOf(i), c.key) < 0 {
		c.open, c.at, c.key = true, at, append(c.key[:0], t.keyOf(i)...)
	}
	t.unlink(i)
	t.forget(i)
	p.here--
}

// shrink gives memory back where less than a quarter of it is used: it numbers timers
// and lists anew.
func (t *Timers[K, N]) shrink() {
	t.known.trim()
	t.times.trim()
	if cap(t.heap) > least && len(t.heap) < cap(t.heap)/4 {
		t.heap = slices.Clone(t.heap)
	}
	if len(t.timers) > least && t.known.n < len(t.timers)/4 {
		t.renumber()
	}
	if len(t.lists) > least && t.times.n < len(t.lists)/4 {
		t.renumberLists()
	}
}

// least is how many timers or lists may always be there.
const least = 4096

func (t *Timers[K, N]) renumber() {
	p := t.p
	to := make([]uint32, len(t.timers))
	for i := range to {
		to[i] = none
	}
	timers := make([]timer[K, N], 0, t.known.n)
	marks, ats := make([]mark, 0, t.known.n), make([]flow.Time, 0, t.known.n)
	t.known.each(func(_ flow.Hash, e *slot[K, timerID[N], uint32]) bool {
		i := e.v
		e.v = uint32(len(timers))
		to[i] = e.v
		timers, marks, ats = append(timers, t.timers[i]), append(marks, p.marks[i]), append(ats, p.ats[i])
		return true
	})
	at := func(i uint32) uint32 {
		if i == none {
			return none
		}
		return to[i]
	}
	for i := range timers {
		if e := &timers[i]; marks[i]&gone == 0 {
			e.prev, e.next = at(e.prev), at(e.next)
		}
	}
	for _, d := range t.heap {
		l := &t.lists[d.list]
		l.head, l.tail = at(l.head), at(l.tail)
	}
	t.timers, t.freeTmr, p.marks, p.ats = timers, none, marks, ats
	known := func(list []uint32) []uint32 {
		kept := make([]uint32, 0, len(list))
		for _, i := range list {
			if to[i] != none {
				kept = append(kept, to[i])
			}
		}
		return kept
	}
	p.dirtied, p.leaving, p.next = known(p.dirtied), known(p.leaving[p.next:]), 0
	p.gone, p.bury = known(p.gone), known(p.bury)
}

func (t *Timers[K, N]) renumberLists() {
	to := make([]uint32, len(t.lists))
	lists := make([]timerList, 0, len(t.heap))
	for i := range t.heap {
		d := &t.heap[i]
		to[d.list] = uint32(len(lists))
		lists = append(lists, t.lists[d.list])
		d.list = to[d.list]
	}
	t.times.each(func(_ flow.Hash, e *slot[flow.Time, struct{}, uint32]) bool {
		e.v = to[e.v]
		return true
	})
	for i := range t.timers {
		if e := &t.timers[i]; e.list != none && t.p.marks[i]&gone == 0 {
			e.list = to[e.list]
		}
	}
	t.lists, t.freeList, t.recent = lists, none, none
}
