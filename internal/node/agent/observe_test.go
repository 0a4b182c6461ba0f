package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	promodel "github.com/prometheus/common/model"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/registry"
	"github.com/weirflow/weir/internal/node/config"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/internal/obs/metrics"
)

// answers is what the program of the tests' jobs answers.
func answers(c *api.ExecutorConfig, cmd *api.ExecutorCommand) api.ExecutorEvent {
	e := api.ExecutorEvent{Request: cmd.Request}
	kind, _, profiles := api.AsksProfile(cmd.Ask)
	switch {
	case profiles && kind == "heap":
		e.Answer = "7"
		if err := os.WriteFile(filepath.Join(c.Dir, fmt.Sprint(api.ProfileFile, cmd.Request)), []byte("samples"), 0o600); err != nil {
			e.Error = err.Error()
		}
	case profiles && kind == "allocs": // it says so, and leaves nothing
		e.Answer = "7"
	case cmd.Ask == api.AskMetrics && c.Alloc.Coordinator:
		r := &obs.Registry{}
		r.Operator(&obs.Task{Attempt: 1}, "1", "lines", "source", 0).RecordsIn.Add(42)
		j := metrics.NewJob(r, []string{"running"})
		j.State("running", false, true, false)
		var err error
		if e.Answer, err = metrics.Pack(metrics.Of(j, metrics.Label{Name: "job_name", Value: "another's"})); err != nil {
			e.Error = err.Error()
		}
	case cmd.Ask == api.AskMetrics:
		e.Answer = "no such thing"
	default:
		e.Error = "it will not tell"
	}
	return e
}

// get reads something of an agent's HTTP address.
func get(t *testing.T, a *Agent, path string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.node.HTTP+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	w, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.StatusCode, string(b)
}

