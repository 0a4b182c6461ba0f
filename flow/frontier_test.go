package flow_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
)

// frontierStep does one line of a script.
func frontierStep(f *flow.Frontier, input int, op string, at flow.Time) bool {
	switch op {
	case "watermark":
		return f.Watermark(input, at)
	case "idle":
		return f.SetIdle(input)
	case "active":
		return f.SetActive(input)
	case "end":
		return f.End(input)
	}
	panic("unknown command " + op)
}

func TestFrontierScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/frontier", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			n, err := strconv.Atoi(d.CmdArgs[0].Key)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			f := flow.NewFrontier(n)
			var out strings.Builder
			for line := range strings.Lines(d.Input) {
				words := strings.Fields(line)
				input, err := strconv.Atoi(words[1])
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				at := flow.MaxTime
				if len(words) > 2 && words[2] != "max" {
					s, err := strconv.Atoi(words[2])
					if err != nil {
						d.Fatalf(t, "%v", err)
					}
					at = flow.Time(s) * 1e6
				}
				moved := ""
				if frontierStep(f, input, words[0], at) {
					moved = "advanced "
				}
				fmt.Fprintf(&out, "%s: %s%s", strings.TrimSpace(line), moved, f.Describe())
				if f.Ended() {
					out.WriteString(" ended")
				}
				out.WriteByte('\n')
			}
			return strings.ReplaceAll(out.String(), "1970-01-01T00:", "")
		})
	})
}

// model says the same as a Frontier, from the definition.
type model struct {
	inputs   []modelInput
	time     flow.Time
	from, to int // the inputs that fall idle together
}

type modelInput struct {
	time        flow.Time
	idle, ended bool
}

func (m *model) step(i int, op string, at flow.Time) {
	in := &m.inputs[i]
	switch op {
	case "watermark":
		in.idle = false
		in.time = max(in.time, at)
	case "idle":
		in.idle = true
	case "active":
		in.idle = false
	case "end":
		in.ended = true
	}
	active, over := m.count()
	least := flow.MaxTime
	for i, in := range m.inputs {
		if m.active(i) || over == len(m.inputs) {
			least = min(least, in.time)
		}
	}
	if active > 0 || over == len(m.inputs) {
		m.time = max(m.time, least)
	}
}

// active reports whether input i counts: one of those that belong together does as
// long as any of them is not idle.
func (m *model) active(i int) bool {
	if m.inputs[i].over() || !m.inputs[i].idle {
		return !m.inputs[i].over()
	}
	for j := m.from; j < m.to; j++ {
		if m.from <= i && i < m.to && !m.inputs[j].over() && !m.inputs[j].idle {
			return true
		}
	}
	return false
}

// over says that no record will come: the end was announced at least.
func (in modelInput) over() bool { return in.ended || in.time == flow.MaxTime }

func (m *model) ended() bool {
	for _, in := range m.inputs {
		if !in.ended {
			return false
		}
	}
	return true
}

func (m *model) count() (active, over int) {
	for i, in := range m.inputs {
		switch {
		case in.over():
			over++
		case m.active(i):
			active++
		}
	}
	return active, over
}

func TestFrontierAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "inputs")
		f := flow.NewFrontier(n)
		m := &model{inputs: make([]modelInput, n), time: flow.MinTime}
		for i := range m.inputs {
			m.inputs[i].time = flow.MinTime
		}
		if rapid.Bool().Draw(t, "together") {
			m.from = rapid.IntRange(0, n-1).Draw(t, "from")
			m.to = rapid.IntRange(m.from+1, n).Draw(t, "to")
			f.Together(1, m.from, m.to)
		}
		times := rapid.OneOf(rapid.Int64Range(0, 20), rapid.Just(int64(flow.MaxTime)), rapid.Just(int64(flow.MinTime)))
		t.Repeat(map[string]func(*rapid.T){"step": func(t *rapid.T) {
			i := rapid.IntRange(0, n-1).Draw(t, "input")
			op := rapid.SampledFrom([]string{"watermark", "watermark", "idle", "active", "end"}).Draw(t, "op")
			if m.inputs[i].ended {
				op = "end"
			}
			at := flow.Time(times.Draw(t, "time"))
			before := f.Time()
			moved := frontierStep(f, i, op, at)
			m.step(i, op, at)
			active, over := m.count()
			if f.Time() != m.time || moved != (f.Time() > before) {
				t.Fatalf("%s %d %v: moved %t, %s; want time %v", op, i, at, moved, f.Describe(), m.time)
			}
			if f.Ended() != m.ended() || f.Idle() != (active == 0 && over < n) || f.InputEnded(i) != m.inputs[i].ended {
				t.Fatalf("%s %d: %s", op, i, f.Describe())
			}
		}})
	})
}
