package metamorphic

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/sdk"
)

// Pipeline is a description: nodes in an order in which each comes after its
// inputs. The first Sources nodes are sources.
type Pipeline struct {
	Sources   int
	KeyGroups int // 0: the default
	Nodes     []*node
}

// node is one op applied to streams.
type node struct {
	id int
	op *op
	in []ref
	p  [6]int64 // what the op makes of them is its own
	// par is the parallelism that was set, 0 for the job's. Operators on forward
	// edges have the same, since otherwise the edge would rebalance.
	par int
	// mixed is set where streams of different par meet.
	mixed bool
	// final is set while results in batch mode are computed.
	final bool
	size  float64 // an estimate: records out for one of the input
}

// ref is one output of a node.
type ref struct{ node, out int }

// op is a kind of node.
type op struct {
	name    string
	inputs  int // 0: two or three
	outputs int
	// keyed: it comes behind an exchange of its own, so it may set a parallelism.
	keyed bool
	// timed: its result needs watermarks to be right.
	timed bool
	// small: what comes out grows with the square of what goes in.
	small bool
	// net: its result holds pairs that are taken back again, so that only what is
	// left in the end is the same in every run. Nobody reads it but a sink.
	net bool
	// grow is how many records come out for one that goes in.
	grow float64
	draw func(t *rapid.T, n *node)
	// final: in batch mode there is one result for each key, the last.
	final bool
	// say describes the parameters.
	say   func(n *node) string
	build func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record]
	eval  func(n *node, in [][]Record) [][]Record
}

// DrawPipeline draws a pipeline of at most nodes ops, for large input or not.
func DrawPipeline(t *rapid.T, nodes int, large bool) *Pipeline {
	p := &Pipeline{
		Sources:   rapid.IntRange(1, 3).Draw(t, "sources"),
		KeyGroups: rapid.SampledFrom([]int{0, 4, 7, 1000}).Draw(t, "key groups"),
	}
	for i := range p.Sources {
		p.Nodes = append(p.Nodes, &node{id: i, op: sourceOp, par: drawParallelism(t), size: 1})
	}
	for range rapid.IntRange(1, nodes).Draw(t, "nodes") {
		o := rapid.SampledFrom(ops).Draw(t, "op")
		if !large || !o.small {
			p.draw(t, o)
		}
	}
	return p
}

// drawParallelism mostly leaves it to the job.
func drawParallelism(t *rapid.T) int {
	return rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3}).Draw(t, "set parallelism")
}

// draw adds a node of the given kind, on streams that are there.
func (p *Pipeline) draw(t *rapid.T, o *op) {
	n := &node{id: len(p.Nodes), op: o}
	arity := o.inputs
	if arity == 0 {
		arity = rapid.IntRange(2, 3).Draw(t, "inputs")
	}
	for range arity {
		r := p.drawRef(t)
		if from := p.Nodes[r.node]; from.op.net || from.global() {
			return
		}
		n.in = append(n.in, r)
		from := p.Nodes[r.node]
		n.size += from.size
		n.mixed = n.mixed || from.par != p.Nodes[n.in[0].node].par
	}
	n.size *= o.grow
	if n.size > 12 || o.small && n.size > 6 {
		return // records would become too many
	}
	n.par = p.Nodes[n.in[0].node].par
	if o.keyed {
		n.par, n.mixed = drawParallelism(t), false
	}
	if o.draw != nil {
		o.draw(t, n)
	}
	p.Nodes = append(p.Nodes, n)
}

// drawRef draws a stream: mostly a recent one, so that pipelines are deep.
func (p *Pipeline) drawRef(t *rapid.T) ref {
	back := min(rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 3, 5}).Draw(t, "back"), len(p.Nodes)-1)
	r := ref{node: len(p.Nodes) - 1 - back}
	if outs := p.Nodes[r.node].op.outputs; outs > 1 {
		r.out = rapid.IntRange(0, outs-1).Draw(t, "output")
	}
	return r
}

// Timed reports whether the result needs watermarks.
func (p *Pipeline) Timed() bool {
	return slices.ContainsFunc(p.Nodes, func(n *node) bool { return n.op.timed })
}

// Waits reports whether a record may leave in a later epoch than it came in.
func (p *Pipeline) Waits() bool {
	return slices.ContainsFunc(p.Nodes, func(n *node) bool { return n.op.name == asyncName || n.op.name == lookupName })
}

// Final reports whether the result needs the end of the input.
func (p *Pipeline) Final() bool {
	return slices.ContainsFunc(p.Nodes, (*node).global)
}

// global reports whether n has results at the end of all time. There is no room for
// windows behind it.
func (n *node) global() bool { return n.op.name == windowName && n.p[2] == kindGlobal }

// String is the pipeline for people, a node a line.
func (p *Pipeline) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pipeline, %d key groups:\n", p.KeyGroups)
	for _, n := range p.Nodes {
		fmt.Fprintf(&b, "  n%d = %s", n.id, n.op.name)
		if n.op.say != nil {
			fmt.Fprintf(&b, "[%s]", n.op.say(n))
		}
		for i, r := range n.in {
			b.WriteString(map[bool]string{true: " of ", false: ", "}[i == 0])
			fmt.Fprintf(&b, "n%d", r.node)
			if p.Nodes[r.node].op.outputs > 1 {
				fmt.Fprintf(&b, ".%d", r.out)
			}
		}
		if n.par != 0 {
			fmt.Fprintf(&b, " (parallelism %d)", n.par)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// sinks are the streams that are written: all that nobody reads, and the outputs
// of sources, which witness the epochs of input records.
func (p *Pipeline) sinks() []ref {
	used := map[ref]bool{}
	for _, n := range p.Nodes {
		for _, r := range n.in {
			used[r] = true
		}
	}
	var sinks []ref
	for _, n := range p.Nodes {
		for out := range n.op.outputs {
			if r := (ref{n.id, out}); !used[r] || n.op == sourceOp {
				sinks = append(sinks, r)
			}
		}
	}
	return sinks
}

// EvalBatch is Eval for batch mode.
func (p *Pipeline) EvalBatch(in *Input, made map[string]int) map[ref][]Record {
	for _, n := range p.Nodes {
		n.final = n.op.final
	}
	defer func() {
		for _, n := range p.Nodes {
			n.final = false
		}
	}()
	return p.Eval(in, made)
}

// Eval is the oracle: what each sink has in the end, in an order that keeps lanes.
// made is told how many records each op made.
func (p *Pipeline) Eval(in *Input, made map[string]int) map[ref][]Record {
	outs := make([][][]Record, len(p.Nodes))
	for i, n := range p.Nodes {
		if n.op == sourceOp {
			outs[i] = [][]Record{in.records(i)}
			continue
		}
		args := make([][]Record, len(n.in))
		for j, r := range n.in {
			args[j] = outs[r.node][r.out]
		}
		outs[i] = n.op.eval(n, args)
	}
	for i, n := range p.Nodes {
		for _, out := range outs[i] {
			made[n.op.name] += len(out)
		}
	}
	res := map[ref][]Record{}
	for _, r := range p.sinks() {
		res[r] = outs[r.node][r.out]
	}
	return res
}

// GoString is how rapid shows what it drew.
func (o *op) GoString() string { return o.name }
