package graph

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
)

// drawGraph makes a valid graph in topological order, with provisional ids and
// now and then one set by a user. Names repeat when twins is set.
func drawGraph(t *rapid.T, label string, twins bool) *Graph {
	n := rapid.IntRange(2, 14).Draw(t, label+"-operators")
	g := &Graph{Name: label, MaxParallelism: rapid.SampledFrom([]int{0, 8, 128}).Draw(t, "max")}
	chance := func(percent int) bool { return rapid.IntRange(0, 99).Draw(t, "chance") < percent }
	for i := range n {
		o := &Operator{
			ID:          flow.OperatorID(fmt.Sprintf("~%s%d", label, i)),
			Name:        fmt.Sprintf("%s%d", label, i),
			Kind:        rapid.SampledFrom([]string{"map", "process", "sink"}).Draw(t, "kind"),
			Parallelism: rapid.SampledFrom([]int{0, 0, 2, 3}).Draw(t, "par"),
			NoChain:     chance(10),
		}
		if twins {
			o.Name = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
		}
		if chance(15) {
			o.ID, o.UserID = flow.OperatorID(fmt.Sprintf("user-%s%d", label, i)), true
		}
		switch {
		case i == 0 || i < n-1 && chance(15):
			o.Kind, o.Unbounded = KindSource, chance(50)
		case i == n-1:
			o.Kind = KindSink
		}
		outlets := rapid.IntRange(0, 3).Draw(t, "outlets")
		if o.Kind != KindSink || i == 0 {
			outlets = max(1, outlets)
		}
		for k := range outlets {
			o.Outputs = append(o.Outputs, Output{Name: []string{"", "late", "bad"}[k], Type: "T"})
		}
		if o.Kind != KindSource {
			drawInputs(t, g, o)
		}
		if chance(20) {
			o.Attrs = []Attr{{"window", "tumbling"}}
			o.States = []State{{"count", "value", "string", "int64"}}
		}
		g.Operators = append(g.Operators, o)
	}
	return g
}

// defaultParallelism is what the plans of the tests have.
const defaultParallelism = 2

func drawInputs(t *rapid.T, g *Graph, o *Operator) {
	var from []*Operator
	for _, p := range g.Operators {
		if len(p.Outputs) > 0 {
			from = append(from, p)
		}
	}
	for range rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "ports") {
		in := Input{Type: rapid.SampledFrom([]string{"", "T"}).Draw(t, "type")}
		for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "edges") {
			p := rapid.SampledFrom(from).Draw(t, "from")
			kind := rapid.SampledFrom([]ExchangeKind{Forward, Forward, Forward, Hash, Rebalance, Broadcast}).Draw(t, "exchange")
			if kind == Forward && resolved(p, defaultParallelism) != resolved(o, defaultParallelism) {
				kind = Rebalance
			}
			in.Edges = append(in.Edges, Edge{
				From:     p.ID,
				Output:   flow.Outlet(rapid.IntRange(0, len(p.Outputs)-1).Draw(t, "outlet")),
				Exchange: Exchange{Kind: kind},
			})
		}
		o.Inputs = append(o.Inputs, in)
	}
}

