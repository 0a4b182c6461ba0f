package state

import (
	"bytes"
	"unsafe"

	"github.com/weirflow/weir/flow"
)

// timerPages is what timers have more if the store has a disk. There, timers of a
// key group stand in the order of their times:
//
//	key group 3   │ 10 11 11 14 │ 17 20 20 31 ...
//	key group 4   │ 11 15       │ 16 ...
//	                             ▲ cursor of the group
//	heap          10 11 11 11 14 15 ... and 18, 40: added since
//
// Those before the cursors are here, in the heap; of those behind only the ones
// that have changed, in the heap too. As long as the heap's first is not after the
// least time at a cursor it is the first of all. When it is, that group is read on.
//
// Adding a timer behind the cursor does not ask whether it is on disk already: to
// put it once more changes nothing. Only the count is then too large, until all
// timers are here.
//
// Timers of one time come in any order from disk. A timer that is added and fired
// before its epoch ends never gets there.
//
// Invariants:
//
//  1. What is on disk before its group's cursor is here, be it gone. onDisk says
//     of one behind it that it may be there.
//  2. A timer that is dirty, frozen or in flight is here. A dirty or frozen one is
//     in the list of its epoch; what is in the list may be clean, or unused.
type timerPages[K, N comparable] struct {
	Mount
	cuts
	marks   []mark      // beside timers
	ats     []flow.Time // beside timers
	total   int64       // timers, here and on disk, at least
	here    int64
	dirtied []uint32
	leaving []uint32
	next    int      // of leaving, to be put
	gone    []uint32 // in flight: they hide nothing once that has landed
	bury    []uint32 // those of the cut before

	cursors []cursor // by key group, from KeyGroups.First
	unread  int      // groups that have a cursor
	nearest int      // the index of the one with the least time, if there is one
	chunk   int      // timers read at a time

	behind  float64
	sampled float64
	sized   bool
	key     []byte
	value   []byte // of all entries
}

// cursor is from where on a key group's timers on disk may not be here.
type cursor struct {
	at   flow.Time
	key  []byte
	open bool // there may be some
}

// Marks of timers beside those of tables: that one is in the list of an epoch.
const (
	listedA = used
	listedB = mark(1 << 7)
	listed  = listedA | listedB
)

// listing is the mark of a dirty bit's list.
func listing(m mark) mark {
	if m == dirtyA {
		return listedA
	}
	return listedB
}

// Mount says that there may be timers on a disk.
func (t *Timers[K, N]) Mount(m Mount) {
	p := &timerPages[K, N]{Mount: m, cuts: cuts{cur: dirtyA}, total: m.Entries}
	p.cursors = make([]cursor, m.KeyGroups.Len())
	p.chunk = min(max((32<<10)/max(len(p.cursors), 1), 64), 2048)
	for i := range p.cursors {
		p.cursors[i] = cursor{at: flow.MinTime, open: m.Entries > 0}
	}
	p.sized = !t.f.key.Pointerless() || !t.f.ns.Pointerless()
	var number uint64
	p.value = t.f.value.Append(nil, &number)
	t.p = p
	p.look()
}

// look finds the cursor with the least time.
func (p *timerPages[K, N]) look() {
	p.unread, p.nearest = 0, -1
	for i := range p.cursors {
		if !p.cursors[i].open {
			continue
		}
		p.unread++
		if p.nearest < 0 || p.cursors[i].at < p.cursors[p.nearest].at {
			p.nearest = i
		}
	}
	if p.unread == 0 {
		p.total = p.here // what counted twice does no more
	}
}

// near reads timers from disk until the first one here is the first of all, as far
// as those up to a time are concerned.
func (t *Timers[K, N]) near(upTo flow.Time) {
	p := t.p
	for p.unread > 0 {
		at := p.cursors[p.nearest].at
		if first, ok := t.first(); at > upTo || ok && first <= at {
			return
		}
		t.readOn(p.nearest)
		p.look()
	}
}

