package graph

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/weirflow/weir/flow"
)

// ExplainText writes the plan for people: chain by chain, each as a tree of its
// operators, with what comes in and what goes out.
func ExplainText(w io.Writer, p *Plan) error {
	t := &textWriter{Writer: bufio.NewWriter(w), p: p, numbers: chainNumbers(p), operators: byID(p.Graph)}
	fmt.Fprintf(t, "job %q: %s, %s, %s, %s, max-parallelism %d\n", p.Graph.Name,
		count(len(p.Graph.Operators), "operator"), count(len(p.Chains), "chain"), count(p.Tasks(), "task"),
		count(len(p.Regions), "region"), p.MaxParallelism)
	if p.Mode != Streaming {
		fmt.Fprintf(t, "mode: %s, all exchanges are blocking\n", p.Mode)
	}
	for i := range p.Chains {
		t.chain(i)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("graph: explain %q as text: %w", p.Graph.Name, err)
	}
	return nil
}

// chainNumbers gives each chain its number for people, from 1.
func chainNumbers(p *Plan) map[flow.ChainID]int {
	m := make(map[flow.ChainID]int, len(p.Chains))
	for i := range p.Chains {
		m[p.Chains[i].ID] = i + 1
	}
	return m
}

// count is "1 chain" or "2 chains".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// textWriter keeps its first error until the flush.
type textWriter struct {
	*bufio.Writer
	p         *Plan
	numbers   map[flow.ChainID]int
	operators map[flow.OperatorID]*Operator
}

func (t *textWriter) chain(i int) {
	c := &t.p.Chains[i]
	fmt.Fprintf(t, "\nchain %d: parallelism %d", i+1, c.Parallelism)
	if len(t.p.Regions) > 1 {
		fmt.Fprintf(t, ", region %d", c.Region+1)
	}
	t.WriteString("\n")
	for _, in := range c.Inputs {
		fmt.Fprintf(t, "  < %s: %s from chain %d, %s\n", label(c.Head(), int(in.Port)), line(in.Exchange.String()),
			t.numbers[in.FromChain], t.outlet(in.From, in.Output))
	}
	consumers := map[flow.OperatorID][]Link{}
	for _, l := range c.Links {
		consumers[l.From] = append(consumers[l.From], l)
	}
	outputs := map[flow.OperatorID][]ChainOutput{}
	for _, out := range c.Outputs {
		outputs[out.From] = append(outputs[out.From], out)
	}

	// A chain may be long, so the walk has a stack of its own. An operator is
	// indented when its producer has other consumers in the chain; a straight
	// chain stays straight.
	type step struct {
		o     *Operator
		via   flow.Outlet
		depth int
	}
	stack := []step{{o: c.Head()}}
	for len(stack) > 0 {
		s := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		indent := strings.Repeat("  ", 1+min(s.depth, maxIndent))
		t.operator(indent, s.o, s.via)
		for _, out := range outputs[s.o.ID] {
			to := t.p.Chain(out.ToChain).Head()
			fmt.Fprintf(t, "%s  > %s to chain %d, %q", indent, line(out.Exchange.String()), t.numbers[out.ToChain], to.Name)
			if len(to.Inputs) > 1 {
				fmt.Fprintf(t, " %s", portName(to, int(out.Port)))
			}
			if name := outletName(s.o, out.Output); name != "" {
				fmt.Fprintf(t, " (%s)", name)
			}
			t.WriteString("\n")
		}
		next := consumers[s.o.ID]
		depth := s.depth
		if len(next) > 1 {
			depth++
		}
		for k := len(next) - 1; k >= 0; k-- {
			stack = append(stack, step{t.operators[next[k].To], next[k].Output, depth})
		}
	}
}

// maxIndent keeps the output of a deep tree in proportion to its size.
const maxIndent = 40

// label is "in" for an operator's only port, or the port's name.
func label(o *Operator, p int) string {
	if len(o.Inputs) == 1 && o.Inputs[0].Name == "" {
		return "input"
	}
	return portName(o, p)
}

// outletName names a side output, and is "" for a main one without a name.
func outletName(o *Operator, out flow.Outlet) string {
	name := o.Outputs[out].Name
	switch {
	case name != "":
		return fmt.Sprintf("output %d: %s", out, line(name))
	case out != 0:
		return fmt.Sprintf("output %d", out)
	}
	return ""
}

// outlet is the producer's name, with the outlet where it is not the main one.
func (t *textWriter) outlet(from flow.OperatorID, out flow.Outlet) string {
	o := t.operators[from]
	if name := outletName(o, out); name != "" {
		return fmt.Sprintf("%q (%s)", o.Name, name)
	}
	return fmt.Sprintf("%q", o.Name)
}

func (t *textWriter) operator(indent string, o *Operator, via flow.Outlet) {
	fmt.Fprintf(t, "%s%s %q", indent, line(o.Kind), o.Name)
	if via != 0 {
		fmt.Fprintf(t, " of output %d", via)
	}
	if o.Unbounded {
		t.WriteString(", unbounded")
	}
	if o.Guarantee != "" {
		fmt.Fprintf(t, ", %s", line(o.Guarantee))
	}
	if o.NoChain {
		t.WriteString(", starts a chain")
	}
	fmt.Fprintf(t, "  [%s%s]\n", line(string(o.ID)), map[bool]string{true: ", set by the user"}[o.UserID])
	for _, a := range o.Attrs {
		fmt.Fprintf(t, "%s    %s: %s\n", indent, line(a.Key), line(a.Value))
	}
	for _, s := range o.States {
		fmt.Fprintf(t, "%s    state %s: %s\n", indent, line(s.Name), line(s.describe()))
	}
}

// describe is "value of int64 by string", as far as it is known.
func (s State) describe() string {
	out := s.Kind
	if s.Value != "" {
		out += " of " + s.Value
	}
	if s.Key != "" {
		out += " by " + s.Key
	}
	return out
}

// line keeps what users wrote on one line, and terminals unharmed.
func line(s string) string {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return strconv.Quote(s)
	}
	return s
}
