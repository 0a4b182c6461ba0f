package checkpoint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/weirflow/weir/flow"
)

// TestResolveScript runs testdata/resolve/resolve.txt:
//
//	snapshot max=N epoch=N      the former plan and what its tasks saved
//	resolve max=N [allow]       the new plan; prints what its tasks start from
//
// Both have lines of a plan
//
//	chain ID PARALLELISM OPERATOR...
//	input OPERATOR PORT.INDEX FROM EXCHANGE
//	source OPERATOR
//
// and the former plan also what was saved:
//
//	keyed OPERATOR NAME...
//	state OPERATOR NAME MODE ITEM,ITEM/ITEM     items of one subtask after the other
//	job OPERATOR [done] [enumerator=X] [unassigned=A,B] [assigned=A,B]
//	flight OPERATOR PORT.INDEX EXCHANGE PRODUCER>CONSUMER RECORDS
//	prepared OPERATOR SUBTASK EPOCH
//	copy OPERATOR OPERATOR                      keyed state of one in the other's chain
func TestResolveScript(t *testing.T) {
	m := &Manifest{}
	datadriven.RunTest(t, "testdata/resolve/resolve.txt", func(t *testing.T, d *datadriven.TestData) string {
		p := Target{MaxParallelism: 8}
		if d.HasArg("max") {
			d.ScanArgs(t, "max", &p.MaxParallelism)
		}
		var rest [][]string
		for line := range strings.Lines(d.Input) {
			if w := strings.Fields(line); len(w) > 0 && !planLine(t, &p, w) {
				rest = append(rest, w)
			}
		}
		switch d.Cmd {
		case "snapshot":
			m = manifestOf(p)
			d.ScanArgs(t, "epoch", &m.Epoch)
			for _, w := range rest {
				saveLine(t, m, p, w)
			}
			return ""
		case "resolve":
			if len(rest) > 0 {
				t.Fatalf("%q", rest)
			}
			r, err := Resolve(m, p, ResolveOptions{AllowDroppedState: d.HasArg("allow")})
			if err != nil {
				return err.Error() + "\n"
			}
			return describeRestore(p, r)
		}
		t.Fatalf("unknown command %s", d.Cmd)
		return ""
	})
}

var exchanges = map[string]Exchange{"forward": ExchangeForward, "hash": ExchangeHash,
	"rebalance": ExchangeRebalance, "broadcast": ExchangeBroadcast}

func planLine(t fataler, p *Target, w []string) bool {
	switch w[0] {
	case "chain":
		c := TargetChain{ID: flow.ChainID(w[1]), Parallelism: wholeNumber(t, w[2])}
		for _, o := range w[3:] {
			c.Operators = append(c.Operators, TargetOperator{ID: flow.OperatorID(o)})
		}
		p.Chains = append(p.Chains, c)
	case "input":
		port, index, _ := strings.Cut(w[2], ".")
		o := operatorOf(t, p, w[1])
		o.Inputs = append(o.Inputs, TargetInput{flow.Port(wholeNumber(t, port)), wholeNumber(t, index), flow.OperatorID(w[3]), 0, exchanges[w[4]]})
	case "source":
		operatorOf(t, p, w[1]).Source = true
	default:
		return false
	}
	return true
}

