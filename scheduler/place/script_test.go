package place

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/weirflow/weir/api"
)

// TestScripts runs the stories in testdata. "fleet" names nodes, one a line:
// "ID free=N zone=Z ending=N closed=WHY". "place slots=N ..." decides for a job whose lines are
// "now ID NODE SLOTS [coordinator]", "was ID NODE SLOTS", "avoid NODE", "move ID". "tasks" has lines
// "chain ID N [forward=A,B]", "before CHAIN ALLOC@NODE ..." and "host ALLOC@NODE SLOTS".
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var nodes []Node
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				switch d.Cmd {
				case "fleet":
					nodes = scriptFleet(t, d)
					return ""
				case "place":
					return scriptPlace(t, d, nodes)
				case "tasks":
					return scriptTasks(t, d)
				}
				d.Fatalf(t, "unknown command")
				return ""
			})
		})
	}
}

func number(t *testing.T, d *datadriven.TestData, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		d.Fatalf(t, "%s", err)
	}
	return n
}

func scriptFleet(t *testing.T, d *datadriven.TestData) []Node {
	var nodes []Node
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		n := Node{ID: api.NodeID(f[0])}
		for _, word := range f[1:] {
			k, v, _ := strings.Cut(word, "=")
			switch k {
			case "free":
				n.Free = number(t, d, v)
			case "ending":
				n.Ending = number(t, d, v)
			case "zone":
				n.Zone = v
			case "closed":
				n.Closed = v
			default:
				d.Fatalf(t, "unknown word %q", word)
			}
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func scriptPlace(t *testing.T, d *datadriven.TestData, nodes []Node) string {
	j := Job{Name: "j"}
	d.ScanArgs(t, "slots", &j.Slots)
	d.MaybeScanArgs(t, "per", &j.PerExecutor)
	d.MaybeScanArgs(t, "zone", &j.Zone)
	var policy string
	d.MaybeScanArgs(t, "policy", &policy)
	var err error
	if j.Policy, err = ParsePolicy(policy); err != nil {
		return err.Error() + "\n"
	}
	for line := range strings.Lines(d.Input) {
		switch f := strings.Fields(line); f[0] {
		case "now", "was":
			e := Executor{Alloc: api.AllocID(f[1]), Node: api.NodeID(f[2]), Slots: number(t, d, f[3]), Coordinator: len(f) > 4}
			if f[0] == "now" {
				j.Now = append(j.Now, e)
			} else {
				j.Was = append(j.Was, e)
			}
		case "avoid":
			j.Avoid = append(j.Avoid, api.NodeID(f[1]))
		case "move":
			j.Move = append(j.Move, api.AllocID(f[1]))
		default:
			d.Fatalf(t, "unknown line %q", line)
		}
	}
	return describe(NewFleet(nodes).Place(j))
}

func describe(p Plan) string {
	var b strings.Builder
	for _, e := range p.Keep {
		fmt.Fprintf(&b, "keep %s\n", e)
	}
	for _, e := range p.Stop {
		fmt.Fprintf(&b, "stop %s\n", e)
	}
	for _, s := range p.Start {
		fmt.Fprintf(&b, "start %d on %s\n", s.Slots, s.Node)
	}
	if !p.Fits {
		fmt.Fprintf(&b, "missing %d, soon=%t: %s\n", p.Missing, p.Soon, p.Reason)
	}
	return b.String()
}

func scriptTasks(t *testing.T, d *datadriven.TestData) string {
	var chains []Chain
	var hosts []Host
	seat := func(s string) Seat {
		alloc, node, _ := strings.Cut(s, "@")
		return Seat{api.AllocID(alloc), api.NodeID(node)}
	}
	for line := range strings.Lines(d.Input) {
		switch f := strings.Fields(line); f[0] {
		case "chain":
			c := Chain{ID: f[1], Parallelism: number(t, d, f[2])}
			if len(f) > 3 {
				c.Forward = strings.Split(strings.TrimPrefix(f[3], "forward="), ",")
			}
			chains = append(chains, c)
		case "before":
			i := slices.IndexFunc(chains, func(c Chain) bool { return c.ID == f[1] })
			for _, s := range f[2:] {
				chains[i].Before = append(chains[i].Before, seat(s))
			}
		case "host":
			s := seat(f[1])
			hosts = append(hosts, Host{s.Alloc, s.Node, number(t, d, f[2])})
		default:
			d.Fatalf(t, "unknown line %q", line)
		}
	}
	placed, err := Tasks(chains, hosts)
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, h := range hosts {
		fmt.Fprintf(&b, "%s:", h.Alloc)
		for _, p := range placed {
			if p.Alloc == h.Alloc {
				fmt.Fprintf(&b, " %s/%d", p.Task.Chain, p.Task.Subtask)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
