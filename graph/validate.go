package graph

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weirflow/weir/flow"
)

// MaxIDBytes is the greatest length of an operator's id. Ids are part of state
// keys, file names and metric labels.
const MaxIDBytes = 255

// MaxNameBytes is the greatest length of an operator's, a port's or an outlet's
// name: what explain writes once for each edge must not be huge.
const MaxNameBytes = 4096

// maxProblems bounds what one call reports. A graph made by hand or by a front
// has a few; one that came from elsewhere may have a million.
const maxProblems = 1000

// Error is one problem of a graph. [Graph.Validate] and [Build] return several
// of them joined; errors.As finds the first, [Problems] all.
type Error struct {
	// Operator is the operator at fault, "" where it is the graph as a whole.
	Operator flow.OperatorID
	// Name and Kind are those of the operator.
	Name, Kind string
	// What is wrong, and what to Do about it.
	What, Do string
}

// Error names the operator, what is wrong and what to do.
func (e *Error) Error() string {
	if e.Operator == "" && e.Name == "" && e.Kind == "" {
		return fmt.Sprintf("graph: %s: %s", e.What, e.Do)
	}
	o := Operator{ID: e.Operator, Name: e.Name, Kind: e.Kind}
	return fmt.Sprintf("graph: %s: %s: %s", o.String(), e.What, e.Do)
}

// Problems takes apart what [Graph.Validate] or [Build] returned.
func Problems(err error) []*Error {
	var out []*Error
	switch e := err.(type) { //nolint:errorlint // This is the walk over the tree itself.
	case *Error:
		out = append(out, e)
	case interface{ Unwrap() []error }:
		for _, sub := range e.Unwrap() {
			out = append(out, Problems(sub)...)
		}
	case interface{ Unwrap() error }:
		out = Problems(e.Unwrap())
	}
	return out
}

// Validate returns all problems at once, each an *[Error], joined. What depends
// on the job's default parallelism is checked by [Build].
func (g *Graph) Validate() error {
	v := newValidator(g)
	v.all()
	return v.join()
}

// validator collects problems in the order of the graph's operators, after those
// of the graph as a whole.
type validator struct {
	g        *Graph
	t        *topology
	problems []error
	// unfed marks operators whose own lack of input was reported, so that it is
	// not said a second time that no source reaches them.
	unfed []bool
	// more counts the problems above maxProblems.
	more int
}

func newValidator(g *Graph) *validator {
	return &validator{g: g, t: newTopology(g), unfed: make([]bool, len(g.Operators))}
}

func (v *validator) join() error {
	if v.more > 0 {
		return errors.Join(append(v.problems, &Error{
			What: fmt.Sprintf("%d more problems", v.more), Do: "mend those above first"})...)
	}
	return errors.Join(v.problems...)
}

func (v *validator) add(e *Error) {
	if len(v.problems) == maxProblems {
		v.more++
		return
	}
	v.problems = append(v.problems, e)
}

func (v *validator) graph(what, do string) { v.add(&Error{What: what, Do: do}) }

func (v *validator) operator(o *Operator, what, do string) {
	v.add(&Error{Operator: o.ID, Name: o.Name, Kind: o.Kind, What: what, Do: do})
}

func (v *validator) all() {
	g := v.g
	if g.MaxParallelism < 0 || g.MaxParallelism > flow.MaxMaxParallelism {
		v.graph(fmt.Sprintf("max-parallelism %d is out of range", g.MaxParallelism),
			fmt.Sprintf("use 1 to %d, or 0 for the default of %d", flow.MaxMaxParallelism, flow.DefaultMaxParallelism))
	}
	if len(g.Operators) == 0 {
		v.graph("the pipeline is empty", "add a source, and a sink that its records go to")
		return
	}
	v.ends()
	v.structure()
	for i, o := range g.Operators {
		if o != nil {
			v.names(o)
			v.parallelism(o)
			v.types(i)
		}
	}
	v.reach()
}

// ends checks that something is read and something is written.
func (v *validator) ends() {
	var sources, sinks int
	for _, o := range v.g.Operators {
		switch {
		case o == nil:
		case o.Kind == KindSource:
			sources++
		case o.Kind == KindSink:
			sinks++
		}
	}
	if sources == 0 {
		v.graph("there is no source: nothing is read", "begin the pipeline with a source")
	}
	if sinks == 0 {
		v.graph("there is no sink: nothing is written", "end the pipeline with a sink")
	}
}

// structure checks what everything else stands on: ids, edges, no cycles. It is
// all that [Graph.AssignIDs] asks for.
func (v *validator) structure() {
	for i, o := range v.g.Operators {
		if o == nil {
			v.graph(fmt.Sprintf("operator number %d is nil", i+1), "leave it out")
			continue
		}
		v.id(i, o)
		v.edges(i, o)
	}
	for _, cycle := range v.t.cycles() {
		names := make([]string, 0, len(cycle)+1)
		for _, i := range append(cycle, cycle[0]) {
			o := v.g.Operators[i]
			names = append(names, fmt.Sprintf("%.200q (id %.200q)", o.Name, string(o.ID)))
		}
		v.operator(v.g.Operators[cycle[0]],
			"is part of a cycle: "+strings.Join(names, " -> "),
			"take one of these edges out; records can't flow back to where they came from")
	}
}

func (v *validator) id(i int, o *Operator) {
	if o.ID == "" {
		v.operator(o, "has no id", "set one, or let AssignIDs derive it")
		return
	}
	if first := v.t.index[o.ID]; first != i {
		v.operator(o, fmt.Sprintf("has the same id as %s", v.g.Operators[first]),
			"give one of them another id; state is stored by it")
		return
	}
	switch {
	case len(o.ID) > MaxIDBytes:
		v.operator(o, fmt.Sprintf("has an id of %d bytes", len(o.ID)), fmt.Sprintf("use at most %d", MaxIDBytes))
	case !utf8.ValidString(string(o.ID)) || strings.ContainsFunc(string(o.ID), unicode.IsControl):
		v.operator(o, "has an id with control characters or bytes that are not UTF-8", "use letters, digits and punctuation")
	}
}

