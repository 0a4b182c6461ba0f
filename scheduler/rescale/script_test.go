package rescale

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestScripts runs series in testdata against a job of a source and a keyed operator.
//
//	scaler min=1 max=8 [dry] [up=15s] [down=5m] [settle=30s]
//	job src=5000 sum=1000 [hot=0.5] [limit=900] [unknown]    what a subtask does a second; the share of
//	                                                         the hottest key; what anything behind lets through
//	run for=10m rate=3000 [to=9000] [noise=0.2] [every=5s]   prints decisions that change, and the last one
//	sample                                                   the last decision with its figures
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			m := &model{p: 1, rng: rand.New(rand.NewPCG(7, 7))}
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				switch d.Cmd {
				case "scaler":
					return m.scaler(t, d)
				case "job":
					m.job(t, d)
					return ""
				case "run":
					return m.run(t, d)
				case "sample":
					return strings.Join(append(m.last.Lines, m.last.String()), "\n") + "\n"
				}
				d.Fatalf(t, "unknown command")
				return ""
			})
		})
	}
}

type model struct {
	s                   *Scaler
	rng                 *rand.Rand
	now                 time.Duration
	p, changes          int
	backlog             float64
	src, sum, hot, most float64
	unknown             bool
	last                Decision
}

func duration(t *testing.T, d *datadriven.TestData, key string, to *time.Duration) {
	var s string
	if d.MaybeScanArgs(t, key, &s); s == "" {
		return
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		d.Fatalf(t, "%s", err)
	}
	*to = v
}

func number(t *testing.T, d *datadriven.TestData, key string, dflt float64) float64 {
	var s string
	if d.MaybeScanArgs(t, key, &s); s == "" {
		return dflt
	}
	var v float64
	if _, err := fmt.Sscan(s, &v); err != nil {
		d.Fatalf(t, "%s", err)
	}
	return v
}

func (m *model) scaler(t *testing.T, d *datadriven.TestData) string {
	o := Options{DryRun: d.HasArg("dry")}
	d.MaybeScanArgs(t, "min", &o.Min)
	d.MaybeScanArgs(t, "max", &o.Max)
	o.Utilisation = number(t, d, "utilisation", 0)
	duration(t, d, "up", &o.UpAfter)
	duration(t, d, "down", &o.DownAfter)
	duration(t, d, "settle", &o.Settle)
	s, err := New(o)
	if err != nil {
		return err.Error() + "\n"
	}
	m.s = s
	return ""
}

func (m *model) job(t *testing.T, d *datadriven.TestData) {
	m.src, m.sum = number(t, d, "src", 5000), number(t, d, "sum", 1000)
	m.hot, m.most = number(t, d, "hot", 0), number(t, d, "limit", math.Inf(1))
	m.unknown = d.HasArg("unknown")
	m.p, m.backlog = int(number(t, d, "p", 1)), 0
}

func (m *model) run(t *testing.T, d *datadriven.TestData) string {
	length, every := time.Minute, 5*time.Second
	duration(t, d, "for", &length)
	duration(t, d, "every", &every)
	from := number(t, d, "rate", 0)
	to, noise := number(t, d, "to", from), number(t, d, "noise", 0)
	var b strings.Builder
	for at := time.Duration(0); at < length; at += every {
		m.now += every
		rate := from + (to-from)*float64(at)/float64(length)
		rate *= 1 + noise*(2*m.rng.Float64()-1)
		m.last = m.s.Observe(m.sample(rate, every.Seconds()))
		if m.last.Change {
			fmt.Fprintf(&b, "%s: %s\n", m.now, m.last)
			if !m.last.DryRun {
				m.p = m.last.Parallelism
				m.backlog += rate * 2 // it stands for two seconds
				m.changes++
			}
		}
	}
	if !m.last.Change {
		fmt.Fprintf(&b, "%s: %s\n", m.now, m.last)
	}
	if m.backlog > 1 {
		fmt.Fprintf(&b, "backlog %.0f\n", m.backlog)
	}
	return b.String()
}

// sample is what would be measured.
func (m *model) sample(rate, seconds float64) Sample {
	p := float64(m.p)
	share := max(m.hot, 1/p) // of the busiest subtask
	offered := min(rate+m.backlog/seconds, m.src*p)
	done := min(offered, m.sum/share, m.most)
	growth := rate - done
	m.backlog = max(0, m.backlog+growth*seconds)
	src := Load{ID: "src", In: done, Out: done, Busy: done / (m.src * p), Backpressured: 1 - done/offered, Known: !m.unknown}
	if src.Known {
		src.Backlog, src.Growth = m.backlog, growth
	}
	return Sample{At: m.now.Microseconds(), Parallelism: m.p, Loads: []Load{src, {
		ID: "sum", Inputs: []string{"src"}, In: done, Busy: done / (m.sum * p), Busiest: done * share / m.sum,
	}}}
}
