package graph

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/weirflow/weir/flow"
)

// ExplainDOT writes the plan for Graphviz: a cluster for each chain, a bold line
// for each link, a thin one for each exchange.
func ExplainDOT(w io.Writer, p *Plan) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "digraph %s {\n", dotQuote(p.Graph.Name))
	b.WriteString("  rankdir=LR;\n  compound=true;\n  node [shape=box, style=rounded];\n")
	for i := range p.Chains {
		c := &p.Chains[i]
		fmt.Fprintf(b, "  subgraph cluster_%d {\n    label=%s;\n", i+1,
			dotQuote(fmt.Sprintf("chain %d, parallelism %d", i+1, c.Parallelism)))
		for _, o := range c.Operators {
			fmt.Fprintf(b, "    %s [label=%s];\n", dotQuote(string(o.ID)), dotQuote(dotLabel(o)))
		}
		for _, l := range c.Links {
			fmt.Fprintf(b, "    %s -> %s [style=bold%s];\n", dotQuote(string(l.From)), dotQuote(string(l.To)),
				dotOutlet(l.Output))
		}
		b.WriteString("  }\n")
	}
	for i := range p.Chains {
		for _, in := range p.Chains[i].Inputs {
			fmt.Fprintf(b, "  %s -> %s [label=%s%s%s];\n", dotQuote(string(in.From)), dotQuote(string(in.Edge.To)),
				dotQuote(in.Exchange.String()), dotOutlet(in.Output)+dotBlocking(in.Blocking), dotPort(p.Chains[i].Head(), in.Port))
		}
	}
	b.WriteString("}\n")
	if err := b.Flush(); err != nil {
		return fmt.Errorf("graph: explain %q as DOT: %w", p.Graph.Name, err)
	}
	return nil
}

func dotLabel(o *Operator) string {
	lines := []string{o.Name, o.Kind}
	if o.Unbounded {
		lines[1] += ", unbounded"
	}
	if o.Guarantee != "" {
		lines[1] += ", " + o.Guarantee
	}
	for _, a := range o.Attrs {
		lines = append(lines, a.Key+": "+a.Value)
	}
	for _, s := range o.States {
		lines = append(lines, "state "+s.Name+": "+s.describe())
	}
	return strings.Join(lines, "\n")
}

func dotOutlet(out flow.Outlet) string {
	if out == 0 {
		return ""
	}
	return fmt.Sprintf(", taillabel=\"%d\"", out)
}

// dotBlocking draws what lies on a disk in between as a dashed line.
func dotBlocking(blocking bool) string {
	if !blocking {
		return ""
	}
	return ", style=dashed"
}

func dotPort(o *Operator, p flow.Port) string {
	if len(o.Inputs) < 2 {
		return ""
	}
	return fmt.Sprintf(", headlabel=\"%d\"", p)
}

// dotQuote makes a DOT string. In one, only the quote must be escaped for the
// parser; a backslash would begin an escape of the label language, so it is
// doubled.
func dotQuote(s string) string { return `"` + dotEscapes.Replace(s) + `"` }

var dotEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", "", "\x00", "")
