package graph

import "slices"

// cycles finds one cycle in every set of operators that are all upstream of each
// other: a shortest one through the operator of the set that was added first,
// in the order in which records would go round.
func (t *topology) cycles() [][]int {
	if len(t.order) == len(t.in) {
		return nil
	}
	s := components{
		t:     t,
		seen:  make([]int, len(t.in)),
		low:   make([]int, len(t.in)),
		group: make([]int, len(t.in)),
	}
	for _, i := range t.order {
		s.seen[i] = -1 // in no cycle: not worth a visit
	}
	for i := range t.in {
		if s.seen[i] == 0 {
			s.visit(i)
		}
	}
	var found [][]int
	named := make([]bool, s.groups+1)
	for i := range t.in {
		if g := s.group[i]; g > 0 && !named[g] {
			named[g] = true
			if c := t.cycleThrough(i, s.group); c != nil {
				found = append(found, c)
			}
		}
	}
	return found
}

// components is Tarjan's walk for strongly connected components.
type components struct {
	t      *topology
	clock  int
	seen   []int // when first visited, from 1; -1 for those left out
	low    []int // the earliest operator on the stack that can be reached
	group  []int // the component, from 1; 0 while on the stack
	groups int
	stack  []int
}

func (s *components) visit(i int) {
	s.clock++
	s.seen[i], s.low[i] = s.clock, s.clock
	s.stack = append(s.stack, i)
	for _, e := range s.t.out[i] {
		switch {
		case s.seen[e.to] == 0:
			s.visit(e.to)
			s.low[i] = min(s.low[i], s.low[e.to])
		case s.seen[e.to] > 0 && s.group[e.to] == 0:
			s.low[i] = min(s.low[i], s.seen[e.to])
		}
	}
	if s.low[i] != s.seen[i] {
		return
	}
	s.groups++
	for {
		last := s.stack[len(s.stack)-1]
		s.stack = s.stack[:len(s.stack)-1]
		s.group[last] = s.groups
		if last == i {
			return
		}
	}
}

// cycleThrough is a shortest way from operator i back to itself inside its
// component, or nil if there is none: an operator that is only behind a cycle.
func (t *topology) cycleThrough(i int, group []int) []int {
	cameFrom := map[int]int{}
	todo := []int{i}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		for _, e := range t.out[at] {
			if e.to == i {
				var round []int
				for ; at != i; at = cameFrom[at] {
					round = append(round, at)
				}
				round = append(round, i)
				slices.Reverse(round)
				return round
			}
			if _, met := cameFrom[e.to]; !met && group[e.to] == group[i] {
				cameFrom[e.to] = at
				todo = append(todo, e.to)
			}
		}
	}
	return nil
}
