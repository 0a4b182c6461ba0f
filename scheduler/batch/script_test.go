package batch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/scheduler/job"
)

// planOf makes the plan of lines "CHAIN PARALLELISM [INPUT[/EXCHANGE]]...".
func planOf(t interface {
	Helper()
	Fatalf(string, ...any)
}, text string) *graph.Plan {
	t.Helper()
	g := &graph.Graph{Name: "script"}
	kinds := map[string]graph.ExchangeKind{"": graph.Hash, "hash": graph.Hash, "forward": graph.Forward, "rebalance": graph.Rebalance, "broadcast": graph.Broadcast}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		o := &graph.Operator{ID: flow.OperatorID(f[0]), UserID: true, Name: f[0], Kind: "map", NoChain: true, Outputs: []graph.Output{{}}}
		if _, err := fmt.Sscan(f[1], &o.Parallelism); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if len(f) == 2 {
			o.Kind = graph.KindSource
		}
		if strings.HasPrefix(f[0], "sink") {
			o.Kind, o.Outputs = graph.KindSink, nil
		}
		for _, in := range f[2:] {
			from, kind, _ := strings.Cut(in, "/")
			o.Inputs = append(o.Inputs, graph.Input{Edges: []graph.Edge{{From: flow.OperatorID(from), Exchange: graph.Exchange{Kind: kinds[kind]}}}})
		}
		g.Operators = append(g.Operators, o)
	}
	p, err := graph.Build(g, graph.PlanOptions{Mode: graph.Batch})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return p
}

// TestScripts runs the scripts in testdata. Rewrite them with
//
//	go test ./scheduler/batch -run Scripts -rewrite
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var m *Machine
		var s *Splits
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			say := func(acts []Action) {
				for _, a := range acts {
					fmt.Fprintln(&out, a)
				}
			}
			deals := func(ds []Deal) {
				for _, a := range ds {
					fmt.Fprintln(&out, a)
				}
			}
			var id, slots, n int
			var node, why, edge string
			var bytes, delay int64
			for _, arg := range d.CmdArgs {
				switch arg.Key {
				case "id", "at", "of":
					arg.Scan(t, 0, map[string]*int{"id": &id, "at": &n, "of": &slots}[arg.Key])
				case "slots", "failures":
					arg.Scan(t, 0, &slots)
				case "delay":
					arg.Scan(t, 0, &delay)
				case "bytes":
					arg.Scan(t, 0, &bytes)
				case "node":
					arg.Scan(t, 0, &node)
				case "why":
					arg.Scan(t, 0, &why)
				case "edge":
					arg.Scan(t, 0, &edge)
				}
			}
			f := &flow.Failure{Domain: flow.DomainExternal, Retryable: !d.HasArg("final"), Message: why}
			switch d.Cmd {
			case "plan":
				opt := Options{First: 1}
				if d.HasArg("failures") {
					opt.Restart = job.FixedDelay{Delay: time.Duration(delay) * time.Second, MaxFailures: slots}
				}
				m = New(planOf(t, d.Input), opt)
			case "join":
				say(m.Join(Executor(id), Node(node), slots))
			case "leave":
				say(m.Leave(Executor(id), f))
			case "done":
				for line := range strings.Lines(d.Input) {
					fmt.Sscan(line, &n, &bytes)
					say(m.Done(flow.Attempt(n), bytes))
				}
			case "failed":
				say(m.Failed(flow.Attempt(n), f))
			case "cancelled":
				for line := range strings.Lines(d.Input) {
					fmt.Sscan(line, &n)
					say(m.Cancelled(flow.Attempt(n)))
				}
			case "lost-input":
				var producer, of int
				d.ScanArgs(t, "producer", &producer)
				d.ScanArgs(t, "of", &of)
				say(m.LostInput(flow.Attempt(n), Source{Edge: flow.EdgeID{To: flow.OperatorID(edge)}, Producer: producer, Attempt: flow.Attempt(of)}, d.HasArg("gone"), f))
			case "node-lost":
				say(m.NodeLost(Node(node), f))
			case "due":
				var chain string
				var subtask int
				d.ScanArgs(t, "unit", &chain, &subtask)
				say(m.Due(flow.TaskID{Chain: flow.ChainID(chain), Subtask: subtask}, flow.Attempt(n)))
			case "fail":
				say(m.Fail(f))
			case "cancel":
				say(m.Fail(nil))
			case "committed":
				say(m.Committed())
			case "commit-failed":
				say(m.CommitFailed(f))
			case "units":
				for _, c := range m.chains {
					for _, u := range c.units {
						fmt.Fprintln(&out, u)
					}
				}
				fmt.Fprintf(&out, "%+v\n", m.Progress())
			case "splits":
				s = NewSplits(slots, d.HasArg("spread"))
			case "found":
				deals(s.Found(strings.Fields(d.Input)...))
			case "no-more":
				deals(s.NoMore())
			case "stop":
				deals(s.Stop())
			case "begin":
				deals(s.Begin(id))
			case "ask":
				deals(s.Ask(id))
			case "gone":
				s.Gone(id, d.HasArg("finished"))
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			return out.String()
		})
	})
}
