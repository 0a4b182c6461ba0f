package job

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weirflow/weir/flow"
)

// TestScripts runs the stories in testdata. The line of a "job" command names the
// tasks, sources with a star, and the restart policy; a "do" is one event a line:
// "start", "stop", "cancel", "suspend", "nothing-left", "due", "committed EPOCH [final]", "commit-failed EPOCH",
// "TASK.. STATE [REASON]"; each takes "attempt=N" in front.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var m *Machine
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				if d.Cmd == "job" {
					var err error
					if m, err = New("j", 1, scriptTasks(d), scriptPolicy(t, d)); err != nil {
						return "error: " + err.Error() + "\n"
					}
					return m.Describe() + "\n"
				}
				var out strings.Builder
				for line := range strings.Lines(d.Input) {
					for _, e := range scriptEvents(t, d, m, strings.TrimSpace(line)) {
						fmt.Fprintf(&out, "%s\n", e)
						for _, a := range m.Step(e) {
							fmt.Fprintf(&out, "> %s\n", a)
						}
					}
				}
				if d.Cmd == "describe" {
					out.WriteString(m.Describe() + "\n")
				}
				return out.String()
			})
		})
	}
}

func scriptTasks(d *datadriven.TestData) []TaskInfo {
	var tasks []TaskInfo
	for _, f := range strings.Fields(d.Input) {
		name, source := strings.CutPrefix(f, "*")
		tasks = append(tasks, TaskInfo{ID: flow.TaskID{Chain: flow.ChainID(name)}, Source: source})
	}
	return tasks
}

func scriptPolicy(t *testing.T, d *datadriven.TestData) RestartPolicy {
	if !d.HasArg("restart") {
		return nil
	}
	var s string
	d.ScanArgs(t, "restart", &s)
	delay, err := time.ParseDuration(s)
	if err != nil {
		d.Fatalf(t, "%s", err)
	}
	return FixedDelay{Delay: delay, MaxFailures: 2}
}

func scriptEvents(t *testing.T, d *datadriven.TestData, m *Machine, line string) []Event {
	attempt := m.Attempt()
	if rest, ok := strings.CutPrefix(line, "attempt="); ok {
		n, event, _ := strings.Cut(rest, " ")
		if _, err := fmt.Sscan(n, &attempt); err != nil {
			d.Fatalf(t, "%s", err)
		}
		line = event
	}
	f := strings.Fields(line)
	epoch := flow.Epoch(0)
	if len(f) > 1 && strings.HasPrefix(f[0], "commit") {
		if _, err := fmt.Sscan(f[1], &epoch); err != nil {
			d.Fatalf(t, "%s", err)
		}
	}
	switch f[0] {
	case "start":
		return []Event{Start{}}
	case "stop":
		return []Event{Stop{}}
	case "cancel":
		return []Event{Cancel{}}
	case "suspend":
		return []Event{Suspend{}}
	case "nothing-left":
		return []Event{NothingLeft{attempt}}
	case "due":
		return []Event{RestartDue{attempt + 1}}
	case "committed":
		return []Event{EpochCommitted{attempt, epoch, len(f) > 2}}
	case "commit-failed":
		return []Event{CommitFailed{attempt, epoch, &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Message: "disk full"}}}
	}
	var events []Event
	for i, word := range f {
		for s := TaskCreated; s <= TaskCancelled; s++ {
			if word != s.String() {
				continue
			}
			var failure *flow.Failure
			if reason := strings.Join(f[i+1:], " "); reason != "" {
				failure = &flow.Failure{Domain: flow.DomainUser, Message: reason, Retryable: strings.HasPrefix(reason, "retryable")}
			}
			for _, name := range f[:i] {
				events = append(events, TaskUpdate{flow.TaskID{Chain: flow.ChainID(name)}, attempt, s, failure})
			}
			return events
		}
	}
	d.Fatalf(t, "unknown line %q", line)
	return nil
}

func TestNewRefuses(t *testing.T) {
	id := flow.TaskID{Chain: "a"}
	for _, tasks := range [][]TaskInfo{nil, {{ID: id}}, {{ID: id, Source: true}, {ID: id}}} {
		if _, err := New("j", 1, tasks, nil); err == nil || !strings.Contains(err.Error(), "job j") {
			t.Errorf("%v: error %v", tasks, err)
		}
	}
}

func TestAccessors(t *testing.T) {
	id := flow.TaskID{Chain: "a"}
	m, err := New("j", 3, []TaskInfo{{ID: id, Source: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Step(Start{})
	f := &flow.Failure{Message: "bad"}
	m.Step(TaskUpdate{Task: id, Attempt: 3, State: TaskFailed, Failure: f})
	if s, ok := m.TaskState(id); m.Job() != "j" || m.Attempt() != 3 || m.State() != Failed || s != TaskFailed || !ok {
		t.Error(m.Describe())
	}
	if m.Cause().Task != id || f.Task == id {
		t.Errorf("the cause is of %s, the reporter's failure of %s", m.Cause().Task, f.Task)
	}
	if _, ok := m.TaskState(flow.TaskID{Chain: "b"}); ok {
		t.Error("a task that is not there has a state")
	}
}

func TestStrings(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{State(99).String(), "state(99)"},
		{TaskState(99).String(), "task-state(99)"},
		{NoRestart{}.String(), "none"},
		{FixedDelay{Delay: time.Second}.String(), "fixed delay 1s, at most any number of failures"},
		{Exponential{MaxFailures: 3}.String(), "exponential delay 1s times 2 up to 1m0s, at most 3 failures"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestRestartPolicies(t *testing.T) {
	retryable := &flow.Failure{Retryable: true}
	for _, c := range []struct {
		p     RestartPolicy
		cause *flow.Failure
		want  string
	}{
		{NoRestart{}, retryable, "no no no no no no"},
		{FixedDelay{Delay: time.Second}, &flow.Failure{}, "no no no no no no"},
		{FixedDelay{Delay: time.Second}, retryable, "1s 1s 1s 1s 1s 1s"},
		{FixedDelay{Delay: time.Second, MaxFailures: 3}, nil, "1s 1s 1s no no no"},
		{FixedDelay{Delay: -1}, retryable, "0s 0s 0s 0s 0s 0s"},
		{Exponential{}, &flow.Failure{}, "no no no no no no"},
		{Exponential{}, retryable, "1s 2s 4s 8s 16s 32s"},
		{Exponential{Initial: time.Minute}, retryable, "1m0s 1m0s 1m0s 1m0s 1m0s 1m0s"},
		{Exponential{Initial: 2 * time.Minute}, retryable, "2m0s 2m0s 2m0s 2m0s 2m0s 2m0s"},
		{Exponential{Initial: time.Second, Max: 10 * time.Second, Factor: 3, MaxFailures: 5}, retryable, "1s 3s 9s 10s 10s no"},
		{Exponential{Factor: 1}, retryable, "1s 1s 1s 1s 1s 1s"},
		{Exponential{Factor: 0.5}, retryable, "1s 1s 1s 1s 1s 1s"},
	} {
		var got []string
		for i := 1; i <= 6; i++ {
			if d := c.p.Decide(i, c.cause); d.Restart {
				got = append(got, d.Delay.String())
			} else {
				got = append(got, "no")
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", c.p, s, c.want)
		}
	}
	if d := (Exponential{}).Decide(1<<40, retryable); d.Delay != time.Minute {
		t.Errorf("after very many failures: %s", d.Delay)
	}
}
