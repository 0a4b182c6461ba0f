package web_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/web"
	"github.com/weirflow/weir/web/token"
	"github.com/weirflow/weir/web/webtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// bench is a server with tokens, for requests without a network.
type bench struct {
	*web.Server
	cluster *webtest.Cluster
	tokens  map[token.Role]string
	audit   *bytes.Buffer
}

func newBench(t *testing.T, set func(*web.Options)) *bench {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens.json")
	b := &bench{cluster: webtest.New(), tokens: map[token.Role]string{}, audit: &bytes.Buffer{}}
	for _, r := range []token.Role{token.Read, token.Submit, token.Admin} {
		text, err := token.Create(file, "the-"+string(r), r, day)
		if err != nil {
			t.Fatal(err)
		}
		b.tokens[r] = text
	}
	tokens, err := token.Open(file, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := web.Options{Tokens: tokens, Log: slog.New(slog.DiscardHandler), MaxArtifact: 1000, MaxBody: 2000, Now: func() time.Time { return day },
		Audit: slog.New(slog.NewJSONHandler(b.audit, nil))}
	if set != nil {
		set(&o)
	}
	b.Server = web.New(b.cluster, o)
	return b
}

// ask sends a request with the token of a role; "" sends none.
func (b *bench) ask(role token.Role, method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	if path, query, ok := strings.Cut(target, "?"); ok {
		r.URL.Path, r.URL.RawQuery = path, query
	} else {
		r.URL.Path = target
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	if role != "" {
		r.Header.Set("Authorization", "Bearer "+b.tokens[role])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

func codeOf(t *testing.T, w *httptest.ResponseRecorder) api.ErrorCode {
	t.Helper()
	var e api.ErrorBody
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil || e.Error.Code == "" || e.Error.Message == "" {
		t.Fatalf("status %d has no error in its body: %v", w.Code, err)
	}
	if e.Error.Code.Status() != w.Code {
		t.Fatalf("%s with status %d", e.Error.Code, w.Code)
	}
	return e.Error.Code
}

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

const wordcount = `{"name":"wordcount","parallelism":2}`

func TestRefused(t *testing.T) {
	long := strings.Repeat("x", 3000)
	cases := []struct {
		name, method, target, body string
		role                       token.Role
		want                       api.ErrorCode
	}{
		{"no token", "GET", "/v1/jobs", "", "", api.CodeUnauthenticated},
		{"role too low to submit", "POST", "/v1/jobs", wordcount, token.Read, api.CodeForbidden},
		{"role too low to upload", "PUT", "/v1/artifacts/" + hashOf("x"), "x", token.Read, api.CodeForbidden},
		{"role too low to drain", "POST", "/v1/nodes/n1/drain", "", token.Submit, api.CodeForbidden},
		{"no path", "GET", "/v2/jobs", "", token.Admin, api.CodeNotFound},
		{"no method", "DELETE", "/v1/jobs/a", "", token.Admin, api.CodeMethod},
		{"path that goes up", "GET", "/v1/jobs/../../etc/passwd", "", token.Admin, api.CodeNotFound},
		{"path in a hash", "PUT", "/v1/artifacts/..", "x", token.Admin, api.CodeNotFound},
		{"name with a dot first", "GET", "/v1/jobs/.hidden", "", token.Admin, api.CodeInvalid},
		{"hash too short", "PUT", "/v1/artifacts/sha256:00", "x", token.Admin, api.CodeInvalid},
		{"hash in capitals", "GET", "/v1/artifacts/" + strings.ToUpper(hashOf("x")), "", token.Admin, api.CodeInvalid},
		{"another content", "PUT", "/v1/artifacts/" + hashOf("x"), "y", token.Admin, api.CodeInvalid},
		{"empty program", "PUT", "/v1/artifacts/" + hashOf(""), "", token.Admin, api.CodeInvalid},
		{"program too large", "PUT", "/v1/artifacts/" + hashOf(long), long, token.Admin, api.CodeTooLarge},
		{"body too large", "POST", "/v1/jobs", `{"name":"` + long + `"}`, token.Admin, api.CodeTooLarge},
		{"no JSON", "POST", "/v1/jobs", "name: x", token.Admin, api.CodeInvalid},
		{"two values", "POST", "/v1/jobs", wordcount + wordcount, token.Admin, api.CodeInvalid},
		{"unknown field", "POST", "/v1/jobs", `{"name":"a","parallelism":1,"paralelism":2}`, token.Admin, api.CodeInvalid},
		{"field of the server", "POST", "/v1/jobs", `{"name":"a","parallelism":1,"by":"me"}`, token.Admin, api.CodeInvalid},
		{"name that is a path", "POST", "/v1/jobs", `{"name":"../a","parallelism":1}`, token.Admin, api.CodeInvalid},
		{"no parallelism", "POST", "/v1/jobs", `{"name":"a"}`, token.Admin, api.CodeInvalid},
		{"autoscale without a maximum", "POST", "/v1/jobs", `{"name":"a","parallelism":1,"autoscale":{"min":1}}`, token.Admin, api.CodeInvalid},
		{"autoscale from nothing", "POST", "/v1/jobs", `{"name":"a","parallelism":1,"autoscale":{"min":0,"max":2}}`, token.Admin, api.CodeInvalid},
		{"beyond autoscale", "POST", "/v1/jobs", `{"name":"a","parallelism":3,"autoscale":{"min":1,"max":2}}`, token.Admin, api.CodeInvalid},
		{"autoscale to more than all of the time", "POST", "/v1/jobs", `{"name":"a","parallelism":1,"autoscale":{"min":1,"max":2,"utilization":1.5}}`, token.Admin, api.CodeInvalid},
		{"autoscale before it is asked", "POST", "/v1/jobs", `{"name":"a","parallelism":1,"autoscale":{"min":1,"max":2,"up_after":-1}}`, token.Admin, api.CodeInvalid},
		{"autoscale next year", "POST", "/v1/jobs", `{"name":"a","parallelism":1,"autoscale":{"min":1,"max":2,"settle":9000000000000}}`, token.Admin, api.CodeInvalid},
		{"spread", "POST", "/v1/jobs", `{"name":"a","parallelism":1,"spread":"wide"}`, token.Admin, api.CodeInvalid},
		{"secret with a path", "POST", "/v1/jobs", `{"name":"a","parallelism":1,"secrets":{"P":"../../etc/shadow"}}`, token.Admin, api.CodeInvalid},
		{"variable of the engine", "POST", "/v1/jobs", `{"name":"a","parallelism":1,"env":{"WEIR_EXECUTOR":"1"}}`, token.Admin, api.CodeInvalid},
		{"state goes up", "POST", "/v1/jobs", `{"name":"a","parallelism":1,"state":"/var/../etc"}`, token.Admin, api.CodeInvalid},
		{"state with a password", "POST", "/v1/jobs", `{"name":"a","parallelism":1,"state":"s3://me:secret@bucket/x"}`, token.Admin, api.CodeInvalid},
		{"program that is not there", "POST", "/v1/jobs", `{"name":"a","parallelism":1,"artifact":"` + hashOf("z") + `"}`, token.Admin, api.CodeConflict},
		{"no such job", "GET", "/v1/jobs/a", "", token.Read, api.CodeNotFound},
		{"no such job to stop", "POST", "/v1/jobs/a/stop", "", token.Submit, api.CodeNotFound},
		{"savepoint that goes up", "POST", "/v1/jobs/a/save", `{"location":"../x"}`, token.Submit, api.CodeInvalid},
		{"parallelism 0", "POST", "/v1/jobs/a/rescale", `{"parallelism":0}`, token.Submit, api.CodeInvalid},
		{"unknown parameter", "GET", "/v1/jobs?limits=1", "", token.Read, api.CodeInvalid},
		{"parameter twice", "GET", "/v1/jobs?limit=1&limit=2", "", token.Read, api.CodeInvalid},
		{"limit 0", "GET", "/v1/jobs?limit=0", "", token.Read, api.CodeInvalid},
		{"limit too high", "GET", "/v1/jobs?limit=1001", "", token.Read, api.CodeInvalid},
		{"cursor", "GET", "/v1/jobs?cursor=%00", "", token.Read, api.CodeInvalid},
		{"wait too long", "GET", "/v1/jobs?wait=1&wait_for=2h", "", token.Read, api.CodeInvalid},
		{"tail", "GET", "/v1/jobs/a/logs?tail=10001", "", token.Read, api.CodeInvalid},
		{"stream", "GET", "/v1/jobs/a/logs?stream=stdin", "", token.Read, api.CodeInvalid},
		{"logs of no job", "GET", "/v1/jobs/a/logs", "", token.Read, api.CodeNotFound},
		{"events of no job", "GET", "/v1/jobs/a/events/stream", "", token.Read, api.CodeNotFound},
		{"no such node", "POST", "/v1/nodes/n9/drain", "", token.Admin, api.CodeNotFound},
	}
	b := newBench(t, nil)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := codeOf(t, b.ask(c.role, c.method, c.target, c.body)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	t.Run("wrong token", func(t *testing.T) {
		b.tokens["wrong"] = "weir_" + strings.Repeat("A", 43)
		if got := codeOf(t, b.ask("wrong", "GET", "/v1/jobs", "")); got != api.CodeUnauthenticated {
			t.Error(got)
		}
	})
	t.Run("form", func(t *testing.T) {
		r := httptest.NewRequest("POST", "/v1/jobs", strings.NewReader(wordcount))
		r.Header.Set("Authorization", "Bearer "+b.tokens[token.Submit])
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		if got := codeOf(t, w); got != api.CodeMediaType {
			t.Error(got)
		}
	})
	t.Run("page of another site", func(t *testing.T) {
		r := httptest.NewRequest("POST", "/v1/jobs", strings.NewReader(wordcount))
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		if got := codeOf(t, w); got != api.CodeForbidden {
			t.Error(got)
		}
	})
	if l, err := b.cluster.Jobs(t.Context(), web.Page{Limit: 1}); err != nil || len(l.Items) > 0 {
		t.Error("something was changed")
	}
}

func TestJobsLife(t *testing.T) {
	b := newBench(t, nil)
	ok := func(role token.Role, method, target, body string, v any) {
		t.Helper()
		w := b.ask(role, method, target, body)
		if w.Code != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
		if v != nil {
			if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
				t.Fatalf("%s %s: %v in %s", method, target, err, w.Body)
			}
		}
	}
	ok(token.Submit, "PUT", "/v1/artifacts/"+hashOf("program"), "program", nil)
	ok(token.Submit, "PUT", "/v1/artifacts/"+hashOf("program"), "program", nil)
	var a api.ArtifactInfo
	ok(token.Read, "GET", "/v1/artifacts/"+hashOf("program"), "", &a)
	if a.Size != 7 {
		t.Errorf("%+v", a)
	}
	var s api.Submitted
	spec := `{"name":"w%d","parallelism":2,"artifact":"` + hashOf("program") + `","secrets":{"PASSWORD":"db-password"}}`
	ok(token.Submit, "POST", "/v1/jobs?dry_run", fmt.Sprintf(spec, 1), &s)
	if !s.DryRun {
		t.Errorf("%+v", s)
	}
	for i := range 3 {
		ok(token.Submit, "POST", "/v1/jobs", fmt.Sprintf(spec, i+1), &s)
	}
	var l api.JobList
	ok(token.Read, "GET", "/v1/jobs?limit=2", "", &l)
	if len(l.Items) != 2 || l.Next != "w2" || l.Items[0].Spec.By != "the-submit" || l.Items[0].Spec.Submitted != day.UnixMicro() {
		t.Errorf("%+v", l)
	}
	l = api.JobList{}
	ok(token.Read, "GET", "/v1/jobs?limit=2&cursor=w2", "", &l)
	if len(l.Items) != 1 || l.Next != "" || l.Items[0].Spec.Name != "w3" {
		t.Errorf("%+v", l)
	}
	var d api.Done
	ok(token.Submit, "POST", "/v1/jobs/w1/rescale", `{"parallelism":4}`, &d)
	ok(token.Submit, "POST", "/v1/jobs/w1/save", `{"location":"s3://bucket/saved"}`, &d)
	if d.Location != "s3://bucket/saved" {
		t.Errorf("%+v", d)
	}
	ok(token.Submit, "POST", "/v1/jobs/w1/restart", "", &d)
	ok(token.Submit, "POST", "/v1/jobs/w1/stop", "", &d)
	if got := codeOf(t, b.ask(token.Submit, "POST", "/v1/jobs/w1/cancel", "")); got != api.CodeConflict {
		t.Error(got)
	}
	var j api.JobInfo
	ok(token.Read, "GET", "/v1/jobs/w1", "", &j)
	if j.Status != api.JobStopped || j.Spec.Parallelism != 4 || len(j.Allocs) != 1 {
		t.Errorf("%+v", j)
	}
	var e api.JobEventList
	ok(token.Read, "GET", "/v1/jobs/w1/events?limit=2&cursor=1", "", &e)
	if len(e.Items) != 2 || e.Items[0].Seq != 2 || e.Next != "3" {
		t.Errorf("%+v", e)
	}
	var cs api.CheckpointList
	ok(token.Read, "GET", "/v1/jobs/w1/savepoints", "", &cs)
	if len(cs.Items) != 1 {
		t.Errorf("%+v", cs)
	}
	for _, path := range []string{"/v1/jobs/w1/graph", "/v1/jobs/w1/stats", "/v1/jobs/w1/checkpoints", "/v1/nodes", "/v1/nodes/n1", "/v1/members", "/v1/leader"} {
		ok(token.Read, "GET", path, "", &struct{}{})
	}
	ok("", "GET", "/v1/health", "", nil)
	ok("", "GET", "/v1/openapi.yaml", "", nil)
	ok(token.Admin, "POST", "/v1/nodes/n2/drain", "", &d)

	w := b.ask(token.Read, "GET", "/v1/jobs/w1/events/stream?cursor=4", "")
	if n := strings.Count(w.Body.String(), "\n"); n != 2 || w.Header().Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%d lines, %s", n, w.Header())
	}
	w = b.ask(token.Read, "GET", "/v1/jobs/w1/logs?stream=stdout&follow", "")
	if !strings.Contains(w.Body.String(), `"text":"hello"`) || strings.Contains(w.Body.String(), "running") {
		t.Errorf("%s", w.Body)
	}
	b.audited(t)
}

// audited looks at the audit log of TestJobsLife.
func (b *bench) audited(t *testing.T) {
	t.Helper()
	type line struct{ Msg, What, About, Who, Role, From, Result, Detail string }
	var all []line
	for d := json.NewDecoder(b.audit); ; {
		var l line
		err := d.Decode(&l)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	if len(all) != 12 {
		t.Fatalf("%d lines: %+v", len(all), all)
	}
	want := line{"audit", "submitJob", "w1", "the-submit", "submit", "192.0.2.1:1234", "ok", "artifact " + hashOf("program") + ", dry run false"}
	if all[3] != want {
		t.Errorf("got %+v, want %+v", all[3], want)
	}
	if last := all[10]; last.What != "cancelJob" || last.Result != "conflict" {
		t.Errorf("%+v", last)
	}
}

func TestLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		if w := b.ask(token.Submit, "POST", "/v1/jobs", wordcount); w.Code != http.StatusOK {
			t.Fatal(w.Body)
		}
		var j api.JobInfo
		ask := func(query string) {
			t.Helper()
			w := b.ask(token.Read, "GET", "/v1/jobs/wordcount"+query, "")
			j = api.JobInfo{}
			if err := json.Unmarshal(w.Body.Bytes(), &j); err != nil || w.Code != http.StatusOK {
				t.Fatalf("%d %s %v", w.Code, w.Body, err)
			}
		}
		ask("")
		first := j.Index
		// Nothing new: what there is, when the time is over.
		begun := time.Now()
		ask(fmt.Sprintf("?wait=%d&wait_for=20s", first))
		if took := time.Since(begun); took != 20*time.Second || j.Index != first {
			t.Errorf("after %s: index %d", took, j.Index)
		}
		// Something else changes, then the job.
		begun = time.Now()
		go func() {
			time.Sleep(time.Second)
			b.cluster.Update(func(*webtest.State, uint64) {})
			time.Sleep(time.Second)
			b.cluster.Update(func(s *webtest.State, index uint64) { s.Jobs["wordcount"].Info.Index = index })
		}()
		ask(fmt.Sprintf("?wait=%d", first))
		if took := time.Since(begun); took != 2*time.Second || j.Index <= first {
			t.Errorf("after %s: index %d", took, j.Index)
		}
		begun = time.Now()
		ask(fmt.Sprintf("?wait=%d", first))
		if took := time.Since(begun); took != 0 {
			t.Errorf("what is newer came after %s", took)
		}
	})
}

func TestRates(t *testing.T) {
	now := day
	b := newBench(t, func(o *web.Options) {
		o.Rate, o.Burst = 1, 3
		o.Now = func() time.Time { return now }
	})
	for range 3 {
		if w := b.ask(token.Read, "GET", "/v1/jobs", ""); w.Code != http.StatusOK {
			t.Fatal(w.Body)
		}
	}
	w := b.ask(token.Read, "GET", "/v1/jobs", "")
	if got := codeOf(t, w); got != api.CodeTooMany || w.Header().Get("Retry-After") == "" {
		t.Error(got)
	}
	if w := b.ask(token.Admin, "GET", "/v1/jobs", ""); w.Code != http.StatusOK {
		t.Error("one token's requests count for another")
	}
	now = now.Add(time.Second)
	if w := b.ask(token.Read, "GET", "/v1/jobs", ""); w.Code != http.StatusOK {
		t.Error(w.Body)
	}
	// Who guesses tokens is held up, and then not even a right one helps.
	for range 20 {
		if got := codeOf(t, b.ask("", "GET", "/v1/jobs", "")); got != api.CodeUnauthenticated {
			t.Fatal(got)
		}
	}
	if got := codeOf(t, b.ask("", "GET", "/v1/jobs", "")); got != api.CodeTooMany {
		t.Error(got)
	}
}

func TestLeaderElsewhere(t *testing.T) {
	var tokens *token.Set
	lead := newBench(t, func(o *web.Options) { tokens = o.Tokens })
	leader := httptest.NewServer(lead)
	defer leader.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for name, forward := range map[string]http.RoundTripper{"redirect": nil, "forward": transport} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(o *web.Options) { o.Forward, o.Tokens = forward, tokens })
			b.tokens = lead.tokens
			b.cluster.Update(func(s *webtest.State, _ uint64) { s.Self = api.LeaderInfo{ID: "n2", HTTP: leader.URL} })
			w := b.ask(token.Submit, "POST", "/v1/jobs", wordcount)
			if forward == nil {
				if w.Code != http.StatusTemporaryRedirect || w.Header().Get("Location") != leader.URL+"/v1/jobs" {
					t.Errorf("%d %s", w.Code, w.Header())
				}
			} else if _, err := lead.cluster.Job(t.Context(), "wordcount"); err != nil || w.Code != http.StatusOK {
				t.Errorf("%d %s %v", w.Code, w.Body, err)
			}
			if !strings.Contains(b.audit.String(), `"forwarded_to":"`+leader.URL) {
				t.Errorf("%s", b.audit)
			}
			if got := codeOf(t, b.ask(token.Read, "POST", "/v1/jobs", wordcount)); got != api.CodeForbidden {
				t.Errorf("it was sent on without a look at the token: %s", got)
			}
			if got := codeOf(t, b.ask(token.Read, "GET", "/v1/jobs/wordcount?stale", "")); got != api.CodeNotFound {
				t.Error(got)
			}
			if forward != nil {
				leader.Config.SetKeepAlivesEnabled(false)
				b.cluster.Update(func(s *webtest.State, _ uint64) { s.Self.HTTP = "http://127.0.0.1:1" })
				w := b.ask(token.Read, "GET", "/v1/jobs", "")
				if got := codeOf(t, w); got != api.CodeUnavailable {
					t.Error(got)
				}
			}
			b.cluster.Update(func(s *webtest.State, _ uint64) { s.Leads = false })
			w = b.ask(token.Read, "GET", "/v1/jobs", "")
			var e api.ErrorBody
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Error.Code != api.CodeNoLeader || !e.Error.Retryable {
				t.Errorf("%s", w.Body)
			}
		})
	}
}

