package sdk

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/operator/batch"
)

// Pipeline is a job that is being written. It is not safe for several goroutines.
type Pipeline struct {
	g    graph.Graph
	errs []error
	done bool
}

// New starts an empty pipeline. The name is for people.
func New(name string) *Pipeline { return &Pipeline{g: graph.Graph{Name: name}} }

// Name is the pipeline's name.
func (p *Pipeline) Name() string { return p.g.Name }

// MaxParallelism sets the number of key groups, the upper limit of every
// operator's parallelism for the life of the job's state. Default
// flow.DefaultMaxParallelism.
func (p *Pipeline) MaxParallelism(n int) { p.g.MaxParallelism = n }

// Graph ends the building: it returns the graph, or all that is wrong with it.
func (p *Pipeline) Graph() (*graph.Graph, error) {
	if len(p.errs) > 0 {
		return nil, fmt.Errorf("pipeline %q: %w", p.g.Name, errors.Join(p.errs...))
	}
	if !p.done {
		p.rebalance()
		if err := p.g.AssignIDs(); err != nil {
			return nil, fmt.Errorf("pipeline %q: %w", p.g.Name, err)
		}
		p.done = true
	}
	if err := p.g.Validate(); err != nil {
		return nil, fmt.Errorf("pipeline %q: %w", p.g.Name, err)
	}
	return &p.g, nil
}

// rebalance turns forward edges between operators whose parallelism was set to
// different numbers into rebalancing ones: there is no other way to join them.
func (p *Pipeline) rebalance() {
	for _, o := range p.g.Operators {
		for i := range o.Inputs {
			for j := range o.Inputs[i].Edges {
				e := &o.Inputs[i].Edges[j]
				from := p.g.Operator(e.From)
				if e.Exchange.Kind == graph.Forward && from != nil && from.Parallelism != o.Parallelism {
					e.Exchange.Kind = graph.Rebalance
					p.check(o, from.Outputs[e.Output].Impl.(operator.Edge).Check())
				}
			}
		}
	}
}

// fail notes a mistake at an operator.
func (p *Pipeline) check(o *graph.Operator, err error) {
	if err != nil {
		p.errs = append(p.errs, fmt.Errorf("operator %q: %w", o.Name, err))
	}
}

// Stream is a stream of records of type T: one or more outputs of operators.
type Stream[T any] struct {
	p    *Pipeline
	from []outlet
	kind graph.ExchangeKind // of the edges that will start here
}

// outlet is one output of an operator of the pipeline.
type outlet struct {
	op  *graph.Operator
	out flow.Outlet
}

// edges makes the edges from the stream to a new operator.
func (s *Stream[T]) edges(x graph.Exchange) []graph.Edge {
	edges := make([]graph.Edge, len(s.from))
	for i, f := range s.from {
		edges[i] = graph.Edge{From: f.op.ID, Output: f.out, Exchange: x}
	}
	return edges
}

// input makes the input port that takes the stream.
func (s *Stream[T]) input(name string) graph.Input {
	return graph.Input{Name: name, Type: typeName[T](), Edges: s.edges(graph.Exchange{Kind: s.kind})}
}

// exchanged makes an input port with an exchange other than the stream's own.
func (s *Stream[T]) exchanged(name string, x graph.Exchange) graph.Input {
	return graph.Input{Name: name, Type: typeName[T](), Edges: s.edges(x)}
}

// spec is an operator that is being added.
type spec struct {
	kind   string
	impl   *operator.Impl
	inputs []graph.Input
	attrs  []graph.Attr
	states []graph.State
	sides  []graph.Output
	errs   []error
	opts   []Option
}

// add adds an operator whose main output has type Out.
func add[Out any](p *Pipeline, s spec) *Stream[Out] {
	out := graph.Output{Type: typeName[Out](), Impl: operator.EdgeOf[Out]()}
	o := p.add(s, append([]graph.Output{out}, s.sides...))
	return &Stream[Out]{p: p, from: []outlet{{op: o}}}
}

func (p *Pipeline) add(s spec, outputs []graph.Output) *graph.Operator {
	o := &graph.Operator{ID: flow.OperatorID(fmt.Sprintf("#%d", len(p.g.Operators))), Name: s.kind, Kind: s.kind,
		Inputs: s.inputs, Outputs: outputs, Attrs: s.attrs, States: s.states, Impl: s.impl}
	p.g.Operators = append(p.g.Operators, o)
	for _, opt := range s.opts {
		opt.operator(o)
	}
	for _, err := range s.errs {
		p.check(o, err)
	}
	// Records that cross an exchange may have to leave the process.
	for _, in := range o.Inputs {
		for _, e := range in.Edges {
			if from := p.g.Operator(e.From); e.Exchange.Kind != graph.Forward && from != nil {
				p.check(o, from.Outputs[e.Output].Impl.(operator.Edge).Check())
			}
		}
	}
	return o
}

// side is the stream of another output of the operator behind s.
func side[T any](p *Pipeline, o *graph.Operator, out flow.Outlet) *Stream[T] {
	return &Stream[T]{p: p, from: []outlet{{op: o, out: out}}}
}

// sideOutput describes an output beside the main one.
func sideOutput[T any](name string) graph.Output {
	return graph.Output{Name: name, Type: typeName[T](), Impl: operator.EdgeOf[T]()}
}

func typeName[T any]() string { return reflect.TypeFor[T]().String() }

// impl is that of an operator without a job side, which is the same in batch mode.
func impl(f func() operator.Operator) *operator.Impl { return &operator.Impl{New: f} }

// final is that of an operator which gives results once in batch mode.
func final(f func() operator.Operator, b *operator.BatchImpl) *operator.Impl {
	return &operator.Impl{New: f, Batch: b}
}

// sorted is that of an operator which gets its records key by key in batch mode; others
// is the number of its ports behind the keyed ones.
func sorted(f func() operator.Operator, others int, sides ...batch.Side) *operator.Impl {
	return &operator.Impl{New: f, Batch: batch.NewSorted(f, others, sides...)}
}

// side is a keyed stream as a port that is sorted.
func (k *Keyed[K, T]) side() batch.Side { return batch.NewSide(k.key.Hash) }
