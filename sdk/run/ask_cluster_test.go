package run_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/api"
)

// ask asks a process, and decodes its answer into v.
func (p *process) ask(n uint64, what string, v any) (refused string) {
	p.t.Helper()
	p.command(api.ExecutorCommand{Request: n, Ask: what})
	e := p.until("an answer", func(e api.ExecutorEvent) bool { return e.Request == n })
	if e.Error != "" {
		return e.Error
	}
	if err := json.Unmarshal([]byte(e.Answer), v); err != nil {
		p.t.Fatalf("%q: %v", e.Answer, err)
	}
	return ""
}

// TestProcessesAsk asks the processes of a job for its plan and figures.
func TestProcessesAsk(t *testing.T) {
	ps := newProcesses(t, 50_000, 2)
	co := ps.start("co", 1, "")
	at := co.ready().Control
	a := ps.start("a", 1, at)
	a.ready()
	var g api.JobGraph
	if err := a.ask(1, api.AskGraph, &g); !strings.Contains(err, "not the job's coordinator") {
		t.Error(err)
	}
	if err := co.ask(1, api.AskGraph, &g); err != "" || g.Job != "numbers" || g.Tasks != 4 || len(g.Chains) != 2 || len(g.Regions) != 1 {
		t.Errorf("%s %+v", err, g)
	}
	if err := co.ask(2, "weather", &g); !strings.Contains(err, "weather") {
		t.Error(err)
	}
	n := uint64(10)
	stats := func(ps ...*process) api.JobStats {
		t.Helper()
		n++
		all := make([]api.JobStats, len(ps))
		for i, p := range ps {
			if err := p.ask(n, api.AskStats, &all[i]); err != "" {
				t.Fatal(err)
			}
		}
		return api.MergeStats(all)
	}
	// until waits for figures.
	until := func(what string, is func(api.JobStats) bool, ps ...*process) api.JobStats {
		t.Helper()
		began := time.Now()
		for {
			s := stats(ps...)
			if is(s) {
				return s
			}
			if time.Since(began) > time.Minute {
				t.Fatalf("%s does not come: %+v", what, s)
			}
			<-time.After(20 * time.Millisecond)
		}
	}
	check := func(s api.JobStats) {
		t.Helper()
		ids := []string{"lines", "parse", "count", "print", "write"}
		for _, o := range s.Operators {
			if len(ids) > 0 && o.ID == ids[0] {
				ids = ids[1:]
			}
			if o.Parallelism != 2 {
				t.Errorf("%d subtasks of %s", o.Parallelism, o.ID)
			}
			if sum := o.Busy + o.Idle + o.Backpressured; sum < 0.99 || sum > 1.01 {
				t.Errorf("%s: shares of %v", o.ID, sum)
			}
			if o.ID == "count" && o.Idle < 0.5 { // there are few numbers a second
				t.Errorf("%+v", o)
			}
		}
		if len(ids) > 0 {
			t.Errorf("%v is missing, or comes too early: %+v", ids, s.Operators)
		}
	}
	flows := func(s api.JobStats) bool {
		for _, o := range s.Operators {
			if o.Parallelism != 2 || o.RecordsIn == 0 || o.RateIn == 0 {
				return false
			}
		}
		return s.Epoch > 0 && len(s.Operators) > 0
	}
	s := until("records", flows, co, a)
	check(s)
	t.Logf("%+v", s)
	// Another attempt has subtasks elsewhere: those of before do not count.
	a.kill()
	b := ps.start("b", 1, at)
	b.ready()
	s = until("records of another attempt", func(s api.JobStats) bool { return s.Attempt == 2 && flows(s) }, b, co)
	check(s)
}
