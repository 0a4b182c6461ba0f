package place

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weirflow/weir/api"
)

// Policy says which nodes get a job's new executors.
type Policy string

const (
	// Spread gives the next slot to the node where the job has the fewest: the loss of
	// a node costs each job little, and its tasks share no disk more than they must.
	Spread Policy = "spread"
	// Pack uses as few nodes as possible: less crosses the network, and the other nodes
	// stay empty for jobs that want a whole one.
	Pack Policy = "pack"
	// Zone gives the next slot to the zone where the job has the fewest, and spreads
	// within it.
	Zone Policy = "zone"
)

// ParsePolicy reads a policy's name; the empty one is Spread.
func ParsePolicy(s string) (Policy, error) {
	switch p := Policy(s); p {
	case "":
		return Spread, nil
	case Spread, Pack, Zone:
		return p, nil
	}
	return "", fmt.Errorf("place: no policy is called %q: take spread, pack or zone", s)
}

// Node is an agent with slots.
type Node struct {
	ID   api.NodeID
	Name string // for people; empty: the ID
	Zone string
	// Free is how many slots nobody has.
	Free int
	// Ending is how many slots those executors have that were told to end and have not yet.
	Ending int
	// Closed says why the node takes nothing new, as in "b is draining"; empty: it does.
	Closed string
}

// label is how people know the node.
func (n *Node) label() string { return cmp.Or(n.Name, string(n.ID)) }

// Executor is one of a job's processes.
type Executor struct {
	Alloc       api.AllocID
	Node        api.NodeID
	Slots       int
	Coordinator bool
}

// String is for scripts and logs.
func (e Executor) String() string {
	s := fmt.Sprintf("%s: %d on %s", e.Alloc, e.Slots, e.Node)
	if e.Coordinator {
		s += ", coordinator"
	}
	return s
}

// Job is what wants slots.
type Job struct {
	Name  string
	Slots int // wanted in all, at least 1
	// PerExecutor is how many slots one executor has at most. Default 0: any number.
	PerExecutor int
	Zone        string // only nodes of that zone. Default "": any
	Policy      Policy // Default "": Spread
	// Now are its executors, without those that were told to end.
	Now []Executor
	// Was are executors that have ended and whose local files are of use, newest first:
	// where they were others are started, if there is room.
	Was []Executor
	// Avoid are nodes that are taken only when nothing else is left.
	Avoid []api.NodeID
	// Move are those of Now that shall be replaced by others on nodes that are open.
	Move []api.AllocID
}

// Start is an executor to be.
type Start struct {
	Node  api.NodeID
	Slots int
}

// Plan is what to do for a job. The slots of Keep and Start together are what it wants, if
// it fits.
type Plan struct {
	Keep  []Executor
	Stop  []Executor
	Start []Start
	// Fits is false where there is not enough room. Then Keep is all of Now, and Stop
	// and Start are empty.
	Fits bool
	// Missing is how many slots there is no room for.
	Missing int
	// Soon says that the job will fit when those have ended that were told to.
	Soon bool
	// Reason says why the job does not fit.
	Reason string
}

// Fleet is the nodes with what is free on them. The decisions of one round are taken from one
// Fleet, each after the other: see [Fleet.Take].
type Fleet struct {
	nodes []Node // by ID
	index map[api.NodeID]int

	candidates []candidate // of the last job; kept for its memory
	items      []*candidate
	where      []int // node to its candidate, -1 if it is none
}

// NewFleet takes nodes in any order. Of two with one ID the first counts.
func NewFleet(nodes []Node) *Fleet {
	f := &Fleet{nodes: slices.Clone(nodes), index: make(map[api.NodeID]int, len(nodes))}
	slices.SortStableFunc(f.nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	f.nodes = slices.CompactFunc(f.nodes, func(a, b Node) bool { return a.ID == b.ID })
	for i := range f.nodes {
		f.index[f.nodes[i].ID] = i
	}
	f.where = make([]int, len(f.nodes))
	return f
}

// Free is how many slots are free on a node now; none if it is not there.
func (f *Fleet) Free(id api.NodeID) int {
	if i, ok := f.index[id]; ok {
		return f.nodes[i].Free
	}
	return 0
}

// Closed says why a node takes nothing new, and is empty if it does.
func (f *Fleet) Closed(id api.NodeID) string {
	if i, ok := f.index[id]; ok {
		return f.nodes[i].Closed
	}
	return "not known"
}

// Take gives slots of a node away. It panics if there are not as many: that was decided
// against another fleet.
func (f *Fleet) Take(id api.NodeID, slots int) {
	i, ok := f.index[id]
	if !ok || f.nodes[i].Free < slots {
		panic(fmt.Sprintf("place: %d slots of node %s were given away, %d are free", slots, id, f.Free(id)))
	}
	f.nodes[i].Free -= slots
}

// End says that an executor was told to end: its slots are nobody's soon.
func (f *Fleet) End(id api.NodeID, slots int) {
	if i, ok := f.index[id]; ok {
		f.nodes[i].Ending += slots
	}
}

// Place decides about one job. It does not change what is free: who does what the plan says
// calls Take.
//
// Executors keep their size for life, so that a job that wants fewer slots may have
// one stopped and a smaller one started; what is kept is as much as can be. Where there is
// no other room, that which a stopped executor leaves on its node counts as free for its own
// job: such a Start has to wait for the Stop.
func (f *Fleet) Place(j Job) Plan {
	all := sorted(j.Now)
	stay, move := all, []Executor(nil)
	if len(j.Move) > 0 {
		stay = nil
		for _, e := range all {
			if slices.Contains(j.Move, e.Alloc) {
				move = append(move, e)
			} else {
				stay = append(stay, e)
			}
		}
	}
	keep, shed := f.shrink(stay, j.Slots)
	need := j.Slots - sum(keep)
	if need == 0 {
		return Plan{Keep: keep, Stop: append(move, shed...), Fits: true}
	}
	room := f.gather(j, keep)
	if room < need {
		room += f.reclaim(shed)
	}
	if room < need {
		return f.refusal(j, all, need, room)
	}
	f.again(j, &need)
	switch j.Policy {
	case Pack:
		f.pack(need)
	case Zone:
		f.byZone(need)
	default:
		f.spread(need)
	}
	return Plan{Keep: keep, Stop: append(move, shed...), Start: f.starts(j.PerExecutor), Fits: true}
}

// sorted puts the coordinator first and the others in the order in which they were started, as
// far as their names tell: j.9 is before j.10.
func sorted(executors []Executor) []Executor {
	s := slices.Clone(executors)
	slices.SortFunc(s, func(a, b Executor) int {
		if a.Coordinator != b.Coordinator {
			if a.Coordinator {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(len(a.Alloc), len(b.Alloc)), cmp.Compare(a.Alloc, b.Alloc))
	})
	return s
}

func sum(executors []Executor) int {
	n := 0
	for _, e := range executors {
		n += e.Slots
	}
	return n
}

// starts cuts what was given into executors.
func (f *Fleet) starts(per int) []Start {
	var s []Start
	for _, c := range f.candidates {
		for left := c.given; left > 0; {
			n := left
			if per > 0 {
				n = min(n, per)
			}
			s = append(s, Start{f.nodes[c.node].ID, n})
			left -= n
		}
	}
	slices.SortStableFunc(s, func(a, b Start) int { return cmp.Compare(a.Node, b.Node) })
	return s
}