func TestPlanCoversGraph(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t, "g", rapid.Bool().Draw(t, "twins"))
		if err := g.AssignIDs(); err != nil {
			t.Fatal(err)
		}
		shuffle(t, g)
		for _, chaining := range []bool{true, false} {
			mode := Streaming
			if !slices.ContainsFunc(g.Operators, func(o *Operator) bool { return o.Unbounded }) {
				mode = rapid.SampledFrom([]Mode{Streaming, Batch}).Draw(t, "mode")
			}
			p, err := Build(g, PlanOptions{Parallelism: defaultParallelism, Chaining: chaining, Mode: mode})
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, p, chaining)
			for _, explain := range []func(io.Writer, *Plan) error{ExplainText, ExplainDOT, ExplainJSON} {
				if err := explain(io.Discard, p); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// fataler is a *rapid.T or a *testing.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkPlan checks the second and third invariant of the package and the order.
func checkPlan(t fataler, p *Plan, chaining bool) {
	t.Helper()
	operators := map[flow.OperatorID]int{}
	edges := map[flow.EdgeID]string{}
	place := func(e flow.EdgeID, as string) {
		if was := edges[e]; was != "" {
			t.Fatalf("edge %s is there twice, as %s and %s", e, was, as)
		}
		edges[e] = as
	}
	ins, outs := map[flow.EdgeID]string{}, map[flow.EdgeID]string{}
	region := map[flow.ChainID]int{}
	for r, ids := range p.Regions {
		for _, id := range ids {
			if _, twice := region[id]; twice {
				t.Fatalf("chain %s is in two regions", id)
			}
			region[id] = r
		}
	}
	done := map[flow.ChainID]bool{}
	for i := range p.Chains {
		c := &p.Chains[i]
		if p.Chain(c.ID) != c || string(c.Head().ID) != string(c.ID) || region[c.ID] != c.Region {
			t.Fatalf("chain %s: id, head or region is wrong", c.ID)
		}
		if len(c.Links) != len(c.Operators)-1 || !chaining && len(c.Links) > 0 {
			t.Fatalf("chain %s: %d operators, %d links", c.ID, len(c.Operators), len(c.Links))
		}
		inside := map[flow.OperatorID]bool{}
		for k, o := range c.Operators {
			operators[o.ID]++
			if resolved(o, defaultParallelism) != c.Parallelism || p.ChainOf(o.ID) != c {
				t.Fatalf("chain %s: operator %s does not belong here", c.ID, o.ID)
			}
			if k > 0 {
				l := c.Links[k-1]
				if l.To != o.ID || !inside[l.From] || o.NoChain {
					t.Fatalf("chain %s: link %+v to operator %d, %s", c.ID, l, k, o.ID)
				}
				e := o.Inputs[l.Port].Edges[0]
				if e.Exchange.Kind != Forward || e.From != l.From || e.Output != l.Output {
					t.Fatalf("chain %s: link %+v is not edge %+v", c.ID, l, e)
				}
				place(flow.EdgeID{To: l.To, Port: l.Port}, "link")
			}
			inside[o.ID] = true
		}
		for _, in := range c.Inputs {
			e := p.Graph.Operator(in.Edge.To).Inputs[in.Edge.Port].Edges[in.Edge.Index]
			if in.Edge.To != c.Head().ID || !done[in.FromChain] || e.From != in.From || e.Output != in.Output || e.Exchange != in.Exchange {
				t.Fatalf("chain %s: input %+v is not edge %+v of the head, or comes from a later chain", c.ID, in, e)
			}
			place(in.Edge, "exchange")
			ins[in.Edge] = fmt.Sprint(in.FromChain, in.From, in.Output, c.ID, in.Edge.To, in.Port, in.Exchange)
		}
		for _, out := range c.Outputs {
			if !inside[out.From] || (region[out.ToChain] == c.Region) == out.Blocking || out.Blocking != (p.Mode == Batch) || outs[out.Edge] != "" {
				t.Fatalf("chain %s: output %+v", c.ID, out)
			}
			outs[out.Edge] = fmt.Sprint(c.ID, out.From, out.Output, out.ToChain, out.To, out.Port, out.Exchange)
		}
		done[c.ID] = true
	}
	total := 0
	for _, o := range p.Graph.Operators {
		if operators[o.ID] != 1 {
			t.Fatalf("operator %s is in %d chains", o.ID, operators[o.ID])
		}
		for _, in := range o.Inputs {
			total += len(in.Edges)
		}
	}
	if len(edges) != total || len(ins) != len(outs) || len(region) != len(p.Chains) {
		t.Fatalf("%d of %d edges; %d ins, %d outs; %d chains in regions of %d", len(edges), total, len(ins), len(outs), len(region), len(p.Chains))
	}
	for e, in := range ins {
		if outs[e] != in {
			t.Fatalf("edge %s: in %s, out %s", e, in, outs[e])
		}
	}
}

// shuffle puts the operators in another order.
func shuffle(t *rapid.T, g *Graph) {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "shuffle"), 1))
	r.Shuffle(len(g.Operators), func(i, j int) {
		g.Operators[i], g.Operators[j] = g.Operators[j], g.Operators[i]
	})
}

