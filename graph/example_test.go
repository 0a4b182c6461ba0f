package graph_test

import (
	"fmt"
	"os"

	"github.com/weirflow/weir/graph"
)

// A front builds a graph with ids of its own choice, lets AssignIDs derive the
// final ones, and plans it.
func Example() {
	g := &graph.Graph{
		Name: "wordcount",
		Operators: []*graph.Operator{
			{ID: "1", Kind: graph.KindSource, Name: "lines", Outputs: []graph.Output{{Type: "string"}}},
			{ID: "2", Kind: "flatmap", Name: "split", Outputs: []graph.Output{{Type: "string"}},
				Inputs: []graph.Input{{Edges: []graph.Edge{{From: "1"}}}}},
			{ID: "counts", UserID: true, Kind: "process", Name: "count", Outputs: []graph.Output{{Type: "Count"}},
				Inputs: []graph.Input{{Edges: []graph.Edge{
					{From: "2", Exchange: graph.Exchange{Kind: graph.Hash, Key: "string"}}}}},
				States: []graph.State{{Name: "n", Kind: "value", Key: "string", Value: "int64"}}},
			{ID: "4", Kind: graph.KindSink, Name: "table", Guarantee: graph.ExactlyOnce,
				Inputs: []graph.Input{{Edges: []graph.Edge{{From: "counts"}}}}},
		},
	}
	if err := g.AssignIDs(); err != nil {
		fmt.Println(err)
		return
	}
	p, err := graph.Build(g, graph.PlanOptions{Parallelism: 2, Chaining: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := graph.ExplainText(os.Stdout, p); err != nil {
		fmt.Println(err)
	}
	// Output:
	// job "wordcount": 4 operators, 2 chains, 4 tasks, 1 region, max-parallelism 128
	//
	// chain 1: parallelism 2
	//   source "lines"  [source-lines-c4b3e9ad]
	//   flatmap "split"  [flatmap-split-8ee39cae]
	//     > hash by string to chain 2, "count"
	//
	// chain 2: parallelism 2
	//   < input: hash by string from chain 1, "split"
	//   process "count"  [counts, set by the user]
	//       state n: value of int64 by string
	//   sink "table", exactly-once  [sink-table-5ff61ecf]
}