// readOn reads some timers of a key group.
func (t *Timers[K, N]) readOn(i int) {
	p := t.p
	c := &p.cursors[i]
	g := p.KeyGroups.First + flow.KeyGroup(i)
	n, more := 0, false
	p.Disk.Scan(g, nil, c.key, func(key, _ []byte) bool {
		if n++; n > p.chunk {
			c.at, c.key = timeOf(key), append(c.key[:0], key...)
			more = true
			return false
		}
		h, k, ns, at, err := decodeTimer(&t.f, key, g, p.MaxParallelism)
		if err != nil {
			p.Disk.Fail(err)
			return false
		}
		ref, fresh := t.known.ref(h, k, timerID[N]{ns, at})
		if !fresh {
			p.marks[*ref] |= onDisk
			return true
		}
		j := t.make(h, k, ns)
		*ref = j
		t.link(j, at)
		p.stretch(len(t.timers))
		p.marks[j], p.ats[j] = p.marks[j]&listed|onDisk, at
		p.here++
		t.sample(j)
		return true
	})
	if !more {
		*c = cursor{at: flow.MaxTime}
	}
}

// stretch makes room for marks.
func (p *timerPages[K, N]) stretch(n int) {
	for len(p.marks) < n {
		p.marks = append(p.marks, 0)
		p.ats = append(p.ats, 0)
	}
}

// created marks timer i as new.
func (t *Timers[K, N]) created(i uint32, at flow.Time) {
	p := t.p
	p.stretch(len(t.timers))
	p.marks[i] &= listed
	p.ats[i] = at
	if p.unread > 0 && !t.isBefore(i) {
		p.marks[i] |= onDisk
	}
	p.total++
	p.here++
	p.touch(i)
}

// isBefore reports that timer i is before the cursor of its group.
func (t *Timers[K, N]) isBefore(i uint32) bool {
	c := t.cursorOf(i)
	if !c.open || t.p.ats[i] != c.at {
		return !c.open || t.p.ats[i] < c.at
	}
	return bytes.Compare(t.keyOf(i), c.key) < 0
}

func (t *Timers[K, N]) group(i uint32) flow.KeyGroup {
	return flow.KeyGroupOf(t.timers[i].h, t.p.MaxParallelism)
}

// cursorOf is the cursor of timer i's group. That of a group that is not the
// task's is nowhere: the store refuses the timer when it is put.
func (t *Timers[K, N]) cursorOf(i uint32) *cursor {
	if g := t.group(i); t.p.KeyGroups.Contains(g) {
		return &t.p.cursors[g-t.p.KeyGroups.First]
	}
	return &cursor{}
}

// keyOf is the key of timer i's entry, valid until the next call.
func (t *Timers[K, N]) keyOf(i uint32) []byte {
	e := &t.timers[i]
	t.p.key = appendTimer(&t.f, t.p.key[:0], t.p.ats[i], &e.k, &e.n)
	return t.p.key
}

// touch marks timer i as dirty. It is not frozen.
func (p *timerPages[K, N]) touch(i uint32) {
	m := p.marks[i] | p.cur
	if l := listing(p.cur); m&l == 0 {
		m |= l
		p.dirtied = append(p.dirtied, i)
	}
	p.marks[i] = m
}

// change marks timer i as dirty, and puts it as it was if it is frozen.
func (t *Timers[K, N]) change(i uint32) {
	if t.p.marks[i]&t.p.old != 0 {
		t.giveNow(i)
	}
	t.p.touch(i)
}

// revive adds timer i, which is known, if it is gone.
func (t *Timers[K, N]) revive(i uint32) {
	p := t.p
	if p.marks[i]&gone == 0 {
		return
	}
	t.change(i)
	p.marks[i] &^= gone
	t.link(i, p.ats[i])
	p.total++
	p.here++
}

