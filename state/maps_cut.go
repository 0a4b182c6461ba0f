package state

import "github.com/weirflow/weir/flow"

// cut begins a cut that freezes what is dirty.
func (p *mapPages[K, U, V]) cut(put Put, join bool) {
	p.freeze(put, join)
	p.list()
}

// flush begins a cut that does not.
func (p *mapPages[K, U, V]) flush(put Put) {
	p.cuts.flush(put)
	p.list()
}

// list has drain go through what has changed, and what is left of a flush.
func (p *mapPages[K, U, V]) list() {
	p.leaving, p.dirtied = joined(p.leaving[p.next:], p.dirtied)
	p.next = 0
	p.bury, p.gone = append(p.bury, p.gone...), p.gone[:0]
}

// give puts a changed entry.
func (p *mapPages[K, U, V]) give(s *pagedMap[K, U, V], i int) {
	e, m := &s.entries[i], s.marks[i]
	p.key = p.f.appendKey(p.key[:0], &s.k, &e.u)
	if m&gone != 0 {
		p.put(p.group(s.h), p.key, nil)
		p.gone = append(p.gone, entryRef[K, U, V]{s, e.u})
	} else {
		p.value = p.f.value.Append(p.value[:0], &e.v)
		p.put(p.group(s.h), p.key, p.value)
		p.sample(&e.u, &e.v)
	}
	s.marks[i] = p.given(m)
}

// giveNow puts a frozen entry that is about to change.
func (p *mapPages[K, U, V]) giveNow(s *pagedMap[K, U, V], i int) {
	defer failEncode(p.Disk, p.f.desc)
	p.give(s, i)
}

// drain puts about n entries of the cut, and forgets deleted ones that hide nothing.
func (p *mapPages[K, U, V]) drain(n int) (done bool) {
	if p.from == 0 {
		return true
	}
	defer failEncode(p.Disk, p.f.desc)
	for ; n > 0 && p.next < len(p.leaving); n-- {
		r := p.leaving[p.next]
		p.next++
		if i := r.s.find(r.u); i >= 0 && r.s.marks[i]&p.from != 0 {
			p.give(r.s, i)
		}
	}
	p.forget(&n)
	if p.next < len(p.leaving) || len(p.bury) > 0 {
		return false
	}
	clear(p.leaving)
	p.leaving, p.next = p.leaving[:0], 0
	p.cuts.drained()
	return true
}

// forget drops about n deleted entries that hide nothing any more.
func (p *mapPages[K, U, V]) forget(n *int) {
	for ; *n > 0 && len(p.bury) > 0; *n-- {
		r := p.bury[len(p.bury)-1]
		p.bury[len(p.bury)-1] = entryRef[K, U, V]{}
		p.bury = p.bury[:len(p.bury)-1]
		i := r.s.find(r.u)
		switch {
		case i < 0 || r.s.marks[i]&gone == 0 || r.s.marks[i]&dirty != 0:
			// It is there again, or it will be put once more.
		case r.s.marks[i]&p.flying != 0:
			p.gone = append(p.gone, r)
		default:
			p.drop(r.s, i)
			p.close(r.s)
		}
	}
}

// evict lets go of about n bytes: a clock over all entries, map by map.
func (p *mapPages[K, U, V]) evict(n int64) int64 {
	before := p.memory()
	var some []*pagedMap[K, U, V]
	for rounds := 0; rounds < 2 && before-p.memory() < n; {
		if p.hand.some(&p.t, chunk, func(_ flow.Hash, e *slot[K, struct{}, *pagedMap[K, U, V]]) {
			some = append(some, e.v)
		}) {
			rounds++
		}
		for _, s := range some {
			p.thin(s)
		}
		some = some[:0]
	}
	p.t.trim()
	return before - p.memory()
}

// thin lets go of those entries of a map that were not used since the last time.
func (p *mapPages[K, U, V]) thin(s *pagedMap[K, U, V]) {
	for i := len(s.entries) - 1; i >= 0; i-- {
		switch m := s.marks[i]; {
		case !p.idle(m):
		case m&used != 0:
			s.marks[i] &^= used
		default:
			s.whole = s.whole && m&gone != 0
			p.drop(s, i)
		}
	}
	p.close(s)
}