// TestObserve looks at a server and at an agent that is none, which run a job of two executors.
func TestObserve(t *testing.T) {
	s, _ := startAgent(t, "s", func(c *config.Config) { c.Server.Enabled, c.Server.BootstrapExpect, c.Slots = true, 1, 1 })
	w, _ := startAgent(t, "w", func(c *config.Config) { c.Join, c.Slots = []string{s.gossip.Load().Addr()}, 1 })
	await(t, s, "there are two agents", func(v *registry.View) bool { return len(v.Nodes()) == 2 })
	decide(t, &registry.SubmitJob{Spec: api.JobSpec{Name: "clicks", Parallelism: 2, SlotsPerExecutor: 1, Submitted: time.Now().UnixMicro()}, Request: "1"}, s)
	v := await(t, s, "two executors run", func(v *registry.View) bool {
		n := 0
		for _, a := range v.AllocsOf("clicks") {
			if a.Status.State == api.AllocRunning {
				n++
			}
		}
		return n == 2 && running(v, "clicks")
	})
	at := map[bool]*Agent{}
	var coordinator, other api.AllocID
	for _, x := range v.AllocsOf("clicks") {
		a := s
		if x.Alloc.Node == w.node.ID {
			a = w
		}
		if at[x.Alloc.Coordinator] = a; x.Alloc.Coordinator {
			coordinator = x.Alloc.ID
		} else {
			other = x.Alloc.ID
		}
	}
	scrape := func(a *Agent) string {
		t.Helper()
		code, text := get(t, a, "/metrics")
		if code != 200 {
			t.Fatalf("%d %s", code, text)
		}
		p := expfmt.NewTextParser(promodel.UTF8Validation)
		if _, err := p.TextToMetricFamilies(strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		return text
	}
	want := func(text string, all ...string) {
		t.Helper()
		for _, x := range all {
			if !strings.Contains(text, "\n"+x) {
				t.Errorf("it does not show %s", x)
			}
		}
		if t.Failed() {
			t.Fatal(text)
		}
	}
	want(scrape(s), `weir_raft_leader 1`, "weir_raft_term ", "weir_raft_commit_index ", "weir_raft_disk_bytes ", "weir_cluster_nodes{status=\"ready\"} 2",
		`weir_cluster_jobs{status="running"} 1`, `weir_cluster_slots{state="used"} 2`, `weir_cluster_job_terms{job_name="clicks"} 1`,
		`weir_agent_slots 1`, `weir_gossip_members{status="alive"} 2`, `weir_agent_lease 1`, `weir_agent_executors{state="running"} 1`, "go_goroutines ")
	text := scrape(w)
	want(text, `weir_agent_slots 1`, `weir_agent_executors{state="running"} 1`, `weir_agent_lease 1`, `weir_agent_reports_total{result="ok"} `, `weir_agent_report_duration_seconds_count `)
	if strings.Contains(text, "weir_raft") || strings.Contains(text, "weir_cluster") {
		t.Errorf("an agent that is no server shows what it does not know:\n%s", text)
	}
	want(scrape(at[true]), fmt.Sprintf(`weir_executor_up{alloc="%s",job_name="clicks"} 1`, coordinator),
		fmt.Sprintf(`weir_operator_records_in_total{alloc="%s",job_name="clicks",name="lines",operator="1"} 42`, coordinator),
		fmt.Sprintf(`weir_job_state{alloc="%s",job_name="clicks",state="running"} 1`, coordinator))
	text = scrape(at[false])
	want(text, fmt.Sprintf(`weir_executor_up{alloc="%s",job_name="clicks"} 0`, other))
	if strings.Contains(text, "weir_operator") || strings.Contains(text, "another's") {
		t.Errorf("it shows what it was not told:\n%s", text)
	}
	s.scrapes.mu.Lock()
	s.scrapes.mu.at = time.Time{} // as if a second had passed
	s.scrapes.mu.Unlock()
	want(scrape(s), `weir_http_request_duration_seconds_count{code="200",route="metrics"} `)
	for _, a := range []*Agent{s, w} {
		if code, text := get(t, a, "/v1/health"); code != 200 || !strings.Contains(text, `"ok"`) {
			t.Errorf("%d %s", code, text)
		}
		if code, text := get(t, a, "/debug/pprof/goroutine"); code != 200 || !strings.HasPrefix(text, "\x1f\x8b") {
			t.Errorf("%d %.40q", code, text)
		}
		problems, err := testutil.GatherAndLint(a.scrapes.own)
		if err != nil {
			t.Error(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	if code, text := get(t, w, "/v1/jobs"); code != 404 || !strings.Contains(text, "no server") {
		t.Errorf("%d %s", code, text)
	}
	// Profiles of executors come through the server, wherever they run.
	for _, id := range []api.AllocID{coordinator, other} {
		if code, text := get(t, s, "/v1/jobs/clicks/profile?kind=heap&alloc="+string(id)); code != 200 || text != "samples" {
			t.Errorf("%s: %d %q", id, code, text)
		}
		for kind, says := range map[string]string{"goroutine": "it will not tell", "allocs": "open"} {
			if code, text := get(t, s, "/v1/jobs/clicks/profile?kind="+kind+"&alloc="+string(id)); code != 503 || !strings.Contains(text, says) {
				t.Errorf("%s of %s: %d %q", kind, id, code, text)
			}
		}
	}
	if code, text := get(t, s, "/v1/jobs/clicks/profile?kind=heap&alloc=none"); code != 404 {
		t.Errorf("%d %q", code, text)
	}
	left, err := filepath.Glob(filepath.Join(s.dir("executors"), "local", "*", "*", api.ProfileFile+"*"))
	if err != nil || len(left) != 0 {
		t.Errorf("profiles are left: %v, %v", left, err)
	}
}

// TestHTTPTaken has an agent that is no server find its address taken: it works without.
func TestHTTPTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	set := func(server bool) func(*config.Config) {
		return func(c *config.Config) {
			c.Listen.HTTP, c.Server.Enabled = l.Addr().String(), server
			if server {
				c.Server.BootstrapExpect = 1
			}
		}
	}
	a, stop := startAgent(t, "w", set(false))
	if a.http != nil || a.node.HTTP != "" {
		t.Errorf("it listens at %s", a.node.HTTP)
	}
	stop()
	c := config.Default()
	c.Name, c.DataDir = "s", t.TempDir()
	c.Listen.RPC, c.Listen.Gossip = "127.0.0.1:0", "127.0.0.1:0"
	set(true)(&c)
	if a, err := Open(Options{Config: c, Version: "0.1.0"}); err == nil {
		a.Close()
		t.Error("a server listens where another does")
	}
}
