package registry

import (
	"cmp"
	"maps"
	"slices"

	"github.com/weirflow/weir/api"
)

// View is the state at one moment. It may be kept and used from any goroutine. What its
// methods return belongs to the caller, in the order of names or ids unless said otherwise.
type View struct{ s *state }

// Index is that of the last change in it: what a decision made on it gives as At.
func (v *View) Index() uint64 { return v.s.index }

// Node finds an agent; nil if there is none.
func (v *View) Node(id api.NodeID) *Node {
	if n := v.s.nodes[id]; n != nil {
		return n.clone()
	}
	return nil
}

// Nodes are all agents, those that are gone included.
func (v *View) Nodes() []*Node { return records(v.s.nodes, (*Node).clone) }

// Used counts the slots of a node that live allocations take.
func (v *View) Used(id api.NodeID) int {
	if n := v.s.nodes[id]; n != nil {
		return v.s.used(n)
	}
	return 0
}

// Job finds a job; nil if there is none.
func (v *View) Job(name string) *Job {
	if j := v.s.jobs[name]; j != nil {
		return j.clone()
	}
	return nil
}

// Jobs are all jobs, the last that have ended included.
func (v *View) Jobs() []*Job { return records(v.s.jobs, (*Job).clone) }

// Alloc finds an allocation; nil if there is none.
func (v *View) Alloc(id api.AllocID) *Alloc {
	if a := v.s.allocs[id]; a != nil {
		return a.clone()
	}
	return nil
}

// Allocs are all allocations that are known.
func (v *View) Allocs() []*Alloc { return records(v.s.allocs, (*Alloc).clone) }

// AllocsOf are those of a job, in the order of their making: the live ones, and the last
// that have ended.
func (v *View) AllocsOf(job string) []*Alloc {
	if j := v.s.jobs[job]; j != nil {
		return v.s.allocList(j.Allocs)
	}
	return nil
}

// AllocsOn are the live ones of an agent.
func (v *View) AllocsOn(node api.NodeID) []*Alloc {
	if n := v.s.nodes[node]; n != nil {
		return v.s.allocList(n.Allocs)
	}
	return nil
}

// Control is where the newest coordinator of a job is dialled; empty while it does not listen.
func (v *View) Control(job string) string {
	j := v.s.jobs[job]
	if j == nil {
		return ""
	}
	for _, id := range j.Allocs {
		if a := v.s.allocs[id]; a.Alloc.Coordinator && a.Alloc.Term == j.Term && a.Live() {
			return a.Status.Control
		}
	}
	return ""
}

// Mark is what concerns an agent at one moment: itself, what is on it, and the jobs of that with
// their coordinators. It holds no view.
type Mark struct {
	id     api.NodeID
	node   *Node
	allocs []*Alloc
	jobs   []*Job // of each of them
}

// Mark makes one.
func (v *View) Mark(node api.NodeID) *Mark {
	m := &Mark{id: node, node: v.s.nodes[node]}
	if m.node == nil {
		return m
	}
	for _, id := range m.node.Allocs {
		a := v.s.allocs[id]
		m.allocs = append(m.allocs, a)
		m.jobs = append(m.jobs, v.s.jobs[a.Alloc.Job])
	}
	return m
}

// Still reports that nothing which concerns an agent has changed since. It copies nothing: who
// waits for a change can ask after each. It relies on records being replaced where they change.
func (v *View) Still(m *Mark) bool {
	if v.s.nodes[m.id] != m.node {
		return false // also where something was put on it or has ended
	}
	for i, a := range m.allocs {
		if v.s.allocs[a.Alloc.ID] != a || v.s.jobs[a.Alloc.Job] != m.jobs[i] {
			return false
		}
	}
	return true
}

func (s *state) allocList(ids []api.AllocID) []*Alloc {
	list := make([]*Alloc, len(ids))
	for i, id := range ids {
		list[i] = s.allocs[id].clone()
	}
	return list
}

// Artifact finds a program; nil if there is none.
func (v *View) Artifact(hash string) *Artifact {
	if a := v.s.artifacts[hash]; a != nil {
		c := *a
		return &c
	}
	return nil
}

// Artifacts are all programs.
func (v *View) Artifacts() []*Artifact {
	return records(v.s.artifacts, func(a *Artifact) *Artifact { c := *a; return &c })
}

// Events are those of the cluster, oldest first. A job has its own.
func (v *View) Events() []Event { return slices.Clone(v.s.events) }

// records copies the values of a map in the order of its keys.
func records[K cmp.Ordered, V any](m map[K]*V, clone func(*V) *V) []*V {
	list := make([]*V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, clone(m[k]))
	}
	return list
}
