package state

import (
	"bytes"
	"unsafe"

	"github.com/weirflow/weir/flow"
)

// mapPages is the maps of a store that has a disk, as the cache in front of it. An
// entry of a map is an entry on disk: to get, put or delete one touches no other.
// Marks are those of tables; see [mark].
//
// Invariants:
//
//  1. An entry that is dirty, frozen or in flight is here.
//  2. total is the number of entries, here and on disk. When as many are here, a
//     miss is not looked up; nor is one in a map that is here as a whole.
//  3. Each entry that is dirty or frozen has a reference in the list of its epoch.
//     A reference may lead to nothing, or to what another has dealt with already.
type mapPages[K, U comparable, V any] struct {
	Mount
	f   *format[K, U, V]
	own func(U) U
	t   table[K, struct{}, *pagedMap[K, U, V]]

	cuts
	total   int64
	here    int64 // entries that are here and not gone
	slots   int64 // entries that are here
	bytes   int64 // of the maps
	dirtied []entryRef[K, U, V]
	leaving []entryRef[K, U, V]
	next    int                 // of leaving, to be put
	gone    []entryRef[K, U, V] // in flight: they hide nothing once that has landed
	bury    []entryRef[K, U, V] // those of the cut before
	lending int                 // calls under way that give entries from the disk to the user
	hand    walk[K, struct{}, *pagedMap[K, U, V]]
	behind  float64
	sampled float64
	sized   bool // entries point to memory
	key     []byte
	value   []byte
}

// pagedMap is what is here of the map of one key.
type pagedMap[K, U comparable, V any] struct {
	owner[K]
	submap[U, V]
	marks []mark // beside entries
	gone  int
	whole bool // there is nothing on disk that is not here
}

// entryRef is an entry of a map. It leads to nothing once the entry, or the map, is
// here no more.
type entryRef[K, U comparable, V any] struct {
	s *pagedMap[K, U, V]
	u U
}

// chunk is how many entries are read from the disk before something is done with
// them: not while they are read.
const chunk = 256

func newMapPages[K, U comparable, V any](f *format[K, U, V], m Mount) *mapPages[K, U, V] {
	p := &mapPages[K, U, V]{Mount: m, f: f, own: Own[U](), cuts: cuts{cur: dirtyA}, total: m.Entries, value: make([]byte, 0, 64)}
	p.t.init(nil)
	p.sized = !f.ns.Pointerless() || !f.value.Pointerless()
	return p
}

func (p *mapPages[K, U, V]) complete() bool { return p.here == p.total }

func (p *mapPages[K, U, V]) group(h flow.Hash) flow.KeyGroup {
	return flow.KeyGroupOf(h, p.MaxParallelism)
}

// of returns what is here of k's map, nil if there is nothing.
func (p *mapPages[K, U, V]) of(h flow.Hash, k K) *pagedMap[K, U, V] {
	if s := p.t.get(h, k, struct{}{}); s != nil {
		return *s
	}
	return nil
}

// open returns k's map, made if there is nothing of it.
func (p *mapPages[K, U, V]) open(h flow.Hash, k K) *pagedMap[K, U, V] {
	s, fresh := p.t.ref(h, k, struct{}{})
	if fresh {
		if p.t.own != nil {
			k = p.t.own(k)
		}
		*s = &pagedMap[K, U, V]{owner: owner[K]{h, k}, whole: p.complete()}
		p.bytes += int64(unsafe.Sizeof(**s))
	}
	return *s
}

// add puts a new entry into a map, and returns its number in it.
func (p *mapPages[K, U, V]) add(s *pagedMap[K, U, V], u U, v V, m mark) int {
	before := s.memory()
	if m&onDisk == 0 && p.own != nil {
		u = p.own(u) // what was decoded owns its memory
	}
	s.append(u, v)
	s.marks = append(s.marks, m)
	p.bytes += s.memory() - before
	p.slots++
	if m&gone == 0 {
		p.here++
	} else {
		s.gone++
	}
	return len(s.entries) - 1
}

// drop takes entry i out of a map.
func (p *mapPages[K, U, V]) drop(s *pagedMap[K, U, V], i int) {
	before := s.memory()
	if s.marks[i]&gone == 0 {
		p.here--
	} else {
		s.gone--
	}
	last := len(s.marks) - 1
	s.marks[i] = s.marks[last]
	s.marks = s.marks[:last]
	if c := cap(s.marks); c > indexed && last < c/4 {
		s.marks = append(make([]mark, 0, c/2), s.marks...)
	}
	s.remove(i)
	p.slots--
	p.bytes += s.memory() - before
}

// close forgets a map of which nothing is here.
func (p *mapPages[K, U, V]) close(s *pagedMap[K, U, V]) {
	if len(s.entries) == 0 && p.of(s.h, s.k) == s {
		p.bytes -= s.memory() + int64(unsafe.Sizeof(*s))
		p.t.remove(s.h, s.k, struct{}{})
	}
}

