package place

import (
	"strings"

	"github.com/weirflow/weir/api"
)

// candidate is a node that may get executors of the job.
type candidate struct {
	node  int // in Fleet.nodes
	room  int // slots that it can still take
	has   int // slots that the job has there, given ones included
	given int
	avoid bool
}

func (c *candidate) give(n int) {
	c.room -= n
	c.has += n
	c.given += n
}

// gather finds the candidates and says how much room there is in all.
func (f *Fleet) gather(j Job, keep []Executor) (room int) {
	f.candidates = f.candidates[:0]
	for i := range f.nodes {
		f.where[i] = -1
		if n := &f.nodes[i]; n.Closed == "" && (j.Zone == "" || n.Zone == j.Zone) {
			f.where[i] = len(f.candidates)
			f.candidates = append(f.candidates, candidate{node: i, room: max(0, n.Free)})
			room += max(0, n.Free)
		}
	}
	for _, e := range keep {
		if c := f.candidate(e.Node); c != nil {
			c.has += e.Slots
		}
	}
	for _, id := range j.Avoid {
		if c := f.candidate(id); c != nil {
			c.avoid = true
		}
	}
	return room
}

// reclaim adds the room of executors that are to be stopped.
func (f *Fleet) reclaim(shed []Executor) (room int) {
	for _, e := range shed {
		if c := f.candidate(e.Node); c != nil {
			c.room += e.Slots
			room += e.Slots
		}
	}
	return room
}

func (f *Fleet) candidate(id api.NodeID) *candidate {
	if i, ok := f.index[id]; ok && f.where[i] >= 0 {
		return &f.candidates[f.where[i]]
	}
	return nil
}

// again gives nodes back what they had, so that local files are found by those who need
// them.
func (f *Fleet) again(j Job, need *int) {
	for _, e := range j.Was {
		if c := f.candidate(e.Node); c != nil && !c.avoid {
			n := min(e.Slots, c.room, *need)
			c.give(n)
			*need -= n
		}
	}
}

// spread gives slot by slot to who has the fewest.
func (f *Fleet) spread(need int) {
	h := heap[*candidate]{less: f.fewer, items: f.items[:0]}
	for i := range f.candidates {
		if f.candidates[i].room > 0 {
			h.items = append(h.items, &f.candidates[i])
		}
	}
	f.items = h.items
	h.fill(need, (*candidate).one)
}

// one gives one slot and says whether there is room for more.
func (c *candidate) one() bool {
	c.give(1)
	return c.room > 0
}

// fewer orders candidates: those where the job has the fewest slots first, and of those
// the emptiest.
func (f *Fleet) fewer(a, b *candidate) bool {
	if a.avoid != b.avoid {
		return b.avoid
	}
	if a.has != b.has {
		return a.has < b.has
	}
	if a.room != b.room {
		return a.room > b.room
	}
	return a.node < b.node
}

// zone is the candidates of one zone.
type zone struct {
	name  string
	has   int
	nodes heap[*candidate]
}

// byZone gives slot by slot to the zone that has the fewest, and in it to the node that does.
func (f *Fleet) byZone(need int) {
	zones := map[string]*zone{}
	var sorted []*zone
	for i := range f.candidates {
		c := &f.candidates[i]
		name := f.nodes[c.node].Zone
		z := zones[name]
		if z == nil {
			z = &zone{name: name, nodes: heap[*candidate]{less: f.fewer}}
			zones[name] = z
			sorted = append(sorted, z)
		}
		z.has += c.has
		if c.room > 0 {
			z.nodes.items = append(z.nodes.items, c)
		}
	}
	h := heap[*zone]{less: func(a, b *zone) bool {
		// A zone where only nodes to be avoided are left comes last, like such a node.
		if x, y := a.nodes.items[0].avoid, b.nodes.items[0].avoid; x != y {
			return y
		}
		if a.has != b.has {
			return a.has < b.has
		}
		return a.name < b.name
	}}
	for _, z := range sorted {
		if len(z.nodes.items) > 0 {
			z.nodes.init()
			h.items = append(h.items, z)
		}
	}
	h.fill(need, func(z *zone) bool {
		z.has++
		z.nodes.next((*candidate).one)
		return len(z.nodes.items) > 0
	})
}

// pack takes as few nodes as it can: first those where the job is already, then the
// smallest that takes the rest alone, or the largest if none does.
func (f *Fleet) pack(need int) {
	for need > 0 {
		var pick *candidate
		for i := range f.candidates {
			if c := &f.candidates[i]; c.room > 0 && (pick == nil || c.denser(pick, need)) {
				pick = c
			}
		}
		n := min(need, pick.room)
		pick.give(n)
		need -= n
	}
}

// denser reports whether c comes before b where need slots are to be packed.
func (c *candidate) denser(b *candidate, need int) bool {
	switch {
	case c.avoid != b.avoid:
		return b.avoid
	case (c.has > 0) != (b.has > 0):
		return c.has > 0
	case (c.room >= need) != (b.room >= need):
		return c.room >= need
	case c.room >= need:
		return c.room < b.room
	}
	return c.room > b.room
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// heap is a binary heap. The standard one boxes what it moves.
type heap[T any] struct {
	items []T
	less  func(a, b T) bool
}

func (h *heap[T]) init() {
	for i := len(h.items)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// fill lets the first item take one, need times, and drops items that can take no more.
func (h *heap[T]) fill(need int, take func(T) (more bool)) {
	h.init()
	for range need {
		h.next(take)
	}
}

// next lets the first item take one.
func (h *heap[T]) next(take func(T) (more bool)) {
	if !take(h.items[0]) {
		last := len(h.items) - 1
		h.items[0] = h.items[last]
		h.items = h.items[:last]
	}
	h.down(0)
}

func (h *heap[T]) down(i int) {
	for {
		first := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h.items); c++ {
			if h.less(h.items[c], h.items[first]) {
				first = c
			}
		}
		if first == i {
			return
		}
		h.items[i], h.items[first] = h.items[first], h.items[i]
		i = first
	}
}

// list joins what there is to say, with commas and one "and" for what is left out.
func list(parts []string, most int, rest func(left []string) string) string {
	if len(parts) <= most {
		return strings.Join(parts, ", ")
	}
	return strings.Join(parts[:most], ", ") + " and " + rest(parts[most:])
}