// TestIDsDependOnUpstreamOnly adds another pipeline, mixes the order and changes
// the provisional ids: no id may change. Nor may the fingerprint by the order.
func TestIDsDependOnUpstreamOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t, "g", false)
		mixed := clone(t, g)
		mixed.Operators = append(mixed.Operators, drawGraph(t, "other", false).Operators...)
		for _, o := range mixed.Operators {
			renameProvisional(o)
		}
		shuffle(t, mixed)
		if err := g.AssignIDs(); err != nil {
			t.Fatal(err)
		}
		if err := mixed.AssignIDs(); err != nil {
			t.Fatal(err)
		}
		alone := byID(g)
		var kept []*Operator
		for _, o := range mixed.Operators {
			if alone[o.ID] != nil {
				kept = append(kept, o)
			}
		}
		if len(kept) != len(g.Operators) {
			t.Fatalf("%d of %d operators have kept their ids:\n%s%s", len(kept), len(g.Operators), snapshotIDs(g), snapshotIDs(mixed))
		}
		mixed.Operators = kept
		if a, b := fingerprint(t, g), fingerprint(t, mixed); a != b {
			t.Fatalf("the fingerprint depends on the order: %q", Diff(g, mixed))
		}
		if d := Diff(g, mixed); len(d) > 0 {
			t.Fatalf("no difference expected: %q", d)
		}
	})
}

func renameProvisional(o *Operator) {
	if !o.UserID {
		o.ID = "!" + o.ID
	}
	for p := range o.Inputs {
		for k := range o.Inputs[p].Edges {
			if e := &o.Inputs[p].Edges[k]; e.From[0] == '~' {
				e.From = "!" + e.From
			}
		}
	}
}

// TestTwinsHaveDistinctIDs is for graphs in which kinds and names repeat: ids are
// unique, and assigning them again changes nothing.
func TestTwinsHaveDistinctIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t, "g", true)
		if err := g.AssignIDs(); err != nil {
			t.Fatal(err)
		}
		if err := g.Validate(); err != nil {
			t.Fatal(err)
		}
		before := snapshotIDs(g)
		if err := g.AssignIDs(); err != nil || snapshotIDs(g) != before {
			t.Fatalf("a second time: %v\n%s%s", err, before, snapshotIDs(g))
		}
	})
}

