package graph

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/weirflow/weir/flow"
)

// The scripts' language. "define" makes the current graph from lines
//
//	KIND NAME [ref=R] [id=ID] [par=N] [in=EDGE[+EDGE...]]... [out=TYPE[:NAME]]...
//	          [nochain] [unbounded] [guarantee=G] [attr=K:V]... [state=NAME:KIND:KEY:VALUE]...
//
// with EDGE = REF[.OUTLET][/EXCHANGE[:KEYTYPE]], where REF is ref=, or the name.
// A non-sink without out= has one output of unknown type. in=! is a port without
// edges; in=TYPE@EDGE a port with a type.
// Ids are provisional until "ids" is run. The other commands are in [script.run].
type script struct {
	prev, cur *Graph
	// refs of the operators of both, by position.
	prevRefs, curRefs []string
	prevFingerprint   string
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if strings.Contains(path, "fuzz") || strings.HasSuffix(path, ".msgpack") {
			return
		}
		s := &script{}
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			return s.run(t, td)
		})
	})
}

func (s *script) run(t *testing.T, td *datadriven.TestData) string {
	switch td.Cmd {
	case "define":
		s.prev, s.prevRefs = s.cur, s.curRefs
		if s.prev != nil {
			s.prevFingerprint, _ = s.prev.Fingerprint()
		}
		s.cur, s.curRefs = parseGraph(t, td.Input)
		td.MaybeScanArgs(t, "name", &s.cur.Name)
		td.MaybeScanArgs(t, "max-par", &s.cur.MaxParallelism)
		if td.HasArg("ids") {
			if err := s.cur.AssignIDs(); err != nil {
				return err.Error()
			}
		}
		return ""
	case "validate":
		return errorText(s.cur.Validate())
	case "ids":
		if err := s.cur.AssignIDs(); err != nil {
			return err.Error()
		}
		before := snapshotIDs(s.cur)
		if err := s.cur.AssignIDs(); err != nil || snapshotIDs(s.cur) != before {
			return "assigning twice changes ids\n" + before + snapshotIDs(s.cur)
		}
		return s.ids()
	case "fingerprint": // compares with the graph defined before
		f, err := s.cur.Fingerprint()
		if err != nil {
			return err.Error()
		}
		if f == s.prevFingerprint {
			return "the same as before"
		}
		return "differs from before"
	case "diff":
		return linesOr(Diff(s.prev, s.cur), "no difference")
	case "roundtrip":
		return roundtrip(s.cur)
	}
	opts := PlanOptions{Chaining: !td.HasArg("unchained")}
	td.MaybeScanArgs(t, "par", &opts.Parallelism)
	if td.HasArg("batch") {
		opts.Mode = Batch
	}
	p, err := Build(s.cur, opts)
	if err != nil {
		return errorText(err)
	}
	var b bytes.Buffer
	switch td.Cmd {
	case "plan":
		return describePlan(p)
	case "explain":
		err = ExplainText(&b, p)
	case "dot":
		err = ExplainDOT(&b, p)
	case "json":
		err = ExplainJSON(&b, p)
	default:
		t.Fatalf("%s: command %q is unknown", td.Pos, td.Cmd)
	}
	if err != nil {
		return err.Error()
	}
	return b.String()
}

func errorText(err error) string {
	if err == nil {
		return "valid"
	}
	return err.Error()
}

func linesOr(lines []string, none string) string {
	if len(lines) == 0 {
		return none
	}
	return strings.Join(lines, "\n")
}

