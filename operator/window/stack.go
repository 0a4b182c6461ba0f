package window

import "sort"

// pane is the accumulator of one pane of one key.
type pane[Acc any] struct {
	Number int64 `msgpack:"n"`
	Acc    Acc   `msgpack:"a"`
}

// folder is the part of an aggregator that works on accumulators.
type folder[Acc any] struct {
	fresh func() Acc // nil: the zero value
	merge func(into, from *Acc)
}

func (f *folder[Acc]) new() (a Acc) {
	if f.fresh != nil {
		return f.fresh()
	}
	return a
}

// stack gives the aggregates of runs of panes that slide forward, at a cost for
// each that does not depend on the run's length. It is the queue made of two
// stacks: the older panes of the run have the aggregate of themselves and all
// that follow among the older ones, the younger are in one running aggregate.
//
//	panes    0 1 2 3 4 5 | 6 7 8 | 9
//	             ^lo     ^front  ^back
//	suffix[i] = i..5     younger = 6..8
//	run 2..8  = suffix[2] + younger
//
// When the older ones are used up, the younger become the older: each pane is
// merged about three times in its life.
//
// It is derived from the panes and never stored; a zero stack starts over.
type stack[Acc any] struct {
	lo, front, back int
	suffix          []Acc // a part of memory
	memory          []Acc
	younger         Acc
	// stale is the position below which suffixes do not hold what has been added
	// to panes since they were made.
	stale int
}

// reset forgets everything, for changes that are too rare to care.
func (s *stack[Acc]) reset() {
	clear(s.suffix)
	*s = stack[Acc]{memory: s.memory}
}

// drop tells that the first n panes are gone.
func (s *stack[Acc]) drop(n int) {
	if n > s.front {
		s.reset()
		return
	}
	s.lo = max(s.lo, n) - n
	s.front, s.back, s.stale = s.front-n, s.back-n, max(0, s.stale-n)
	clear(s.suffix[:n])
	s.suffix = s.suffix[n:]
}

// changed tells that something was added to the pane at position i. If it returns
// an accumulator, the same is to be added to that.
func (s *stack[Acc]) changed(i int) (younger *Acc) {
	switch {
	case i < s.front:
		s.stale = max(s.stale, i+1)
	case i < s.back:
		return &s.younger
	}
	return nil
}

// inserted tells that a pane was put in at position i. If it returns an
// accumulator, what the pane holds is to be added to it.
func (s *stack[Acc]) inserted(i int) (younger *Acc) {
	switch {
	case i < s.front:
		s.reset()
	case i < s.back:
		s.back++
		return &s.younger
	}
	return nil
}

// run merges into result, which is fresh, the panes numbered [first, end). Both
// must not be less than at the call before.
func (s *stack[Acc]) run(f *folder[Acc], panes []pane[Acc], first, end int64, result *Acc) (any bool) {
	for s.lo < len(panes) && panes[s.lo].Number < first {
		s.lo++
	}
	hi := max(s.back, s.lo)
	for hi < len(panes) && panes[hi].Number < end {
		hi++
	}
	if s.lo >= hi {
		return false
	}
	if s.lo >= s.front {
		s.turn(f, panes, hi)
	} else {
		for i := min(s.stale, s.front) - 1; i >= s.lo; i-- {
			s.suffixAt(f, panes, i)
		}
		for ; s.back < hi; s.back++ {
			f.merge(&s.younger, &panes[s.back].Acc)
		}
	}
	s.stale = 0
	f.merge(result, &s.suffix[s.lo])
	if s.back > s.front {
		f.merge(result, &s.younger)
	}
	return true
}

// turn makes all panes of the run older ones.
func (s *stack[Acc]) turn(f *folder[Acc], panes []pane[Acc], hi int) {
	clear(s.suffix)
	if len(s.memory) < hi {
		s.memory = make([]Acc, max(4, hi, 2*(hi-s.lo)))
	}
	s.suffix = s.memory[:hi]
	s.front, s.back = hi, hi
	for i := hi - 1; i >= s.lo; i-- {
		s.suffixAt(f, panes, i)
	}
	s.younger = f.new()
}

func (s *stack[Acc]) suffixAt(f *folder[Acc], panes []pane[Acc], i int) {
	s.suffix[i] = f.new()
	f.merge(&s.suffix[i], &panes[i].Acc)
	if i+1 < s.front {
		f.merge(&s.suffix[i], &s.suffix[i+1])
	}
}

// search is the position of the first pane numbered n or more. Records mostly
// come in order, so the end is looked at first.
func search[Acc any](panes []pane[Acc], n int64) int {
	last := len(panes)
	switch {
	case last == 0 || panes[last-1].Number < n:
		return last
	case panes[last-1].Number == n:
		return last - 1
	}
	return sort.Search(last, func(i int) bool { return panes[i].Number >= n })
}

// merged merges into result the panes numbered [first, end), one by one.
func merged[Acc any](f *folder[Acc], panes []pane[Acc], first, end int64, result *Acc) (any bool) {
	for i := search(panes, first); i < len(panes) && panes[i].Number < end; i++ {
		f.merge(result, &panes[i].Acc)
		any = true
	}
	return any
}

// dropPanes drops the first n panes. A few are moved to the front, so that their
// memory is used again; many are not, so that the cost does not grow with them.
func dropPanes[Acc any](panes []pane[Acc], n int) []pane[Acc] {
	const few = 64
	if kept := len(panes) - n; kept <= few {
		copy(panes, panes[n:])
		clear(panes[kept:])
		return panes[:kept]
	}
	clear(panes[:n])
	return panes[n:]
}
