package graph

import (
	"fmt"

	"github.com/weirflow/weir/flow"
)

// Plan is a graph with parallelism, chains and regions fixed: what the scheduler
// runs. It points into the graph that it was built from, which must not change
// any more.
//
// Two processes that build a plan from graphs with the same fingerprint and with
// the same options get the same chains and edges, but perhaps in another order.
// So messages name chains and edges by id, never by position.
type Plan struct {
	Graph          *Graph
	MaxParallelism int
	Mode           Mode
	// Chains are in topological order: producers before consumers.
	Chains []Chain
	// Regions are the sets of chains that are joined by pipelined exchanges, each in
	// topological order: those that start, fail and restart together. With blocking
	// exchanges each chain is one, and none of its tasks has anything to do with the
	// others.
	Regions [][]flow.ChainID

	// Options are those that it was built with.
	Options PlanOptions

	chains    map[flow.ChainID]int
	operators map[flow.OperatorID]int // position of its chain
}

// At is the plan of the same graph with another default parallelism.
func (p *Plan) At(parallelism int) (*Plan, error) {
	o := p.Options
	o.Parallelism = parallelism
	return Build(p.Graph, o)
}

// Chain is operators fused into one task.
type Chain struct {
	// ID is the id of the head.
	ID flow.ChainID
	// Operators are in topological order, the head first.
	Operators   []*Operator
	Parallelism int
	// Region is the position in Plan.Regions.
	Region int
	// Inputs are the edges that come in, all at the head, in the order of ports
	// and of edges at a port.
	Inputs []ChainInput
	// Outputs are the edges that leave, in the order of the operators they leave
	// from, then of the operators they go to.
	Outputs []ChainOutput
	// Links are the edges inside, in the order of Operators[1:], of which each
	// is the To of exactly one.
	Links []Link
}

// ChainInput is an edge that ends at a chain's head.
type ChainInput struct {
	Port      flow.Port
	Edge      flow.EdgeID
	From      flow.OperatorID
	FromChain flow.ChainID
	Output    flow.Outlet
	Exchange  Exchange
	// Blocking says that the producers have ended before the consumer starts.
	Blocking bool
}

// ChainOutput is the same edge seen from the chain where it starts.
type ChainOutput struct {
	Edge     flow.EdgeID
	From     flow.OperatorID
	Output   flow.Outlet
	ToChain  flow.ChainID
	To       flow.OperatorID
	Port     flow.Port
	Exchange Exchange
	Blocking bool
}

// Link is an edge inside a chain: records pass by call.
type Link struct {
	From   flow.OperatorID
	Output flow.Outlet
	To     flow.OperatorID
	Port   flow.Port
}

// Head is the first operator.
func (c *Chain) Head() *Operator { return c.Operators[0] }

// Chain is the chain with the given id, or nil.
func (p *Plan) Chain(id flow.ChainID) *Chain {
	if i, ok := p.chains[id]; ok {
		return &p.Chains[i]
	}
	return nil
}

// ChainOf is the chain that holds the given operator, or nil.
func (p *Plan) ChainOf(id flow.OperatorID) *Chain {
	if i, ok := p.operators[id]; ok {
		return &p.Chains[i]
	}
	return nil
}

// Tasks is the number of tasks of the whole plan.
func (p *Plan) Tasks() int {
	n := 0
	for i := range p.Chains {
		n += p.Chains[i].Parallelism
	}
	return n
}

// PlanOptions are what a plan depends on beside the graph.
type PlanOptions struct {
	// Parallelism is that of operators that set none. Default: 1.
	Parallelism int
	// Chaining fuses operators where it can. Without it every operator is a
	// chain of its own, which is slower but shows each one's cost. Default: off.
	Chaining bool
	// Mode makes exchanges pipelined or blocking. Default: Streaming.
	Mode Mode
}

// Build makes the plan of g, or returns all problems as [Graph.Validate] does,
// with those that appear only when the job's default parallelism is known.
//
// An edge becomes a link, that is, the consumer joins its producer's chain, if
// it is a forward edge and the only edge at the only port of the consumer, both
// have the same parallelism, the consumer is not NoChain, and chaining is on. One
// producer may so feed several consumers of its chain: a chain is a tree. All
// other edges become exchanges; a forward one still sends from subtask i to i.
//
// In batch mode the plan is of [Graph.ForBatch].
func Build(g *Graph, opts PlanOptions) (*Plan, error) {
	if opts.Mode == Batch {
		g = g.ForBatch()
	}
	v := newValidator(g)
	v.all()
	if opts.Parallelism < 0 {
		v.graph(fmt.Sprintf("the job's default parallelism is %d", opts.Parallelism), "use 1 or more, or 0 for 1")
	}
	opts.Parallelism = max(opts.Parallelism, 1)
	v.defaulted(opts.Parallelism)
	if opts.Mode == Batch {
		v.batch()
	}
	if err := v.join(); err != nil {
		return nil, err
	}
	b := planner{g: g, t: v.t, opts: opts}
	return b.build(), nil
}

