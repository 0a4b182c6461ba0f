package state

import (
	"unsafe"

	"github.com/weirflow/weir/flow"
)

// mark says of an entry in a table how it stands to the disk.
//
//	        Ref, Put        Cut            Drain, or changed again        Settled
//	clean ──────────► dirty ───► frozen ──────────────────────────► in flight ───► clean
//	                  (bit of this epoch) (bit of the last epoch)   (bit of the cut)
//	                    └─────── Flush, Drain ─────────────────────────┘
//
// There are two dirty bits that take turns: a Cut exchanges them and so freezes
// everything that is dirty, without looking at it. The same goes for the bits of
// what is in flight, so that one cut can be drained while the one before it has not
// settled; they are not taken away by Settled, but mean nothing from then on, until
// two cuts later.
type mark uint8

const (
	dirtyA  mark = 1 << iota
	dirtyB       // the other epoch's
	flightA      // put at a cut that has not settled
	flightB      // put at the one before or behind it
	onDisk       // there is an entry on disk, or will be with what is in flight
	gone         // deleted; the slot is there to hide what is on disk
	used         // since the clock's hand was here
)

const (
	dirty  = dirtyA | dirtyB
	flight = flightA | flightB
)

// pages is what a table has more if it is the cache in front of a disk.
//
// Invariants:
//
//  1. An entry that is dirty, frozen or in flight is in the table: what the disk has
//     of it is old.
//  2. The number of entries is known without asking the disk. When as many are in
//     the table, a miss is not looked up.
type pages[K, N comparable, V any] struct {
	Mount
	form paging[K, N, V]

	cuts
	total   int64 // entries, here and on disk
	hidden  int   // slots with gone
	dirtied int   // since the last Cut, about

	cut    uint32            // number of the last Cut
	at     int               // index in dir at which Drain looks for a segment
	seg    *segment[K, N, V] // that Drain is in
	cursor uint64            // slot in seg at which Drain goes on
	sweep  int               // index in dir at which evict goes on
	spare  *segment[K, N, V] // empty, to move what remains of another one to

	behind  float64 // bytes that an entry points to, on average
	sampled float64 // entries behind has been learned from, up to a bound
	key     []byte
	value   []byte
	scratch slot[K, N, V]
}

// paging turns the entries of a table into bytes and back.
type paging[K, N comparable, V any] struct {
	desc        Descriptor
	appendKey   func(dst []byte, k *K, n *N) []byte
	decodeKey   func(src []byte, g flow.KeyGroup, maxParallelism int) (flow.Hash, K, N, error)
	appendValue func(dst []byte, v *V) []byte
	decodeValue func(src []byte, v *V) error
	// size is the memory that an entry points to; nil if it points to none.
	size func(k *K, n *N, v *V) int
}

// mount makes t the cache in front of a disk. It must be empty.
func (t *table[K, N, V]) mount(m Mount, form paging[K, N, V]) {
	t.pages = &pages[K, N, V]{Mount: m, form: form, cuts: cuts{cur: dirtyA}, total: m.Entries, value: make([]byte, 0, 64)}
	t.restart()
}

// len is the number of entries, here and on disk.
func (t *table[K, N, V]) len() int {
	if t.pages != nil {
		return int(t.pages.total)
	}
	return t.n
}

// complete reports that there is nothing on disk that is not here.
func (t *table[K, N, V]) complete() bool { return t.pages.total == int64(t.n-t.pages.hidden) }

// memory is what the table takes, with about what its entries point to.
func (t *table[K, N, V]) memory() int64 {
	if t.pages != nil {
		return t.bytes + int64(t.pages.behind*float64(t.n))
	}
	return t.bytes
}

// changed reports that an entry with mark m is dirty, so that a further change
// needs no more marks.
func (p *pages[K, N, V]) changed(m mark) bool { return m&(p.cur|p.old|gone) == p.cur }

// change marks an entry as dirty.
func (t *table[K, N, V]) change(s *segment[K, N, V], i uint64) (v *V, fresh bool) {
	pg := t.pages
	if s.marks[i]&pg.old != 0 {
		t.giveNow(s, i)
	}
	m := s.marks[i]
	e := &s.slots[i]
	if m&gone != 0 {
		m &^= gone
		pg.hidden--
		pg.total++
		fresh = true
	}
	if m&pg.cur == 0 {
		pg.dirtied++
	}
	s.marks[i] = m | pg.cur | used
	return &e.v, fresh
}

// read is get, for the entry found in slot i of s if s is not nil.
func (t *table[K, N, V]) read(h flow.Hash, k K, n N, s *segment[K, N, V], i uint64) *V {
	if s == nil {
		if !t.load(h, k, n) {
			return nil
		}
		s, i = t.take(t.place(h, n), h, k, n)
		s.marks[i] = onDisk | used
		return &s.slots[i].v
	}
	m := s.marks[i]
	if m&gone != 0 {
		return nil
	}
	if m&used == 0 {
		s.marks[i] = m | used
	}
	return &s.slots[i].v
}

