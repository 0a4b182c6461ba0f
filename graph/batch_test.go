package graph

import (
	"strings"
	"testing"

	"github.com/weirflow/weir/flow"
)

// shrinking is an implementation with a form in batch mode.
type shrinking struct{ batch, combined bool }

func (s shrinking) InBatch(o *Operator) (at, before *Operator) {
	c := *o
	c.Impl = shrinking{batch: true}
	if !s.combined {
		return &c, nil
	}
	c.Inputs = []Input{{Name: "in", Type: "part"}}
	for _, e := range o.Inputs[0].Edges {
		c.Inputs[0].Edges = append(c.Inputs[0].Edges, Edge{From: e.From, Output: e.Output, Exchange: Exchange{Kind: Hash, Key: "string", Impl: "parts"}})
	}
	return &c, &Operator{Kind: "combine", Name: o.Name, Inputs: []Input{{Type: "word"}}, Outputs: []Output{{Type: "part"}}, Impl: "combiner"}
}

// TestForBatch: operators have their form of batch mode, and the graph is as it was.
func TestForBatch(t *testing.T) {
	long := flow.OperatorID(strings.Repeat("é", MaxIDBytes/2))
	source := func(id flow.OperatorID, parallelism int) *Operator {
		return &Operator{ID: id, UserID: true, Kind: KindSource, Parallelism: parallelism, Outputs: []Output{{Type: "word"}, {Type: "word"}}}
	}
	hash := Exchange{Kind: Hash, Key: "string", Impl: "words"}
	g := &Graph{Name: "g", Operators: []*Operator{
		source("a", 3), source("b", 0),
		{ID: long, UserID: true, Kind: "count", Impl: shrinking{combined: true}, Outputs: []Output{{Type: "sum"}},
			Inputs: []Input{{Type: "word", Edges: []Edge{{From: "a", Output: 1, Exchange: hash}, {From: "b", Exchange: hash}}}}},
		{ID: "sorted", UserID: true, Kind: "process", Impl: shrinking{}, Inputs: []Input{{Type: "sum", Edges: []Edge{{From: long, Exchange: hash}}}}},
		{ID: "plain", UserID: true, Kind: KindSink, Impl: "plain", Inputs: []Input{{Type: "word", Edges: []Edge{{From: "b"}}}}},
	}}
	before, err := Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Build(g, PlanOptions{Parallelism: 2, Chaining: true, Mode: Batch})
	if err != nil {
		t.Fatal(err)
	}
	if after, err := Marshal(g); err != nil || string(after) != string(before) || g.Operators[2].Impl != any(shrinking{combined: true}) {
		t.Fatalf("the graph was changed (%v)", err)
	}
	if n := len(p.Graph.Operators); n != len(g.Operators)+2 {
		t.Fatalf("%d operators", n)
	}
	count := p.Graph.Operator(long)
	if count.Impl != any(shrinking{batch: true}) || p.Graph.Operator("sorted").Impl != any(shrinking{batch: true}) || p.Graph.Operator("plain").Impl != any("plain") {
		t.Errorf("implementations: %+v", p.Graph.Operators)
	}
	for i, want := range []struct {
		id, chain flow.OperatorID
		edge      Edge
	}{
		{long[:MaxIDBytes-32-1] + "-combine", "a", Edge{From: "a", Output: 1}},
		{long[:MaxIDBytes-32-1] + "-combine-2", "b", Edge{From: "b"}},
	} {
		e := count.Inputs[0].Edges[i]
		if e.From != want.id || e.Output != 0 || e.Exchange != (Exchange{Kind: Hash, Key: "string", Impl: "parts"}) {
			t.Errorf("edge %d is %+v", i, e)
		}
		c := p.Graph.Operator(want.id)
		if c == nil || c.Inputs[0].Edges[0] != want.edge || c.Parallelism != p.Graph.Operator(want.chain).Parallelism || c.Impl != any("combiner") {
			t.Fatalf("in front of edge %d: %+v", i, c)
		}
		if p.ChainOf(want.id).ID != flow.ChainID(want.chain) {
			t.Errorf("%s is in chain %s", want.id, p.ChainOf(want.id).ID)
		}
	}
	// A graph that was read back has no implementations, and stays as it is.
	data, err := Marshal(p.Graph)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Unmarshal(data)
	if err != nil {
		t.Fatal(err)
	}
	q, err := Build(again, PlanOptions{Parallelism: 2, Chaining: true, Mode: Batch})
	if err != nil || len(q.Graph.Operators) != len(p.Graph.Operators) || len(q.Chains) != len(p.Chains) {
		t.Fatalf("read back: %+v, %v", q, err)
	}
}