func clone(t *rapid.T, g *Graph) *Graph {
	t.Helper()
	data, err := Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Unmarshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func fingerprint(t *rapid.T, g *Graph) string {
	t.Helper()
	f, err := g.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// anyGraph draws graphs that mean nothing: whatever the types allow.
func anyGraph() *rapid.Generator[*Graph] {
	id := rapid.Map(rapid.SampledFrom([]string{"a", "b", "c", "d", "", "e\n"}), func(s string) flow.OperatorID { return flow.OperatorID(s) })
	number := rapid.OneOf(rapid.IntRange(-1, 4), rapid.Int())
	return rapid.Custom(func(t *rapid.T) *Graph {
		g := &Graph{Name: rapid.String().Draw(t, "name"), MaxParallelism: number.Draw(t, "max")}
		for range rapid.IntRange(0, 6).Draw(t, "n") {
			o := &Operator{
				ID: id.Draw(t, "id"), UserID: rapid.Bool().Draw(t, "user"), Name: rapid.String().Draw(t, "name"),
				Kind:        rapid.SampledFrom([]string{"map", "source", "sink", ""}).Draw(t, "kind"),
				Parallelism: number.Draw(t, "par"), Guarantee: rapid.String().Draw(t, "guarantee"),
				Outputs: rapid.SliceOfN(rapid.Map(rapid.String(), func(s string) Output { return Output{Name: s, Type: s} }), 0, 2).Draw(t, "out"),
				Attrs:   rapid.SliceOfN(rapid.Map(rapid.String(), func(s string) Attr { return Attr{s, s} }), 0, 2).Draw(t, "attrs"),
			}
			for range rapid.IntRange(0, 2).Draw(t, "ports") {
				in := Input{}
				for range rapid.IntRange(0, 2).Draw(t, "edges") {
					in.Edges = append(in.Edges, Edge{id.Draw(t, "from"), flow.Outlet(number.Draw(t, "outlet")),
						Exchange{Kind: ExchangeKind(rapid.IntRange(0, 3).Draw(t, "kind"))}})
				}
				o.Inputs = append(o.Inputs, in)
			}
			g.Operators = append(g.Operators, o)
		}
		return g
	})
}

// TestAnyGraph: nothing panics, roundtrip is equal, and Diff is empty exactly
// when the fingerprints are equal.
func TestAnyGraph(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := anyGraph().Draw(t, "g")
		data, err := Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		back := clone(t, g)
		if again, err := Marshal(back); err != nil || !bytes.Equal(data, again) {
			t.Fatalf("roundtrip differs (%v):\n%x\n%x", err, data, again)
		}
		other := clone(t, g)
		if rapid.Bool().Draw(t, "mutate") {
			other = anyGraph().Draw(t, "other")
		}
		unique := len(byID(g)) == len(g.Operators) && len(byID(other)) == len(other.Operators)
		if d := Diff(g, other); unique && (len(d) == 0) != (fingerprint(t, g) == fingerprint(t, other)) {
			t.Fatalf("diff and fingerprint disagree: %q", d)
		}
		checkCycles(t, g)
		exercise(t, g)
	})
}

// exercise runs all that may be done with a graph from elsewhere.
func exercise(t fataler, g *Graph) {
	t.Helper()
	valid := g.Validate()
	if len(Problems(valid)) == 0 && valid != nil {
		t.Fatalf("an error without a problem: %v", valid)
	}
	if p, err := Build(g, PlanOptions{Parallelism: defaultParallelism, Chaining: true}); err == nil {
		if valid != nil {
			t.Fatalf("planned in spite of %v", valid)
		}
		checkPlan(t, p, true)
		var b bytes.Buffer
		if err := ExplainJSON(&b, p); err != nil || !json.Valid(b.Bytes()) {
			t.Fatalf("explain as JSON: %v\n%s", err, b.String())
		}
		if ExplainText(io.Discard, p) != nil || ExplainDOT(io.Discard, p) != nil {
			t.Fatalf("explain")
		}
	}
	if err := g.AssignIDs(); err == nil && valid == nil {
		if err := g.Validate(); err != nil {
			t.Fatalf("invalid after AssignIDs: %v", err)
		}
	}
}

// checkCycles compares with a plain search.
func checkCycles(t *rapid.T, g *Graph) {
	top := newTopology(g)
	for _, cycle := range top.cycles() {
		for k, i := range cycle {
			next := cycle[(k+1)%len(cycle)]
			if !slices.ContainsFunc(top.out[i], func(e edgeEnd) bool { return e.to == next }) {
				t.Fatalf("%v is no cycle: there is no edge from %d to %d", cycle, i, next)
			}
		}
	}
	var reaches func(from, to int, seen map[int]bool) bool
	reaches = func(from, to int, seen map[int]bool) bool {
		for _, e := range top.out[from] {
			if e.to == to {
				return true
			}
			if !seen[e.to] {
				seen[e.to] = true
				if reaches(e.to, to, seen) {
					return true
				}
			}
		}
		return false
	}
	// Every operator on some cycle shares its component with a cycle found.
	found := top.cycles()
	for i := range g.Operators {
		if !reaches(i, i, map[int]bool{}) {
			continue
		}
		if !slices.ContainsFunc(found, func(c []int) bool {
			return c[0] == i || reaches(i, c[0], map[int]bool{}) && reaches(c[0], i, map[int]bool{})
		}) {
			t.Fatalf("operator %d is in a cycle, and none of %v says so", i, found)
		}
	}
}
