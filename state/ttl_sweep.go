package state

import "github.com/weirflow/weir/flow"

// Sweeper is a [Resident] of which parts expire as time goes by. The store calls
// Sweep in Step.
type Sweeper interface {
	Resident
	// Sweep looks at about n entries and removes those that have expired. It reports
	// whether it has more to look at now: a pass over all entries is made once in
	// every quarter of their time to live.
	Sweep(n int) (more bool)
}

// Sweepers is the states of a store that want to be swept.
type Sweepers struct {
	list []Sweeper
	turn int
}

// sweepPiece is how many entries a Step looks at: some microseconds in memory, some
// tens of them on disk.
const sweepPiece = 128

// Add takes a state in, if there is anything to sweep.
func (s *Sweepers) Add(r Resident) {
	if w, ok := r.(Sweeper); ok {
		s.list = append(s.list, w)
	}
}

// Step sweeps a piece of one state, and reports whether there is more at once.
func (s *Sweepers) Step() (more bool) {
	for range s.list {
		if s.turn++; s.turn >= len(s.list) {
			s.turn = 0
		}
		if s.list[s.turn].Sweep(sweepPiece) {
			return true
		}
	}
	return false
}

// swept is the state that a sweep goes through.
type swept interface {
	// here looks at about n entries in memory: it removes those that have expired at
	// now, and lets none expire after most. done says that it has been through.
	here(n int, now, most flow.Time) (done bool)
	// there does it for an entry on disk, which may be in memory too.
	there(g flow.KeyGroup, key []byte, now, most flow.Time)
}

// sweeping is how far the sweep of a state has come: first through memory, then
// through the disk, if there is one.
type sweeping struct {
	disk  Disk // nil if there is none
	own   flow.KeyGroupRange
	next  flow.Time // when the next pass begins
	stage stage
	group flow.KeyGroup
	from  []byte // the key at which the disk is read on; nil for the first
	keys  []byte // of entries found on disk, one behind the other
	ends  []int
}

type stage uint8

const (
	resting stage = iota
	throughMemory
	throughDisk
)

func (s *sweeping) mount(m Mount) { s.disk, s.own = m.Disk, m.KeyGroups }

func (s *sweeping) sweep(l *life, n int, t swept) (more bool) {
	now := l.now()
	most := now.Plus(l.after)
	switch s.stage {
	case resting:
		if now < s.next {
			return false
		}
		s.next = now.Plus(max(l.after/4, 1))
		s.stage = throughMemory
	case throughMemory:
		if !t.here(n, now, most) {
			break
		}
		s.stage = throughDisk
		s.group, s.from = s.own.First, nil
		if s.disk == nil {
			s.stage = resting
		}
	case throughDisk:
		if s.group >= s.own.End {
			s.stage = resting
		} else if s.through(n, now, most, t) {
			s.group++
			s.from = nil
		}
	}
	return s.stage != resting
}

// through looks at about n entries of a key group on disk, and reports whether that
// was the last of them.
func (s *sweeping) through(n int, now, most flow.Time, t swept) (done bool) {
	done = true
	s.keys, s.ends = s.keys[:0], s.ends[:0]
	from := s.from
	s.disk.Scan(s.group, nil, from, func(key, value []byte) bool {
		if n--; n < 0 {
			s.from = append(s.from[:0:0], key...)
			done = false
			return false
		}
		if at, _, err := expiry(value); err == nil && (at <= now || at > most) {
			s.keys = append(s.keys, key...)
			s.ends = append(s.ends, len(s.keys))
		}
		return true
	})
	start := 0
	for _, end := range s.ends {
		t.there(s.group, s.keys[start:end], now, most)
		start = end
	}
	return done
}

// walk goes through a table, some entries at a time, while it changes. It may come
// by an entry twice, or not at all if the entry moves meanwhile.
type walk[K, N comparable, V any] struct {
	seg  *segment[K, N, V]
	at   uint64 // the place at which seg begins
	slot int
}

// some calls f for the entries in about n slots, and reports whether the table has
// come to its end. f must not change the table.
func (w *walk[K, N, V]) some(t *table[K, N, V], n int, f func(h flow.Hash, e *slot[K, N, V])) (done bool) {
	for n > 0 {
		s := t.dir[w.at>>1>>(t.shift&63)]
		if s != w.seg {
			w.seg, w.slot = s, 0
		}
		end := min(w.slot+n, len(s.slots))
		n -= end - w.slot
		for i := w.slot; i < end; i++ {
			if s.tags[i] != 0 && (s.marks == nil || s.marks[i]&gone == 0) {
				f(t.hashAt(s, uint64(i)), &s.slots[i])
			}
		}
		w.slot = end
		if end < len(s.slots) {
			return false
		}
		width := uint64(1) << 63 >> s.depth << 1 // 0 for all places
		w.at &^= width - 1
		w.at += width
		if w.at == 0 {
			*w = walk[K, N, V]{}
			return true
		}
	}
	return false
}

// sweptCells is cells as a sweep sees them.
type sweptCells[K comparable, V any] struct {
	c       *Cells[K, struct{}, stamped[V]]
	walk    walk[K, struct{}, stamped[V]]
	expired []owner[K]
}

// owner is a key with its hash.
type owner[K comparable] struct {
	h flow.Hash
	k K
}

func (s *sweptCells[K, V]) here(n int, now, most flow.Time) (done bool) {
	done = s.walk.some(&s.c.t, n, func(h flow.Hash, e *slot[K, struct{}, stamped[V]]) {
		if e.v.Expires <= now || e.v.Expires > most {
			s.expired = append(s.expired, owner[K]{h, e.k})
		}
	})
	for _, e := range s.expired {
		s.settle(e.h, e.k, now, most)
	}
	clear(s.expired)
	s.expired = s.expired[:0]
	return done
}

func (s *sweptCells[K, V]) there(g flow.KeyGroup, key []byte, now, most flow.Time) {
	h, k, _, err := s.c.f.decodeKey(key, g, s.c.t.pages.MaxParallelism)
	if err != nil {
		s.c.t.pages.Disk.Fail(err)
		return
	}
	s.settle(h, k, now, most)
}

// settle removes a value that has expired, or lets it expire at most.
func (s *sweptCells[K, V]) settle(h flow.Hash, k K, now, most flow.Time) {
	p := s.c.Find(h, k, struct{}{})
	switch {
	case p == nil:
	case p.Expires <= now:
		s.c.Delete(h, k, struct{}{})
	case p.Expires > most:
		p, _ = s.c.Ref(h, k, struct{}{})
		p.Expires = most
	}
}