func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cluster := webtest.New()
	s := web.New(cluster, web.Options{Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	base := "http://" + l.Addr().String()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	r, err := client.Post(base+"/v1/jobs", "application/json", strings.NewReader(wordcount))
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatal(r, err)
	}
	r.Body.Close()
	// A name that was rebound to this host.
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/jobs", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Host = "evil.example"
	if r, err = client.Do(q); err != nil || r.StatusCode != http.StatusForbidden {
		t.Fatal(r, err)
	}
	r.Body.Close()
	// A stream shows what comes, and ends with the server.
	if r, err = client.Get(base + "/v1/jobs/wordcount/events/stream"); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(r.Body)
	for range 3 {
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cluster.Restart(ctx, "wordcount"); err != nil {
		t.Fatal(err)
	}
	if text, err := lines.ReadString('\n'); err != nil || !strings.Contains(text, "restarted") {
		t.Fatal(text, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.Body.Close()
	if l, err = net.Listen("tcp", "0.0.0.0:0"); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), "strangers") {
		t.Errorf("listening everywhere: %v", err)
	}
}

func TestExposure(t *testing.T) {
	cases := []struct {
		l    web.Listen
		want string
	}{
		{web.Listen{Address: "127.0.0.1:1"}, ""},
		{web.Listen{Address: "[::1]:1"}, ""},
		{web.Listen{Address: "localhost:1"}, ""},
		{web.Listen{Address: "10.0.0.1:1", TLS: true, Tokens: true}, ""},
		{web.Listen{Address: ":1", TLS: true, NoTokens: true}, ""},
		{web.Listen{Address: ":1"}, "without TLS and tokens"},
		{web.Listen{Address: "0.0.0.0:1", TLS: true}, "without tokens"},
		{web.Listen{Address: "10.0.0.1:1", Tokens: true}, "without TLS"},
		{web.Listen{Address: "localhost.evil.example:1"}, "without TLS"},
		{web.Listen{Address: "nothing"}, "not host:port"},
	}
	for _, c := range cases {
		err := web.Exposure(c.l)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c.l, err)
		}
	}
}

func FuzzRequests(f *testing.F) {
	f.Add("GET", "/v1/jobs/a/logs", "tail=1", "")
	f.Add("POST", "/v1/jobs", "dry_run=1", wordcount)
	f.Add("PUT", "/v1/artifacts/"+hashOf("x"), "", "x")
	b := web.New(webtest.New(), web.Options{Log: slog.New(slog.DiscardHandler), Rate: 1e9, Burst: 1e9})
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		if strings.Contains(query, "wait") {
			return // it would
		}
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", strings.NewReader(body))
		r.Method, r.URL.Path, r.URL.RawQuery = method, path, query
		r.Header.Set("Content-Type", "application/json")
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r.WithContext(ctx))
		if w.Code >= 500 && ctx.Err() == nil {
			t.Fatalf("%s %q?%s: %d %s", method, path, query, w.Code, w.Body)
		}
	})
}
