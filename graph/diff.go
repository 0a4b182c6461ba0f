package graph

import (
	"fmt"

	"github.com/weirflow/weir/flow"
)

// Diff says in lines for people how b differs from a. Of graphs whose ids are
// unique it is empty exactly when the fingerprints are equal. Operators are matched by id; where one is gone
// and another of the same kind and name is new, the line says so, as that is
// what a changed id looks like.
func Diff(a, b *Graph) []string {
	d := differ{}
	d.value("job", "name", a.Name, b.Name)
	d.value("job", "max-parallelism", a.KeyGroups(), b.KeyGroups())
	was, is := byID(a), byID(b)
	gone, fresh := missing(a, is), missing(b, was)
	told := map[*Operator]bool{}
	for _, o := range gone {
		if n := renamed(o, fresh); n != nil {
			told[n] = true
			d.add("%s is gone; %s, new, has the same kind and name: what is upstream of it or beside it changed, "+
				"or its id was set by hand", o, n)
		} else {
			d.add("%s is gone", o)
		}
	}
	for _, o := range fresh {
		if !told[o] {
			d.add("%s is new", o)
		}
	}
	for _, o := range a.Operators {
		if o != nil && is[o.ID] != nil && was[o.ID] == o {
			d.operator(o, is[o.ID])
		}
	}
	if len(d.lines) == 0 && len(was) == len(is) && len(a.Operators) != len(b.Operators) {
		d.add("one of the graphs has several operators with one id")
	}
	return d.lines
}

func byID(g *Graph) map[flow.OperatorID]*Operator {
	m := make(map[flow.OperatorID]*Operator, len(g.Operators))
	for _, o := range g.Operators {
		if o != nil && m[o.ID] == nil {
			m[o.ID] = o
		}
	}
	return m
}

func missing(g *Graph, from map[flow.OperatorID]*Operator) []*Operator {
	var out []*Operator
	for _, o := range g.Operators {
		if o != nil && from[o.ID] == nil {
			out = append(out, o)
		}
	}
	return out
}

// renamed finds an operator of the same kind and name as o, if there is just one.
func renamed(o *Operator, among []*Operator) *Operator {
	var found *Operator
	for _, n := range among {
		if n.Kind == o.Kind && n.Name == o.Name {
			if found != nil {
				return nil
			}
			found = n
		}
	}
	return found
}

// differ collects lines.
type differ struct{ lines []string }

func (d *differ) add(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// value compares one thing; strings are quoted.
func (d *differ) value(where, what string, a, b any) {
	if a == b {
		return
	}
	if _, ok := a.(string); ok {
		d.add("%s: %s is %q instead of %q", where, what, b, a)
		return
	}
	d.add("%s: %s is %v instead of %v", where, what, b, a)
}

func (d *differ) operator(a, b *Operator) {
	where := a.String()
	d.value(where, "kind", a.Kind, b.Kind)
	d.value(where, "name", a.Name, b.Name)
	d.value(where, "set by the user", a.UserID, b.UserID)
	d.value(where, "parallelism (0 is the job's default)", a.Parallelism, b.Parallelism)
	d.value(where, "no-chain", a.NoChain, b.NoChain)
	d.value(where, "unbounded", a.Unbounded, b.Unbounded)
	d.value(where, "guarantee", a.Guarantee, b.Guarantee)
	d.value(where, "number of inputs", len(a.Inputs), len(b.Inputs))
	for p := range min(len(a.Inputs), len(b.Inputs)) {
		d.input(where, portName(a, p), &a.Inputs[p], &b.Inputs[p])
	}
	list(d, where, "output", a.Outputs, b.Outputs, func(o Output) string { return fmt.Sprintf("%q of type %q", o.Name, o.Type) })
	list(d, where, "attribute", a.Attrs, b.Attrs, func(x Attr) string { return fmt.Sprintf("%q = %q", x.Key, x.Value) })
	list(d, where, "state", a.States, b.States, func(s State) string {
		return fmt.Sprintf("%q: %q of %q by %q", s.Name, s.Kind, s.Value, s.Key)
	})
}

func (d *differ) input(where, port string, a, b *Input) {
	d.value(where, port+": name", a.Name, b.Name)
	d.value(where, port+": type", a.Type, b.Type)
	list(d, where, port+": edge", a.Edges, b.Edges, func(e Edge) string {
		return fmt.Sprintf("from output %d of %q, %s", e.Output, string(e.From), e.Exchange)
	})
}

// list compares two lists position by position, by what they look like. So what
// an element is shown as must tell apart all that the serial form does.
func list[T any](d *differ, where, what string, a, b []T, show func(T) string) {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			d.add("%s: %s %d is new: %s", where, what, i, show(b[i]))
		case i >= len(b):
			d.add("%s: %s %d is gone: %s", where, what, i, show(a[i]))
		default:
			if x, y := show(a[i]), show(b[i]); x != y {
				d.add("%s: %s %d is %s instead of %s", where, what, i, y, x)
			}
		}
	}
}