func snapshotIDs(g *Graph) string {
	var b strings.Builder
	for _, o := range g.Operators {
		fmt.Fprintf(&b, "%s:", o.ID)
		for _, in := range o.Inputs {
			for _, e := range in.Edges {
				fmt.Fprintf(&b, " %s", e.From)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// ids prints each operator's id and how it compares with the operator of the
// same ref in the graph before.
func (s *script) ids() string {
	before := map[string]flow.OperatorID{}
	if s.prev != nil {
		for i, o := range s.prev.Operators {
			before[s.prevRefs[i]] = o.ID
		}
	}
	var b strings.Builder
	for i, o := range s.cur.Operators {
		ref := s.curRefs[i]
		fmt.Fprintf(&b, "%-8s %s", ref, o.ID)
		switch was, ok := before[ref]; {
		case s.prev == nil:
		case !ok:
			b.WriteString("  new")
		case was == o.ID:
			b.WriteString("  same")
		default:
			b.WriteString("  changed")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func roundtrip(g *Graph) string {
	data, err := Marshal(g)
	if err != nil {
		return err.Error()
	}
	back, err := Unmarshal(data)
	if err != nil {
		return err.Error()
	}
	if d := Diff(g, back); len(d) > 0 {
		return strings.Join(d, "\n")
	}
	again, err := Marshal(back)
	if err != nil || !bytes.Equal(data, again) {
		return fmt.Sprintf("the second form differs (%v)", err)
	}
	return "equal"
}

// describePlan prints all that a plan says, with nothing left to taste.
func describePlan(p *Plan) string {
	var b strings.Builder
	blocking := map[bool]string{true: ", blocking"}
	for i := range p.Chains {
		c := &p.Chains[i]
		fmt.Fprintf(&b, "chain %s x%d region %d:", c.ID, c.Parallelism, c.Region)
		for _, o := range c.Operators {
			fmt.Fprintf(&b, " %s", o.ID)
		}
		b.WriteByte('\n')
		for _, in := range c.Inputs {
			fmt.Fprintf(&b, "  in   %s: %s.%d of chain %s, %s, port %d%s\n", in.Edge, in.From, in.Output, in.FromChain, in.Exchange, in.Port, blocking[in.Blocking])
		}
		for _, l := range c.Links {
			fmt.Fprintf(&b, "  link %s.%d -> %s:%d\n", l.From, l.Output, l.To, l.Port)
		}
		for _, out := range c.Outputs {
			fmt.Fprintf(&b, "  out  %s: %s.%d to %s:%d of chain %s, %s%s\n", out.Edge, out.From, out.Output, out.To, out.Port, out.ToChain, out.Exchange, blocking[out.Blocking])
		}
	}
	fmt.Fprintf(&b, "regions %v, %s, max-parallelism %d\n", p.Regions, count(p.Tasks(), "task"), p.MaxParallelism)
	return b.String()
}

func parseGraph(t *testing.T, text string) (*Graph, []string) {
	t.Helper()
	g := &Graph{}
	var refs []string
	ids := map[string]flow.OperatorID{}
	type line struct {
		o      *Operator
		fields []string
	}
	var parsed []line
	for _, l := range strings.Split(text, "\n") {
		f := strings.Fields(l)
		if len(f) < 2 {
			continue
		}
		o := &Operator{Kind: f[0], Name: strings.Trim(f[1], `"`)}
		ref := o.Name
		for _, kv := range f[2:] {
			k, v, _ := strings.Cut(kv, "=")
			switch k {
			case "ref":
				ref = v
			case "id":
				o.ID, o.UserID = flow.OperatorID(strings.ReplaceAll(v, `\t`, "\t")), true
			}
		}
		if !o.UserID {
			o.ID = flow.OperatorID("~" + ref)
		}
		if _, ok := ids[ref]; !ok {
			ids[ref] = o.ID
		}
		g.Operators = append(g.Operators, o)
		refs = append(refs, ref)
		parsed = append(parsed, line{o, f[2:]})
	}
	for _, l := range parsed {
		for _, kv := range l.fields {
			k, v, _ := strings.Cut(kv, "=")
			parseField(t, l.o, k, v, ids)
		}
		if len(l.o.Outputs) == 0 && l.o.Kind != KindSink {
			l.o.Outputs = []Output{{}}
		}
	}
	return g, refs
}

func parseField(t *testing.T, o *Operator, k, v string, ids map[string]flow.OperatorID) {
	t.Helper()
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s=%s: %v", k, v, err)
		}
		return n
	}
	part := strings.Split(v, ":")
	part = append(part, "", "", "", "")
	switch k {
	case "ref", "id":
	case "par":
		o.Parallelism = number(v)
	case "nochain":
		o.NoChain = true
	case "unbounded":
		o.Unbounded = true
	case "guarantee":
		o.Guarantee = v
	case "attr":
		o.Attrs = append(o.Attrs, Attr{part[0], part[1]})
	case "state":
		o.States = append(o.States, State{part[0], part[1], part[2], part[3]})
	case "out":
		o.Outputs = append(o.Outputs, Output{Type: part[0], Name: part[1]})
	case "in":
		var in Input
		if typ, rest, ok := strings.Cut(v, "@"); ok {
			in.Type, v = typ, rest
		}
		if v == "!" {
			v = ""
		}
		for _, e := range strings.FieldsFunc(v, func(r rune) bool { return r == '+' }) {
			var edge Edge
			from, exchange, _ := strings.Cut(e, "/")
			ref, outlet, ok := strings.Cut(from, ".")
			if ok {
				edge.Output = flow.Outlet(number(outlet))
			}
			if edge.From, ok = ids[ref]; !ok {
				edge.From = flow.OperatorID(ref)
			}
			if exchange != "" {
				kind, key, _ := strings.Cut(exchange, ":")
				x, err := ParseExchangeKind(kind)
				if err != nil {
					t.Fatal(err)
				}
				edge.Exchange = Exchange{Kind: x, Key: key}
			}
			in.Edges = append(in.Edges, edge)
		}
		o.Inputs = append(o.Inputs, in)
	default:
		t.Fatalf("field %s=%s is unknown", k, v)
	}
}
