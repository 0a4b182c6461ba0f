package graph

import (
	"fmt"
	"strings"

	"github.com/weirflow/weir/flow"
)

// Batcher is implemented by an [Operator.Impl] that has another form in batch mode.
type Batcher interface {
	// InBatch returns what runs in the place of o, which is o where nothing differs. Where before
	// is not nil it goes in front of each edge at the only port of at: it takes, by a
	// forward edge, what o takes, and at gets what it gives. Its id, its parallelism and
	// its edges are set by [Graph.ForBatch].
	InBatch(o *Operator) (at, before *Operator)
}

// ForBatch is the graph that runs in batch mode: operators that have a form of their
// own there are replaced, keeping their ids, and those that make less of records
// stand in front of exchanges. The graph itself is not changed, and shares what is the
// same in both.
func (g *Graph) ForBatch() *Graph {
	out := *g
	out.Operators = make([]*Operator, 0, len(g.Operators))
	taken := make(map[flow.OperatorID]bool, len(g.Operators))
	for _, o := range g.Operators {
		if o != nil {
			taken[o.ID] = true
		}
	}
	for _, o := range g.Operators {
		if o == nil {
			out.Operators = append(out.Operators, o)
			continue
		}
		b, ok := o.Impl.(Batcher)
		if !ok {
			out.Operators = append(out.Operators, o)
			continue
		}
		at, before := b.InBatch(o)
		if before != nil {
			for i := range at.Inputs[0].Edges {
				out.Operators = append(out.Operators, g.inFront(at, before, i, taken))
			}
		}
		out.Operators = append(out.Operators, at)
	}
	return &out
}

// inFront makes the operator in front of edge i of at.
func (g *Graph) inFront(at, before *Operator, i int, taken map[flow.OperatorID]bool) *Operator {
	e := &at.Inputs[0].Edges[i]
	c := *before
	id := strings.ToValidUTF8(string(at.ID[:min(len(at.ID), MaxIDBytes-32)]), "")
	c.ID = flow.OperatorID(id + "-combine")
	for n := 2; taken[c.ID]; n++ {
		c.ID = flow.OperatorID(fmt.Sprintf("%s-combine-%d", id, n))
	}
	taken[c.ID] = true
	if from := g.Operator(e.From); from != nil {
		c.Parallelism = from.Parallelism
	}
	c.Inputs = []Input{before.Inputs[0]}
	c.Inputs[0].Edges = []Edge{{From: e.From, Output: e.Output, Exchange: Exchange{Kind: Forward}}}
	e.From, e.Output = c.ID, 0
	return &c
}