func (s *pagedMap[K, U, V]) memory() int64 { return s.bytes() + int64(cap(s.marks)) }

// read looks for an entry on disk.
func (p *mapPages[K, U, V]) read(h flow.Hash, k K, u U, v *V) bool {
	p.key = p.f.appendKey(p.key[:0], &k, &u)
	value, ok := p.Disk.Get(p.group(h), p.key)
	if !ok {
		return false
	}
	if err := p.f.decodeValue(value, v); err != nil {
		p.Disk.Fail(err)
		return false
	}
	p.sample(&u, v)
	return true
}

// find returns the map and the number of an entry that is here, or that can be
// brought here. A number below 0 says that there is none; gone ones are found.
func (p *mapPages[K, U, V]) find(h flow.Hash, k K, u U) (*pagedMap[K, U, V], int) {
	s := p.of(h, k)
	if s != nil {
		if i := s.find(u); i >= 0 || s.whole {
			return s, i
		}
	}
	if p.complete() {
		return s, -1
	}
	var v V
	if !p.read(h, k, u, &v) {
		return s, -1
	}
	s = p.open(h, k)
	return s, p.add(s, u, v, onDisk|used)
}

func (p *mapPages[K, U, V]) get(h flow.Hash, k K, u U) (v V, ok bool) {
	if p.lending > 0 {
		return p.peek(h, k, u)
	}
	s, i := p.find(h, k, u)
	if i < 0 || s.marks[i]&gone != 0 {
		return v, false
	}
	s.marks[i] |= used
	return s.entries[i].v, true
}

// peek is get without bringing the entry here.
func (p *mapPages[K, U, V]) peek(h flow.Hash, k K, u U) (v V, ok bool) {
	if s := p.of(h, k); s != nil {
		if i := s.find(u); i >= 0 && s.marks[i]&gone == 0 {
			return s.entries[i].v, true
		} else if i >= 0 || s.whole {
			return v, false
		}
	}
	return v, !p.complete() && p.read(h, k, u, &v)
}

func (p *mapPages[K, U, V]) set(h flow.Hash, k K, u U, v V) {
	s, i := p.find(h, k, u)
	if i < 0 {
		if s == nil {
			s = p.open(h, k)
		}
		i = p.add(s, u, v, p.cur|used)
		p.total++
		p.dirtied = append(p.dirtied, entryRef[K, U, V]{s, s.entries[i].u})
		return
	}
	p.change(s, i)
	if s.marks[i]&gone != 0 {
		s.marks[i] &^= gone
		s.gone--
		p.here++
		p.total++
	}
	s.entries[i].v = v
}

// change marks entry i of a map as dirty, and puts it as it was if it is frozen.
func (p *mapPages[K, U, V]) change(s *pagedMap[K, U, V], i int) {
	if s.marks[i]&p.old != 0 {
		p.giveNow(s, i)
	}
	if s.marks[i]&p.cur == 0 {
		p.dirtied = append(p.dirtied, entryRef[K, U, V]{s, s.entries[i].u})
	}
	s.marks[i] |= p.cur | used
}

func (p *mapPages[K, U, V]) remove(h flow.Hash, k K, u U) bool {
	s, i := p.find(h, k, u)
	if i < 0 || s.marks[i]&gone != 0 {
		return false
	}
	p.strike(s, i)
	p.close(s)
	return true
}

// strike deletes entry i of a map.
func (p *mapPages[K, U, V]) strike(s *pagedMap[K, U, V], i int) {
	if s.marks[i]&p.old != 0 {
		p.giveNow(s, i)
	}
	p.total--
	if s.marks[i]&(onDisk|p.flying) == 0 {
		p.drop(s, i)
		return
	}
	p.change(s, i)
	s.marks[i] |= gone
	s.gone++
	p.here--
	s.entries[i].v = *new(V)
}

// fill brings all entries of k's map here. Where there is no room for them it
// brings none, and reports false.
func (p *mapPages[K, U, V]) fill(h flow.Hash, k K) (s *pagedMap[K, U, V], ok bool) {
	if s = p.of(h, k); s != nil && s.whole || p.complete() {
		return s, true
	}
	if p.lending > 0 {
		return s, false
	}
	for from := []byte(nil); ; {
		found, next := p.scan(h, k, from)
		if len(found) > 0 {
			if s == nil {
				s = p.open(h, k)
			}
			var e pair[U, V]
			if len(found) == chunk && !p.Disk.Room(int64(len(found))*(int64(unsafe.Sizeof(e))+int64(p.behind))) {
				return s, false
			}
		}
		for i := range found {
			if s.find(found[i].u) < 0 {
				p.add(s, found[i].u, found[i].v, onDisk|used)
			}
		}
		if next == nil {
			if s != nil {
				s.whole = true
			}
			return s, true
		}
		from = next
	}
}