// defaulted checks what [validator.parallelism] left out because at least one
// side has the job's default parallelism.
func (v *validator) defaulted(parallelism int) {
	limit := v.g.KeyGroups()
	needed := false
	for i, o := range v.g.Operators {
		if o == nil {
			continue
		}
		needed = needed || o.Parallelism == 0
		for _, e := range v.t.in[i] {
			from := v.g.Operators[e.from]
			if o.Parallelism == 0 || from.Parallelism == 0 {
				v.forward(o, int(e.id.Port), e.edge, from,
					resolved(o, parallelism), resolved(from, parallelism))
			}
		}
	}
	if needed && limit > 0 && parallelism > limit {
		v.graph(fmt.Sprintf("the job's default parallelism of %d is above its max-parallelism of %d", parallelism, limit),
			"lower it, or raise max-parallelism before the job has state")
	}
}

// resolved is the parallelism that o runs with.
func resolved(o *Operator, parallelism int) int {
	if o.Parallelism == 0 {
		return parallelism
	}
	return o.Parallelism
}

// planner turns a valid graph into a plan. Operators and chains are numbers here.
type planner struct {
	g    *Graph
	t    *topology
	opts PlanOptions

	plan  *Plan
	chain []int // of each operator
}

func (b *planner) build() *Plan {
	b.plan = &Plan{
		Graph:          b.g,
		MaxParallelism: b.g.KeyGroups(),
		Mode:           b.opts.Mode,
		Options:        b.opts,
		chains:         map[flow.ChainID]int{},
		operators:      make(map[flow.OperatorID]int, len(b.g.Operators)),
	}
	b.chain = make([]int, len(b.g.Operators))
	// In topological order, so a producer's chain is there when its consumer
	// asks to join, and chains come out in topological order of their heads.
	// That is one of the chains too, as only heads have inputs from outside.
	for _, i := range b.t.order {
		o := b.g.Operators[i]
		at, joins := b.joins(i)
		if joins {
			e := b.t.in[i][0]
			c := &b.plan.Chains[at]
			c.Links = append(c.Links, Link{e.edge.From, e.edge.Output, o.ID, e.id.Port})
		} else {
			at = len(b.plan.Chains)
			id := flow.ChainID(o.ID)
			b.plan.Chains = append(b.plan.Chains, Chain{ID: id, Parallelism: resolved(o, b.opts.Parallelism)})
			b.plan.chains[id] = at
		}
		b.chain[i] = at
		b.plan.operators[o.ID] = at
		b.plan.Chains[at].Operators = append(b.plan.Chains[at].Operators, o)
	}
	b.exchanges()
	b.regions()
	return b.plan
}

// joins reports the chain that operator i joins, if it does.
func (b *planner) joins(i int) (chain int, ok bool) {
	o := b.g.Operators[i]
	if !b.opts.Chaining || o.NoChain || len(o.Inputs) != 1 || len(b.t.in[i]) != 1 {
		return 0, false
	}
	e := b.t.in[i][0]
	if e.edge.Exchange.Kind != Forward {
		return 0, false
	}
	chain = b.chain[e.from]
	return chain, b.plan.Chains[chain].Parallelism == resolved(o, b.opts.Parallelism)
}

// exchanges adds every edge that is not a link to the two chains it joins.
func (b *planner) exchanges() {
	chains := b.plan.Chains
	for i := range b.g.Operators {
		c := &chains[b.chain[i]]
		if c.Head() != b.g.Operators[i] {
			continue // its only edge is a link
		}
		for _, e := range b.t.in[i] {
			c.Inputs = append(c.Inputs, ChainInput{
				Port: e.id.Port, Edge: e.id, From: e.edge.From, FromChain: chains[b.chain[e.from]].ID,
				Output: e.edge.Output, Exchange: e.edge.Exchange, Blocking: b.opts.Mode == Batch,
			})
		}
	}
	for _, i := range b.t.order {
		from := &chains[b.chain[i]]
		for _, e := range b.t.out[i] {
			to := &chains[b.chain[e.to]]
			if to.Head() != b.g.Operators[e.to] {
				continue
			}
			from.Outputs = append(from.Outputs, ChainOutput{
				Edge: e.id, From: e.edge.From, Output: e.edge.Output,
				ToChain: to.ID, To: e.id.To, Port: e.id.Port, Exchange: e.edge.Exchange,
				Blocking: b.opts.Mode == Batch,
			})
		}
	}
}

// regions groups the chains that pipelined exchanges join, whatever their direction.
func (b *planner) regions() {
	chains := b.plan.Chains
	parent := make([]int, len(chains))
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	for i := range chains {
		for _, out := range chains[i].Outputs {
			if out.Blocking {
				continue
			}
			// The smaller one becomes the root, so a root is its region's first.
			x, y := find(i), find(b.plan.chains[out.ToChain])
			parent[max(x, y)] = min(x, y)
		}
	}
	number := map[int]int{}
	for i := range chains {
		root := find(i)
		r, known := number[root]
		if !known {
			r = len(b.plan.Regions)
			number[root] = r
			b.plan.Regions = append(b.plan.Regions, nil)
		}
		chains[i].Region = r
		b.plan.Regions[r] = append(b.plan.Regions[r], chains[i].ID)
	}
}