func wholeNumber(t fataler, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func operatorOf(t fataler, p *Target, id string) *TargetOperator {
	for i := range p.Chains {
		for j := range p.Chains[i].Operators {
			if o := &p.Chains[i].Operators[j]; string(o.ID) == id {
				return o
			}
		}
	}
	t.Fatalf("no operator %s", id)
	return nil
}

// manifestOf is a manifest of a plan in which nothing was saved.
func manifestOf(p Target) *Manifest {
	m := &Manifest{Job: "job", Attempt: 1, Epoch: 1, MaxParallelism: p.MaxParallelism}
	for _, c := range p.Chains {
		for s := range c.Parallelism {
			g := flow.RangeOf(p.MaxParallelism, c.Parallelism, s)
			m.Tasks = append(m.Tasks, TaskSnapshot{Chain: string(c.ID), Subtask: s, Parallelism: c.Parallelism,
				First: uint16(g.First), End: uint16(g.End)})
		}
	}
	return m
}

// tasksOf are the snapshots of the tasks that have an operator.
func tasksOf(m *Manifest, p Target, op string) []*TaskSnapshot {
	var out []*TaskSnapshot
	for _, c := range p.Chains {
		if slices.ContainsFunc(c.Operators, func(o TargetOperator) bool { return string(o.ID) == op }) {
			for i := range m.Tasks {
				if m.Tasks[i].Chain == string(c.ID) {
					out = append(out, &m.Tasks[i])
				}
			}
		}
	}
	return out
}

var modes = map[string]Mode{"split": Split, "union": Union, "broadcast": Broadcast, "splits": Splits}

func saveLine(t fataler, m *Manifest, p Target, w []string) {
	tasks := tasksOf(m, p, w[1])
	switch w[0] {
	case "keyed":
		for _, s := range tasks {
			if s.Keyed == nil {
				s.Keyed = &Keyed{Form: 1, Files: []File{{Name: "state", Blob: s.Task().String()}}}
			}
			for _, name := range w[2:] {
				s.Keyed.States = append(s.Keyed.States, StateRef{Operator: w[1], Name: name, Kind: 1})
			}
		}
	case "state":
		for i, items := range strings.Split(w[4], "/") {
			o := OperatorState{Operator: w[1], Name: w[2], Mode: modes[w[3]]}
			for _, item := range list(items) {
				if o.Mode == Splits {
					item = string(AppendSplit(nil, &SavedSplit{ID: item}))
				}
				o.Items = append(o.Items, []byte(item))
			}
			tasks[i].Operators = append(tasks[i].Operators, o)
		}
	case "job":
		s := SourceSnapshot{Operator: w[1]}
		for _, a := range w[2:] {
			k, v, _ := strings.Cut(a, "=")
			switch k {
			case "done":
				s.Done = true
			case "enumerator":
				s.Enumerator = []byte(v)
			case "unassigned":
				for _, id := range list(v) {
					s.Unassigned = append(s.Unassigned, AppendSplit(nil, &SavedSplit{ID: id}))
				}
			case "assigned":
				s.Assigned = list(v)
			}
		}
		m.Sources = append(m.Sources, s)
	case "flight":
		port, index, _ := strings.Cut(w[2], ".")
		from, to, _ := strings.Cut(w[4], ">")
		s := tasks[wholeNumber(t, to)]
		ch := Channel{To: w[1], Port: wholeNumber(t, port), Index: wholeNumber(t, index), Exchange: uint8(exchanges[w[3]]),
			Producer: wholeNumber(t, from), Records: int64(wholeNumber(t, w[5]))}
		if s.InFlight == nil {
			s.InFlight = &File{Name: "inflight", Blob: s.Task().String()}
		}
		ch.Offset, ch.Length = s.InFlight.Size, ch.Records*10
		s.InFlight.Size += ch.Length
		s.Channels = append(s.Channels, ch)
	case "copy": // keyed state of one operator's tasks in another's
		for i, to := range tasksOf(m, p, w[2]) {
			to.Keyed = tasks[i].Keyed
		}
	case "prepared":
		m.Committables = append(m.Committables, Committable{Operator: flow.OperatorID(w[1]), Subtask: wholeNumber(t, w[2]),
			Epoch: flow.Epoch(wholeNumber(t, w[3]))})
	default:
		t.Fatalf("unknown line %q", w)
	}
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func describeRestore(p Target, r *Restore) string {
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %d\n", r.Epoch)
	for _, c := range p.Chains {
		for s := range c.Parallelism {
			id := flow.TaskID{Chain: c.ID, Subtask: s}
			groups := flow.RangeOf(p.MaxParallelism, c.Parallelism, s)
			fmt.Fprintf(&b, "%s %s\n", id, groups)
			t := r.Tasks[id]
			for _, k := range t.Keyed {
				fmt.Fprintf(&b, "  keyed [%d,%d) of %s", k.First, k.End, k.Keyed.Files[0].Blob)
				if k.Operators != nil {
					fmt.Fprintf(&b, ", only %s", strings.Join(k.Operators, " "))
				}
				b.WriteByte('\n')
			}
			if t.InPlace(groups) {
				b.WriteString("  in place\n")
			}
			for _, o := range t.Operators {
				fmt.Fprintf(&b, "  state %s.%s %q\n", o.Operator, o.Name, o.Items)
			}
			for _, ch := range t.Channels {
				fmt.Fprintf(&b, "  flight %s %d>%s at %d+%d", ch.Channel.Edge(), ch.Channel.Producer, ch.File.Blob, ch.Channel.Offset, ch.Channel.Length)
				if ch.Filter {
					b.WriteString(", own key groups")
				}
				b.WriteByte('\n')
			}
		}
	}
	for _, c := range p.Chains {
		for _, o := range c.Operators {
			if s, ok := r.Sources[o.ID]; ok {
				var ids []string
				for _, b := range s.Splits {
					sp, _ := DecodeSplit(b)
					ids = append(ids, sp.ID)
				}
				fmt.Fprintf(&b, "source %s enumerator=%q done=%t splits=%s finished=%s\n", o.ID, s.Enumerator, s.Done,
					strings.Join(ids, ","), strings.Join(s.Finished, ","))
			}
		}
	}
	for _, o := range r.Committables {
		fmt.Fprintf(&b, "commit %s %v\n", o.Operator, o.Committables)
	}
	for _, e := range r.Replay {
		fmt.Fprintf(&b, "replay %s:%d %d records\n", e.Operator, e.Port, e.Records)
	}
	for _, d := range r.Dropped {
		fmt.Fprintf(&b, "dropped %s: %s\n", d.Operator, d.What)
	}
	return b.String()
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}
