package checkpoint

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weirflow/weir/flow"
)

// TestScripts runs the scripts in testdata. Rewrite them with
//
//	go test ./checkpoint -run Scripts -rewrite
func TestScripts(t *testing.T) {
	// Not the whole folder: rapid keeps its failures there.
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var r script
			datadriven.RunTest(t, path, r.run)
		})
	}
}

type script struct {
	aligner *Aligner
	co      *Coordinator
	sim     *sim
	now     flow.Time
	held    []*message
}

func (r *script) run(t *testing.T, d *datadriven.TestData) string {
	var out strings.Builder
	if !r.runAligner(t, d, &out) && !r.runCoordinator(t, d, &out) && !r.runSim(t, d, &out) {
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	if out.Len() == 0 {
		return "ok"
	}
	return out.String()
}

// runAligner does one command a line: "CHANNEL EPOCH [KIND] [unaligned]" for a barrier
// that is read, "queue CHANNEL EPOCH [KIND] [unaligned]" for one that is announced,
// "abort EPOCH", "end CHANNEL", "at TIME". Of an overtaking aligner, after=TIME is the
// time-out and inline=(CHANNEL..) what it may not overtake.
func (r *script) runAligner(t *testing.T, d *datadriven.TestData, out *strings.Builder) bool {
	switch d.Cmd {
	case "aligner":
		var n int
		d.ScanArgs(t, "n", &n)
		r.aligner, r.now = NewAligner(n), 0
		if d.HasArg("after") {
			r.aligner.OvertakeAfter(duration(t, d, "after"))
		}
		for _, a := range d.CmdArgs {
			if a.Key == "inline" {
				for _, v := range a.Vals {
					r.aligner.InLine(number(t, d, v))
				}
			}
		}
		out.WriteString(r.aligner.Describe())
	case "align":
		for line := range strings.Lines(d.Input) {
			f := strings.Fields(line)
			var res string
			switch f[0] {
			case "abort":
				res = r.aligner.Abort(flow.Epoch(number(t, d, f[1]))).String()
			case "end":
				r.aligner.End(number(t, d, f[1]))
			case "at":
				at, err := time.ParseDuration(f[1])
				if err != nil {
					d.Fatalf(t, "%s", err)
				}
				r.now = flow.Span(at)
				res = r.aligner.Tick(r.now).String()
			case "queue":
				res = r.aligner.Announce(number(t, d, f[1]), barrier(t, d, f[2:]), r.now).String()
			default:
				res = r.aligner.Barrier(number(t, d, f[0]), barrier(t, d, f[1:])).String()
			}
			fmt.Fprintf(out, "%-12s %-34s %s\n", strings.TrimSpace(line), res, r.aligner.Describe())
		}
	default:
		return false
	}
	return true
}

func (r *script) runCoordinator(t *testing.T, d *datadriven.TestData, out *strings.Builder) bool {
	var acts []Action
	var err error
	var epoch int
	attempt := 1
	if d.HasArg("attempt") {
		d.ScanArgs(t, "attempt", &attempt)
	}
	if d.HasArg("epoch") {
		d.ScanArgs(t, "epoch", &epoch)
	}
	if d.HasArg("at") {
		r.now = flow.Time(0).Add(duration(t, d, "at"))
	}
	switch d.Cmd {
	case "coordinator":
		var tasks, sources []flow.TaskID
		for _, f := range strings.Fields(d.Input) {
			name, isSource := strings.CutPrefix(f, "*")
			id := flow.TaskID{Chain: flow.ChainID(name)}
			tasks = append(tasks, id)
			if isSource {
				sources = append(sources, id)
			}
		}
		r.now = 0
		r.co, err = NewCoordinator(1, tasks, sources, options(t, d))
	case "start":
		acts = r.co.Start(r.now)
	case "trigger":
		acts, err = r.co.Trigger(kind(t, d, d.CmdArgs[0].Key), r.now)
	case "ack":
		var tasks []string
		if d.HasArg("task") {
			d.ScanArgs(t, "task", &tasks)
		}
		for _, a := range d.CmdArgs {
			if a.Key == "task" {
				tasks = a.Vals
			}
		}
		for _, name := range tasks {
			var cs []Committable
			for _, line := range strings.Fields(d.Input) {
				op, data, _ := strings.Cut(line, "=")
				op, at, _ := strings.Cut(op, "@")
				c := Committable{Operator: flow.OperatorID(op), Data: []byte(data)}
				if at != "" {
					c.Epoch = flow.Epoch(number(t, d, at))
				}
				cs = append(cs, c)
			}
			a, e := r.co.Ack(Ack{flow.Attempt(attempt), flow.TaskID{Chain: flow.ChainID(name)}, flow.Epoch(epoch), cs, nil}, r.now)
			acts, err = append(acts, a...), errors.Join(err, e)
		}
	case "decline":
		var name, reason string
		d.ScanArgs(t, "task", &name)
		d.ScanArgs(t, "reason", &reason)
		acts, err = r.co.Decline(Decline{flow.Attempt(attempt), flow.TaskID{Chain: flow.ChainID(name)}, flow.Epoch(epoch), reason}, r.now)
	case "committed":
		acts, err = r.co.Committed(flow.Epoch(epoch), r.now)
	case "commit-failed":
		acts, err = r.co.CommitFailed(flow.Epoch(epoch), r.now, errors.New("disk full"))
	case "stop":
		acts = r.co.Stop(r.now, "the job was cancelled")
	case "tick":
		acts = r.co.Tick(r.now)
	case "describe":
		out.WriteString(r.co.Describe())
		if next, ok := r.co.Next(); ok {
			fmt.Fprintf(out, "tick at %s\n", time.Duration(next)*time.Microsecond)
		}
	default:
		return false
	}
	for _, a := range acts {
		fmt.Fprintf(out, "%s\n", a)
	}
	if err != nil {
		fmt.Fprintf(out, "error: %s\n", err)
	}
	return true
}

func (r *script) runSim(t *testing.T, d *datadriven.TestData, out *strings.Builder) bool {
	var err error
	switch d.Cmd {
	case "topology":
		var names []string
		var inputs [][]int
		for line := range strings.Lines(d.Input) {
			name, from, _ := strings.Cut(strings.TrimSpace(line), ":")
			var in []int
			for _, f := range strings.Fields(from) {
				in = append(in, slices.Index(names, f))
			}
			names, inputs = append(names, name), append(inputs, in)
		}
		r.sim, err = newSim(names, inputs, options(t, d))
		if err == nil {
			r.held = nil
			err = r.sim.do(r.sim.co.Start(0))
		}
	case "sim":
		// One command a line: "emit TASK..", "end TASK..", "trigger KIND", "tick
		// DURATION", "run", "drop PATTERN", "hold PATTERN", "double PATTERN",
		// "release". The patterns are the beginnings of messages, and are
		// for the next run.
		r.sim.log = func(f string, args ...any) { fmt.Fprintf(out, f+"\n", args...) }
		var drop, hold, double []string
		for line := range strings.Lines(d.Input) {
			cmd, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			fmt.Fprintf(out, "# %s\n", strings.TrimSpace(line))
			switch cmd {
			case "emit":
				for _, n := range strings.Fields(rest) {
					r.sim.emit(r.sim.node(n))
				}
			case "end":
				for _, n := range strings.Fields(rest) {
					r.sim.end(r.sim.node(n))
				}
			case "trigger":
				var acts []Action
				if acts, err = r.sim.co.Trigger(kind(t, d, rest), r.sim.now); err == nil {
					err = r.sim.do(acts)
				}
			case "tick":
				var by time.Duration
				if by, err = time.ParseDuration(rest); err == nil {
					err = r.sim.tick(by)
				}
			case "drop":
				drop = append(drop, rest)
			case "hold":
				hold = append(hold, rest)
			case "double":
				double = append(double, rest)
			case "release":
				r.sim.pool = append(r.sim.pool, r.held...)
				r.held = nil
			case "run":
				matches := func(ps []string, m *message) bool {
					return slices.ContainsFunc(ps, func(p string) bool { return strings.HasPrefix(m.String(), p) })
				}
				seen := map[*message]bool{}
				err = r.sim.run(func(m *message) bool {
					if matches(double, m) && !seen[m] {
						again := *m
						seen[m], seen[&again] = true, true
						r.sim.pool = append(r.sim.pool, &again)
					}
					return matches(drop, m) || matches(hold, m)
				})
				for _, m := range r.sim.pool {
					if matches(hold, m) {
						fmt.Fprintf(out, "held: %s\n", m)
						r.held = append(r.held, m)
					} else {
						fmt.Fprintf(out, "lost: %s\n", m)
					}
				}
				r.sim.pool = nil
				drop, hold, double = nil, nil, nil
			default:
				d.Fatalf(t, "unknown line %s", line)
			}
			if err != nil {
				break
			}
		}
	case "aligners":
		for _, n := range r.sim.nodes {
			fmt.Fprintf(out, "%s: %s\n", n.id.Chain, n.aligner.Describe())
		}
		out.WriteString(r.sim.co.Describe())
	default:
		return false
	}
	if err != nil {
		fmt.Fprintf(out, "error: %s\n", err)
	}
	return true
}

func options(t *testing.T, d *datadriven.TestData) Options {
	var o Options
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "interval":
			o.Interval = duration(t, d, a.Key)
		case "pause":
			o.MinPause = duration(t, d, a.Key)
		case "timeout":
			o.Timeout = duration(t, d, a.Key)
		case "max":
			d.ScanArgs(t, a.Key, &o.MaxConcurrent)
		case "tolerate":
			d.ScanArgs(t, a.Key, &o.TolerableFailures)
		case "first":
			o.First = flow.Epoch(number(t, d, a.Vals[0]))
		default:
			d.Fatalf(t, "unknown option %s", a.Key)
		}
	}
	return o
}

func duration(t *testing.T, d *datadriven.TestData, key string) time.Duration {
	var s string
	d.ScanArgs(t, key, &s)
	v, err := time.ParseDuration(s)
	if err != nil {
		d.Fatalf(t, "%s", err)
	}
	return v
}

func number(t *testing.T, d *datadriven.TestData, s string) int {
	var n int
	if _, err := fmt.Sscan(s, &n); err != nil {
		d.Fatalf(t, "%q is no number", s)
	}
	return n
}

// barrier reads "EPOCH [KIND] [unaligned]".
func barrier(t *testing.T, d *datadriven.TestData, f []string) flow.Barrier {
	b := flow.Barrier{Epoch: flow.Epoch(number(t, d, f[0]))}
	for _, s := range f[1:] {
		if s == "unaligned" {
			b.Unaligned = true
		} else {
			b.Kind = kind(t, d, s)
		}
	}
	return b
}

func kind(t *testing.T, d *datadriven.TestData, s string) flow.BarrierKind {
	for k := flow.BarrierCheckpoint; k <= flow.BarrierFinal; k++ {
		if k.String() == s {
			return k
		}
	}
	d.Fatalf(t, "unknown kind %q", s)
	return 0
}
