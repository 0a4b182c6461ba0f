package run_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/internal/obs/metrics"
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
	checkMetrics(t, co, a)
	checkProfile(t, a)
	// Another attempt has subtasks elsewhere: those of before do not count.
	a.kill()
	b := ps.start("b", 1, at)
	b.ready()
	s = until("records of another attempt", func(s api.JobStats) bool { return s.Attempt == 2 && flows(s) }, b, co)
	check(s)
}

// told asks for what is no JSON.
func (p *process) told(n uint64, what string) (answer, refused string) {
	p.t.Helper()
	p.command(api.ExecutorCommand{Request: n, Ask: what})
	e := p.until("an answer", func(e api.ExecutorEvent) bool { return e.Request == n })
	return e.Answer, e.Error
}

// checkMetrics looks at what Prometheus is told of a coordinator and of a worker.
func checkMetrics(t *testing.T, co, worker *process) {
	t.Helper()
	show := func(p *process) string {
		packed, refused := p.told(1000, api.AskMetrics)
		if refused != "" {
			t.Fatal(refused)
		}
		families, err := metrics.Unpack(packed, metrics.Label{Name: "job_name", Value: "numbers"})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := metrics.Write(&b, metrics.Unpacked(families)); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	c, w := show(co), show(worker)
	both := []string{`weir_operator_records_in_total{job_name="numbers",name="`, `weir_operator_state_disk_bytes{job_name="numbers",name="aggregate",operator="count"}`,
		`weir_exchange_credit_bytes{edge="count:0.0",job_name="numbers",name="aggregate",operator="count"}`, `go_goroutines{job_name="numbers"}`, "process_resident_memory_bytes"}
	for _, want := range append(both, `weir_job_state{job_name="numbers",state="running"} 1`, `weir_job_attempt{job_name="numbers"} 1`,
		`weir_checkpoints_total{job_name="numbers",kind="checkpoint",result="committed"}`, `weir_checkpoint_duration_seconds_count{job_name="numbers",phase="whole"}`) {
		if !strings.Contains(c, want) {
			t.Errorf("the coordinator does not show %s:\n%s", want, c)
		}
	}
	for _, want := range both {
		if !strings.Contains(w, want) {
			t.Errorf("the worker does not show %s:\n%s", want, w)
		}
	}
	if strings.Contains(w, "weir_checkpoint") {
		t.Errorf("the worker shows checkpoints:\n%s", w)
	}
}

// checkProfile takes profiles of a worker: its tasks are told apart by labels.
func checkProfile(t *testing.T, p *process) {
	t.Helper()
	take := func(n uint64, kind string) []byte {
		size, refused := p.told(n, api.AskProfile(kind, 100*time.Millisecond))
		if refused != "" {
			t.Fatalf("%s: %s", kind, refused)
		}
		z, err := os.ReadFile(filepath.Join(p.dir, fmt.Sprint(api.ProfileFile, n)))
		if err != nil || fmt.Sprint(len(z)) != size {
			t.Fatalf("%s: %d bytes, want %s: %v", kind, len(z), size, err)
		}
		r, err := gzip.NewReader(bytes.NewReader(z))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	take(2000, "cpu")
	for i, label := range []string{"job", "numbers", "operator", "aggregate > ", "subtask"} {
		if b := take(2001+uint64(i), "goroutine"); !bytes.Contains(b, []byte(label)) {
			t.Errorf("no goroutine has the label %q", label)
		}
	}
	if _, refused := p.told(3000, api.AskProfile("weather", time.Second)); !strings.Contains(refused, "weather") {
		t.Errorf("%q", refused)
	}
}
