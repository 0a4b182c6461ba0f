package lease

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// TestScripts runs the scripts in testdata. A line is a time and what happens then; what
// it leads to is printed behind it.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var l *Lease
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				if d.Cmd == "new" {
					margin, every := "", ""
					d.ScanArgs(t, "margin", &margin)
					d.ScanArgs(t, "every", &every)
					var err error
					if l, err = New(Options{Margin: duration(t, d, margin), Every: duration(t, d, every)}); err != nil {
						return err.Error()
					}
					return l.Describe()
				}
				var out strings.Builder
				for line := range strings.Lines(d.Input) {
					fmt.Fprintf(&out, "%s\n   %s\n   %s\n", strings.TrimSpace(line), step(t, d, l, strings.Fields(line)), l.Describe())
				}
				return out.String()
			})
		})
	}
}

func step(t *testing.T, d *datadriven.TestData, l *Lease, f []string) string {
	now := duration(t, d, f[0])
	seq := func() uint64 {
		n, err := strconv.ParseUint(f[2], 10, 64)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return n
	}
	switch f[1] {
	case "poll":
		a := l.Poll(now)
		var said []string
		if a.Report {
			said = append(said, "report")
		}
		if a.Stop {
			said = append(said, "stop: "+a.Reason)
		}
		if said == nil {
			return "nothing to do"
		}
		return strings.Join(said, "; ")
	case "sent":
		l.Sent(now, seq())
		return "ok"
	case "answered":
		if l.Answered(now, seq(), duration(t, d, f[3])) {
			return "renewed"
		}
		return "renews nothing"
	case "refused":
		l.Refused(now, strings.Join(f[2:], " "))
		return "ok"
	case "stopped":
		l.Stopped(now)
		return "ok"
	}
	d.Fatalf(t, "unknown event %s", f[1])
	return ""
}

func duration(t *testing.T, d *datadriven.TestData, s string) time.Duration {
	v, err := time.ParseDuration(s)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return v
}

// TestNeverLonger plays an agent and a leader with any delays, losses and suspensions:
// whenever the leader holds the lease to have ended, so does the agent, by the margin.
func TestNeverLonger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const term, margin = 3 * time.Second, 500 * time.Millisecond
		l, err := New(Options{Margin: margin, Every: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		var now, leader time.Duration // leader: when the lease ends as the leader sees it
		var seq uint64
		var answers []uint64
		var stops, tenure uint64
		dying := false
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 700).Draw(t, "wait")) * time.Millisecond
			if rapid.IntRange(0, 30).Draw(t, "suspended") == 0 {
				now += time.Minute
			}
			switch rapid.IntRange(0, 5).Draw(t, "event") {
			case 0, 1: // a report is sent, and comes at once or never
				seq++
				l.Sent(now, seq)
				if rapid.Bool().Draw(t, "arrives") {
					leader = now + term
					answers = append(answers, seq)
				}
			case 2, 3: // an answer comes, in any order, maybe twice
				if len(answers) > 0 {
					s := answers[rapid.IntRange(0, len(answers)-1).Draw(t, "answer")]
					if l.Answered(now, s, term) && dying {
						t.Fatalf("%s: renewed while executors die", l.Describe())
					}
				}
			case 4:
				if dying {
					l.Stopped(now)
					dying = false
				}
			}
			if l.State(now) == Held && now > leader-margin {
				t.Fatalf("%s: held, but the leader has it until %v", l.Describe(), leader)
			}
			if l.Poll(now).Stop {
				stops, dying = stops+1, true
			}
			if l.Tenure() != tenure {
				tenure = l.Tenure()
				if stops != tenure-1 {
					t.Fatalf("%s: tenure %d began after %d stops", l.Describe(), tenure, stops)
				}
			}
			if n := l.Next(); l.State(now) == Held && n > now && l.Left(now) < n-now {
				t.Fatalf("%s: would be polled after its end", l.Describe())
			}
		}
	})
}

func TestClock(t *testing.T) {
	a := Clock()
	if b := Clock(); b < a || a < 0 {
		t.Fatalf("%v, then %v", a, b)
	}
}