// fetch is ref for an entry that is not in the table.
func (t *table[K, N, V]) fetch(p uint64, h flow.Hash, k K, n N) (v *V, fresh bool) {
	pg := t.pages
	found := t.load(h, k, n)
	s, i := t.take(p, h, k, n)
	m := pg.cur | used
	if found {
		m |= onDisk
	} else {
		pg.total++
	}
	s.marks[i] = m
	pg.dirtied++
	return &s.slots[i].v, !found
}

// take inserts an entry with the value that load has left.
func (t *table[K, N, V]) take(p uint64, h flow.Hash, k K, n N) (*segment[K, N, V], uint64) {
	s, i := t.insert(p, h, k, n)
	s.slots[i].v = t.pages.scratch.v
	t.pages.scratch.v = *new(V)
	return s, i
}

// load looks for an entry on disk. The value is in scratch.
func (t *table[K, N, V]) load(h flow.Hash, k K, n N) bool {
	if t.complete() {
		return false
	}
	pg := t.pages
	pg.scratch.k, pg.scratch.n = k, n
	pg.key = pg.form.appendKey(pg.key[:0], &pg.scratch.k, &pg.scratch.n)
	value, ok := pg.Disk.Get(flow.KeyGroupOf(h, pg.MaxParallelism), pg.key)
	if !ok {
		return false
	}
	if err := pg.form.decodeValue(value, &pg.scratch.v); err != nil {
		pg.Disk.Fail(err)
		pg.scratch.v = *new(V)
		return false
	}
	pg.sample(&pg.scratch)
	return true
}

// sample learns how much memory entries point to.
func (p *pages[K, N, V]) sample(e *slot[K, N, V]) {
	if p.form.size == nil {
		return
	}
	p.sampled = min(p.sampled+1, 1024)
	p.behind += (float64(p.form.size(&e.k, &e.n, &e.v)) - p.behind) / p.sampled
}

// strike is remove, for the entry found in slot i of s if s is not nil.
func (t *table[K, N, V]) strike(h flow.Hash, k K, n N, s *segment[K, N, V], i uint64) bool {
	pg := t.pages
	if s == nil {
		if !t.load(h, k, n) {
			return false
		}
		pg.scratch.v = *new(V)
		s, i = t.take(t.place(h, n), h, k, n)
		s.marks[i] = onDisk
	}
	if s.marks[i]&gone != 0 {
		return false
	}
	if s.marks[i]&pg.old != 0 {
		t.giveNow(s, i)
	}
	pg.total--
	m := s.marks[i]
	if m&(onDisk|pg.flying) == 0 {
		t.drop(s, i)
		return true
	}
	if m&pg.cur == 0 {
		pg.dirtied++
	}
	s.slots[i].v = *new(V)
	s.marks[i] = m | gone | pg.cur
	pg.hidden++
	return true
}

// eachOnDisk is each for the entries that are not in the table.
func (t *table[K, N, V]) eachOnDisk(f func(h flow.Hash, e *slot[K, N, V]) bool) {
	pg := t.pages
	if t.complete() {
		return
	}
	more := true
	for g := pg.KeyGroups.First; more && g < pg.KeyGroups.End; g++ {
		pg.Disk.Scan(g, nil, nil, func(key, value []byte) bool {
			h, k, n, err := pg.form.decodeKey(key, g, pg.MaxParallelism)
			if err == nil {
				if s, _, _ := t.find(h, k, n); s != nil {
					return true
				}
				e := slot[K, N, V]{k: k, n: n}
				if err = pg.form.decodeValue(value, &e.v); err == nil {
					more = f(h, &e)
					return more
				}
			}
			pg.Disk.Fail(err)
			more = false
			return false
		})
	}
}

// cut begins a cut that freezes what is dirty.
func (t *table[K, N, V]) cut(put Put, join bool) {
	t.pages.freeze(put, join)
	t.rewind()
}

// flush begins a cut that does not.
func (t *table[K, N, V]) flush(put Put) {
	t.pages.flush(put)
	t.rewind()
}

// rewind has drain begin at the first segment.
func (t *table[K, N, V]) rewind() {
	pg := t.pages
	pg.dirtied = 0
	pg.cut++
	pg.at, pg.seg = 0, nil
}

// give puts a changed entry.
func (t *table[K, N, V]) give(s *segment[K, N, V], i uint64) {
	pg := t.pages
	e, m := &s.slots[i], s.marks[i]
	g := flow.KeyGroupOf(t.hashAt(s, i), pg.MaxParallelism)
	pg.key = pg.form.appendKey(pg.key[:0], &e.k, &e.n)
	if m&gone != 0 {
		pg.put(g, pg.key, nil)
	} else {
		pg.value = pg.form.appendValue(pg.value[:0], &e.v)
		pg.put(g, pg.key, pg.value)
		pg.sample(e)
	}
	s.marks[i] = pg.given(m)
}