// scan reads some entries of k's map from the disk. next is where there are more.
func (p *mapPages[K, U, V]) scan(h flow.Hash, k K, from []byte) (found []pair[U, V], next []byte) {
	p.key = p.f.key.Append(p.key[:0], &k)
	prefix := bytes.Clone(p.key)
	g := p.group(h)
	p.Disk.Scan(g, prefix, from, func(key, value []byte) bool {
		if len(found) == chunk {
			next = bytes.Clone(key)
			return false
		}
		_, _, u, err := p.f.decodeKey(key, g, p.MaxParallelism)
		var v V
		if err == nil {
			err = p.f.decodeValue(value, &v)
		}
		if err != nil {
			p.Disk.Fail(err)
			return false
		}
		p.sample(&u, &v)
		found = append(found, pair[U, V]{u, v})
		return true
	})
	return found, next
}

// each calls f for the entries of k's map.
func (p *mapPages[K, U, V]) each(h flow.Hash, k K, f func(u U, v V) bool) {
	s, all := p.fill(h, k)
	// While f runs, what it asks for must not move to where this has been already.
	p.lending++
	defer func() { p.lending-- }()
	if s != nil {
		for i := range s.entries {
			if e := &s.entries[i]; s.marks[i]&gone == 0 && !f(e.u, e.v) {
				return
			}
		}
	}
	for from := []byte(nil); !all; {
		found, next := p.scan(h, k, from)
		for i := range found {
			if e := &found[i]; (s == nil || s.find(e.u) < 0) && !f(e.u, e.v) {
				return
			}
		}
		from, all = next, next == nil
	}
}

func (p *mapPages[K, U, V]) count(h flow.Hash, k K) (n int) {
	s, all := p.fill(h, k)
	if s != nil {
		n = len(s.entries) - s.gone
	}
	for from := []byte(nil); !all; {
		found, next := p.scan(h, k, from)
		for i := range found {
			if s == nil || s.find(found[i].u) < 0 {
				n++
			}
		}
		from, all = next, next == nil
	}
	return n
}

func (p *mapPages[K, U, V]) clear(h flow.Hash, k K) {
	s, all := p.fill(h, k)
	if s == nil {
		return // nothing is here, and there was room for what is on disk: there is nothing
	}
	for i := len(s.entries) - 1; i >= 0; i-- {
		if s.marks[i]&gone == 0 {
			p.strike(s, i)
		}
	}
	for from := []byte(nil); !all; {
		found, next := p.scan(h, k, from)
		for i := range found {
			if s.find(found[i].u) < 0 {
				p.strike(s, p.add(s, found[i].u, found[i].v, onDisk))
			}
		}
		from, all = next, next == nil
	}
	p.close(s)
}

// eachKey calls f for all keys that have a map.
func (p *mapPages[K, U, V]) eachKey(f func(h flow.Hash, k K) bool) {
	var keys []owner[K]
	p.t.each(func(_ flow.Hash, e *slot[K, struct{}, *pagedMap[K, U, V]]) bool {
		if len(e.v.entries) > e.v.gone {
			keys = append(keys, e.v.owner)
		}
		return true
	})
	if !p.complete() {
		keys = p.keysOnDisk(keys)
	}
	for _, e := range keys {
		if !f(e.h, e.k) {
			return
		}
	}
}

// keysOnDisk appends the keys of which nothing is here.
func (p *mapPages[K, U, V]) keysOnDisk(keys []owner[K]) []owner[K] {
	for g := p.KeyGroups.First; g < p.KeyGroups.End; g++ {
		here := len(keys)
		p.Disk.Scan(g, nil, nil, func(key, _ []byte) bool {
			h, k, u, err := p.f.decodeKey(key, g, p.MaxParallelism)
			if err != nil {
				p.Disk.Fail(err)
				return false
			}
			if n := len(keys); n > here && keys[n-1].k == k {
				return true // entries of one key stand together
			}
			if s := p.of(h, k); s == nil || len(s.entries) == s.gone && s.find(u) < 0 {
				keys = append(keys, owner[K]{h, k})
			}
			return true
		})
	}
	return keys
}

// memory is what the maps take, with about what their entries point to.
func (p *mapPages[K, U, V]) memory() int64 {
	var r entryRef[K, U, V]
	refs := int64(cap(p.dirtied)+cap(p.leaving)+cap(p.gone)+cap(p.bury)) * int64(unsafe.Sizeof(r))
	return p.t.bytes + p.bytes + refs + int64(p.behind*float64(p.slots))
}

// sample learns how much memory entries point to.
func (p *mapPages[K, U, V]) sample(u *U, v *V) {
	if !p.sized {
		return
	}
	size := p.f.ns.MemSize(unsafe.Slice(u, 1)) + p.f.value.MemSize(unsafe.Slice(v, 1)) - int(unsafe.Sizeof(*u)+unsafe.Sizeof(*v))
	p.sampled = min(p.sampled+1, 1024)
	p.behind += (float64(size) - p.behind) / p.sampled
}