// strike deletes timer i, which is in no list any more. It reports that it need
// not be known: there is nothing of it on disk.
func (t *Timers[K, N]) strike(i uint32) (forget bool) {
	p := t.p
	if p.marks[i]&p.old != 0 {
		t.giveNow(i)
	}
	p.total--
	p.here--
	if p.marks[i]&(onDisk|p.flying) == 0 {
		p.marks[i] &= listed
		return true
	}
	t.change(i)
	p.marks[i] |= gone
	return false
}

// takeBack is Delete, for the timer known at p if it is known.
func (t *Timers[K, N]) takeBack(h flow.Hash, k K, n N, at flow.Time, p *uint32) bool {
	if p == nil {
		return t.takeBackUnread(h, k, n, at)
	}
	i := *p
	if t.p.marks[i]&gone != 0 {
		return false
	}
	if t.unlink(i); t.lists[t.timers[i].list].head == none {
		t.empty++
	}
	if t.strike(i) {
		t.known.remove(h, k, timerID[N]{n, at})
		t.release(i)
	}
	if t.empty > 64 && t.empty > len(t.heap)/2 {
		t.sweep()
	}
	return true
}

// takeBackUnread deletes a timer that is not here.
func (t *Timers[K, N]) takeBackUnread(h flow.Hash, k K, n N, at flow.Time) bool {
	p := t.p
	if p.unread == 0 {
		return false
	}
	if t.known.own != nil {
		k = t.known.own(k)
	}
	i := t.make(h, k, n)
	p.stretch(len(t.timers))
	p.ats[i] = at
	p.marks[i] &= listed
	if t.isBefore(i) {
		t.release(i)
		return false
	}
	if _, ok := p.Disk.Get(t.group(i), t.keyOf(i)); !ok {
		t.release(i)
		return false
	}
	ref, _ := t.known.ref(h, k, timerID[N]{n, at})
	*ref = i
	p.total--
	p.marks[i] |= onDisk | gone
	p.touch(i)
	return true
}

// eachPaged is Each.
func (t *Timers[K, N]) eachPaged(f func(h flow.Hash, k K, n N, at flow.Time) bool) {
	p := t.p
	more := true
	t.known.each(func(h flow.Hash, e *slot[K, timerID[N], uint32]) bool {
		more = p.marks[e.v]&gone != 0 || f(h, e.k, e.n.n, e.n.at)
		return more
	})
	for i := range p.cursors {
		if !more || !p.cursors[i].open {
			continue
		}
		g := p.KeyGroups.First + flow.KeyGroup(i)
		p.Disk.Scan(g, nil, p.cursors[i].key, func(key, _ []byte) bool {
			h, k, n, at, err := decodeTimer(&t.f, key, g, p.MaxParallelism)
			if err != nil {
				p.Disk.Fail(err)
				more = false
			} else if t.known.get(h, k, timerID[N]{n, at}) == nil {
				more = f(h, k, n, at)
			}
			return more
		})
	}
}

// memory is what p takes, and about what keys point to.
func (p *timerPages[K, N]) memory() int64 {
	if p == nil {
		return 0
	}
	return int64(cap(p.marks)) + int64(cap(p.ats))*int64(unsafe.Sizeof(flow.Time(0))) +
		int64(cap(p.dirtied)+cap(p.leaving)+cap(p.gone)+cap(p.bury))*4 +
		int64(len(p.cursors))*int64(unsafe.Sizeof(cursor{})) + int64(p.behind*float64(p.here))
}

// sample learns how much memory keys point to.
func (t *Timers[K, N]) sample(i uint32) {
	p := t.p
	if !p.sized {
		return
	}
	e := &t.timers[i]
	size := t.f.key.MemSize(unsafe.Slice(&e.k, 1)) + t.f.ns.MemSize(unsafe.Slice(&e.n, 1)) - int(unsafe.Sizeof(e.k)+unsafe.Sizeof(e.n))
	p.sampled = min(p.sampled+1, 1024)
	p.behind += (float64(size) - p.behind) / p.sampled
}