// giveNow puts a frozen entry that is about to change.
func (t *table[K, N, V]) giveNow(s *segment[K, N, V], i uint64) {
	defer failEncode(t.pages.Disk, t.pages.form.desc)
	t.give(s, i)
}

// drain puts about n entries of the cut.
func (t *table[K, N, V]) drain(n int) (done bool) {
	pg := t.pages
	if pg.from == 0 {
		return true
	}
	defer failEncode(pg.Disk, pg.form.desc)
	for n > 0 {
		if pg.seg == nil && !t.nextSegment() {
			pg.drained()
			return true
		}
		s := pg.seg
		i := pg.cursor
		if i+8 <= uint64(len(s.marks)) && load((*[8]byte)(unsafe.Pointer(&s.marks[i])))&(uint64(pg.from|gone)*lows) == 0 {
			pg.cursor += 8
			if pg.cursor%512 == 0 {
				n--
			}
		} else if i < uint64(len(s.marks)) {
			n -= t.drainSlot(s, i)
		}
		if pg.cursor >= uint64(len(s.marks)) {
			s.drained = pg.cut
			pg.seg = nil
			t.trimOne(pg.at)
		}
	}
	return false
}

// drainSlot puts the entry in slot i if it is frozen, and empties the slot if it
// hides nothing any more.
func (t *table[K, N, V]) drainSlot(s *segment[K, N, V], i uint64) (work int) {
	pg := t.pages
	switch m := s.marks[i]; {
	case m&pg.from != 0:
		t.give(s, i)
		pg.cursor++
		return 1
	case m&gone != 0 && m&(dirty|pg.flying) == 0:
		pg.hidden--
		t.drop(s, i) // another entry may be in the slot now
		return 1
	}
	pg.cursor++
	return 0
}

// nextSegment finds a segment that the cut has not been drained from.
func (t *table[K, N, V]) nextSegment() bool {
	pg := t.pages
	for ; pg.at < len(t.dir); pg.at++ {
		if s := t.dir[pg.at]; s.drained != pg.cut {
			pg.seg, pg.cursor = s, 0
			return true
		}
	}
	return false
}

// settled says that what was put at the earliest cut that has not settled is on
// disk.
func (t *table[K, N, V]) settled() { t.pages.settled() }

// makeRoom lets entries of s, the full segment of place p, go instead of having it
// grow, if there is no memory for that, and reports whether it could.
func (t *table[K, N, V]) makeRoom(p uint64, s *segment[K, N, V]) bool {
	if t.pages.Disk.Room(s.bytes()) {
		return false
	}
	s = t.thin(p, s, max(len(s.slots)/8, 1))
	return s.used < s.limit
}

// thin drops about n entries of s, the segment of place p, that are on disk as they
// are. It is a clock: what was used since the hand was there last is passed over once.
// What remains moves to another segment, which is returned: to close the gaps one by
// one, as drop does, takes many times longer when the segment is full.
func (t *table[K, N, V]) thin(p uint64, s *segment[K, N, V], n int) *segment[K, N, V] {
	pg := t.pages
	i := uint64(s.hand) & s.mask
	dropped := 0
	for steps := 2 * len(s.slots); steps > 0 && dropped < n; steps-- {
		m := s.marks[i]
		switch {
		case s.tags[i] == 0 || m&(dirty|pg.flying) != 0:
		case m&used != 0:
			s.marks[i] = m &^ used
		default:
			if m&gone != 0 {
				pg.hidden--
			}
			s.setTag(i, 0)
			dropped++
		}
		i = (i + 1) & s.mask
	}
	s.hand = uint32(i)
	if dropped == 0 {
		return s
	}
	t.n -= dropped
	to := pg.spare
	if pg.spare = nil; to == nil || len(to.slots) != len(s.slots) {
		to = t.newSegment(len(s.slots), s.depth)
	}
	to.depth, to.hand, to.used, to.peak = s.depth, s.hand, 0, 0
	s.moveTo(t, to, to)
	first, span := t.covers(p, s)
	for i := range span {
		t.dir[first+i] = to
	}
	clear(s.tags)
	clear(s.slots)
	clear(s.marks)
	pg.spare = s
	return to
}

// evict lets go of about n bytes.
func (t *table[K, N, V]) evict(n int64) int64 {
	pg := t.pages
	before := t.memory()
	for range 2 * len(t.dir) {
		if pg.sweep >= len(t.dir) {
			pg.sweep = 0
		}
		at := uint64(pg.sweep) << 1 << t.shift
		s := t.dir[pg.sweep]
		s = t.thin(at, s, s.used/4+1)
		size := len(s.slots)
		for size > minSlots && s.used <= limitOf(size/2)*3/4 {
			size /= 2
		}
		if size < len(s.slots) {
			t.resize(s, at, size)
		}
		pg.sweep += len(t.dir) >> s.depth
		if before-t.memory() >= n {
			break
		}
	}
	return before - t.memory()
}