// names bounds names. They are free in all else.
func (v *validator) names(o *Operator) {
	check := func(what, name string) {
		if len(name) > MaxNameBytes {
			v.operator(o, fmt.Sprintf("%s has a name of %d bytes", what, len(name)), fmt.Sprintf("use at most %d", MaxNameBytes))
		}
	}
	check("the operator", o.Name)
	for p := range o.Inputs {
		check(fmt.Sprintf("input %d", p), o.Inputs[p].Name)
	}
	for p := range o.Outputs {
		check(fmt.Sprintf("output %d", p), o.Outputs[p].Name)
	}
}

func (v *validator) edges(i int, o *Operator) {
	if o.Kind == KindSource {
		if len(o.Inputs) > 0 {
			v.operator(o, "is a source with an input", "make it a map or process operator, or take the input away")
		}
	} else if len(o.Inputs) == 0 {
		v.unfed[i] = true
		v.operator(o, "has no input", "connect it with an operator upstream, or make it a source")
	}
	for p := range o.Inputs {
		in := &o.Inputs[p]
		if len(in.Edges) == 0 {
			v.unfed[i] = true
			v.operator(o, portName(o, p)+" has no edge", "connect it with an operator upstream")
		}
		for k := range in.Edges {
			v.edge(i, o, p, &in.Edges[k])
		}
	}
}

func (v *validator) edge(i int, o *Operator, p int, e *Edge) {
	if int(e.Exchange.Kind) >= len(exchangeNames) {
		v.operator(o, fmt.Sprintf("%s has the unknown exchange %s", portName(o, p), e.Exchange.Kind),
			"use forward, hash, rebalance or broadcast")
	}
	at, known := v.t.index[e.From]
	if !known {
		v.unfed[i] = true
		v.operator(o, fmt.Sprintf("%s reads from operator id %.200q, which is not in the graph", portName(o, p), string(e.From)),
			"add that operator, or correct the id")
		return
	}
	from := v.g.Operators[at]
	if e.Output < 0 || int(e.Output) >= len(from.Outputs) {
		has := "no output"
		if n := len(from.Outputs); n == 1 {
			has = "only output 0"
		} else if n > 1 {
			has = fmt.Sprintf("outputs 0 to %d", n-1)
		}
		v.operator(o, fmt.Sprintf("%s reads output %d of %s, which has %s", portName(o, p), e.Output, from, has),
			"read one that exists, or declare the output there")
	}
}

// parallelism checks what is known without the job's default.
func (v *validator) parallelism(o *Operator) {
	limit := v.g.KeyGroups()
	switch {
	case o.Parallelism < 0:
		v.operator(o, fmt.Sprintf("has parallelism %d", o.Parallelism), "use 1 or more, or 0 for the job's default")
	case o.Parallelism > limit && limit > 0:
		v.operator(o, fmt.Sprintf("has parallelism %d, above the job's max-parallelism of %d", o.Parallelism, limit),
			"lower it, or raise max-parallelism before the job has state")
	}
	if o.Parallelism == 0 {
		return
	}
	for p := range o.Inputs {
		for k := range o.Inputs[p].Edges {
			e := &o.Inputs[p].Edges[k]
			at, known := v.t.index[e.From]
			if !known || v.g.Operators[at].Parallelism == 0 {
				continue
			}
			v.forward(o, p, e, v.g.Operators[at], o.Parallelism, v.g.Operators[at].Parallelism)
		}
	}
}

// forward checks that a forward edge joins equal parallelisms.
func (v *validator) forward(o *Operator, p int, e *Edge, from *Operator, here, there int) {
	if e.Exchange.Kind == Forward && here != there {
		v.operator(o, fmt.Sprintf("%s has a forward edge from %s, but runs with parallelism %d and that with %d",
			portName(o, p), from, here, there), "use Rebalance between them, or give both the same parallelism")
	}
}

// types compares the types of outlets with those of ports, where both are known.
func (v *validator) types(i int) {
	o := v.g.Operators[i]
	for _, e := range v.t.in[i] {
		from := v.g.Operators[e.from]
		if e.edge.Output < 0 || int(e.edge.Output) >= len(from.Outputs) {
			continue
		}
		want, got := o.Inputs[e.id.Port].Type, from.Outputs[e.edge.Output].Type
		if want != "" && got != "" && want != got {
			v.operator(o, fmt.Sprintf("%s takes records of type %.200s, but output %d of %s has %.200s",
				portName(o, int(e.id.Port)), want, e.edge.Output, from, got), "put a Map between them that converts")
		}
	}
}

// reach reports operators that no record can ever get to, but for those whose
// own lack of input was said before and those in or behind a cycle.
func (v *validator) reach() {
	reached := v.t.reachable(v.g)
	for _, i := range v.t.order {
		o := v.g.Operators[i]
		if o != nil && !reached[i] && !v.unfed[i] && v.t.index[o.ID] == i {
			v.operator(o, "can't be reached from any source", "connect what is upstream of it with a source, or take it out")
		}
	}
}

// portName is "input 1" or, where the port has a name, "input 1 (rules)".
func portName(o *Operator, p int) string {
	if name := o.Inputs[p].Name; name != "" {
		return fmt.Sprintf("input %d (%.200s)", p, line(name))
	}
	return fmt.Sprintf("input %d", p)
}
