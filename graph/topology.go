package graph

import "github.com/weirflow/weir/flow"

// edgeEnd is an edge with the places of its two operators in Graph.Operators.
type edgeEnd struct {
	from, to int
	id       flow.EdgeID
	edge     *Edge
}

// topology is a graph with its ids resolved. It leaves out what cannot be
// resolved: missing operators, edges from unknown ones.
type topology struct {
	index map[flow.OperatorID]int // the first operator with the id
	in    [][]edgeEnd             // by consumer, in order of port and position
	out   [][]edgeEnd             // by producer, in order of consumer
	// order holds every operator that is in no cycle and behind none, producers
	// before consumers; among those that are free to go, the one added first.
	order []int
}

// newTopology resolves g. It works on any graph, valid or not.
func newTopology(g *Graph) *topology {
	n := len(g.Operators)
	t := &topology{
		index: make(map[flow.OperatorID]int, n),
		in:    make([][]edgeEnd, n),
		out:   make([][]edgeEnd, n),
	}
	for i, o := range g.Operators {
		if o == nil {
			continue
		}
		if _, taken := t.index[o.ID]; !taken {
			t.index[o.ID] = i
		}
	}
	for i, o := range g.Operators {
		if o == nil {
			continue
		}
		for p := range o.Inputs {
			for k := range o.Inputs[p].Edges {
				e := &o.Inputs[p].Edges[k]
				from, known := t.index[e.From]
				if !known {
					continue
				}
				end := edgeEnd{from, i, flow.EdgeID{To: o.ID, Port: flow.Port(p), Index: k}, e}
				t.in[i] = append(t.in[i], end)
				t.out[from] = append(t.out[from], end)
			}
		}
	}
	t.sort()
	return t
}

// sort fills order. The heap holds operators all of whose producers are placed;
// taking the one added first keeps the order close to that of the program.
func (t *topology) sort() {
	waiting := make([]int, len(t.in))
	var free intHeap
	for i := range t.in {
		waiting[i] = len(t.in[i])
		if waiting[i] == 0 {
			free.push(i)
		}
	}
	t.order = make([]int, 0, len(t.in))
	for len(free) > 0 {
		i := free.pop()
		t.order = append(t.order, i)
		for _, e := range t.out[i] {
			if waiting[e.to]--; waiting[e.to] == 0 {
				free.push(e.to)
			}
		}
	}
}

// reachable marks the operators that records of some source can reach.
func (t *topology) reachable(g *Graph) []bool {
	seen := make([]bool, len(g.Operators))
	var todo []int
	for i, o := range g.Operators {
		if o != nil && o.Kind == KindSource {
			seen[i] = true
			todo = append(todo, i)
		}
	}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, e := range t.out[i] {
			if !seen[e.to] {
				seen[e.to] = true
				todo = append(todo, e.to)
			}
		}
	}
	return seen
}
