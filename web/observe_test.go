package web_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/web"
	"github.com/weirflow/weir/web/token"
	"github.com/weirflow/weir/web/webtest"
)

// seen is an agent that shows what it is told to.
type seen struct{ breaks bool }

func (seen) Health() api.Health { return api.Health{Status: "ok", Version: "9"} }
func (seen) Kinds() []string    { return []string{"cpu", "heap"} }

func (seen) CheckProfile(kind string, _ time.Duration) error {
	if kind != "cpu" && kind != "heap" {
		return errors.New("no such kind")
	}
	return nil
}

func (seen) Metrics(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "weir_agent_slots 2\n")
	return err
}

func (s seen) Profile(_ context.Context, w io.Writer, kind string, over time.Duration) error {
	if kind == "heap" && !s.breaks {
		return api.Errorf(api.CodeConflict, "another one is being taken")
	}
	_, err := fmt.Fprintf(w, "%s over %s", kind, over)
	if s.breaks {
		return errors.New("it broke")
	}
	return err
}

func TestObserve(t *testing.T) {
	counted := map[string]int{}
	b := newBench(t, func(o *web.Options) {
		o.Observer = seen{}
		o.Answered = func(route string, code int, took time.Duration) {
			if took < 0 {
				t.Error("it took less than nothing")
			}
			counted[fmt.Sprintf("%s %d", route, code)]++
		}
	})
	b.ask(token.Submit, "POST", "/v1/jobs", wordcount)
	for _, c := range []struct {
		role   token.Role
		target string
		status int
		want   string
	}{
		{token.Read, "/metrics", 200, "weir_agent_slots 2\n"},
		{"", "/metrics", 401, ""},
		{token.Admin, "/debug/pprof", 200, "cpu\nheap\n"},
		{token.Admin, "/debug/pprof/profile?seconds=3&debug=0", 200, "cpu over 3s"},
		{token.Admin, "/debug/pprof/cpu", 200, "cpu over 10s"},
		{token.Admin, "/debug/pprof/heap", 409, ""},
		{token.Admin, "/debug/pprof/cmdline", 400, ""},
		{token.Admin, "/debug/pprof/cpu?seconds=0", 400, ""},
		{token.Admin, "/debug/pprof/cpu?seconds=121", 400, ""},
		{token.Admin, "/debug/pprof/cpu?gc=1", 400, ""},
		{token.Submit, "/debug/pprof/profile", 403, ""},
		{token.Submit, "/debug/pprof", 403, ""},
		{token.Admin, "/v1/jobs/wordcount/profile?seconds=5&alloc=wordcount-1", 200, "cpu over 5s of wordcount-1"},
		{token.Admin, "/v1/jobs/wordcount/profile?kind=heap", 200, "heap over 10s of "},
		{token.Admin, "/v1/jobs/wordcount/profile?kind=..", 400, ""},
		{token.Admin, "/v1/jobs/wordcount/profile?alloc=../x", 400, ""},
		{token.Admin, "/v1/jobs/other/profile", 404, ""},
		{token.Submit, "/v1/jobs/wordcount/profile", 403, ""},
	} {
		w := b.ask(c.role, "GET", c.target, "")
		if w.Code != c.status || c.status == 200 && w.Body.String() != c.want {
			t.Errorf("%s: %d %q, want %d %q", c.target, w.Code, w.Body, c.status, c.want)
		}
		if c.status != 200 {
			codeOf(t, w)
		}
	}
	for what, n := range map[string]int{"metrics 200": 1, "metrics 401": 1, "profile 200": 2, "profile 409": 1, "submitJob 200": 1, "profileJob 404": 1} {
		if counted[what] != n {
			t.Errorf("%s was counted %d times, want %d: %v", what, counted[what], n, counted)
		}
	}
}

// TestObserveBreaks reads a profile that breaks when a part of it is on its way: a client must
// not take the part for all.
func TestObserveBreaks(t *testing.T) {
	s := httptest.NewServer(web.New(webtest.New(), web.Options{Observer: seen{breaks: true}, Log: slog.New(slog.DiscardHandler)}))
	defer s.Close()
	r, err := http.Get(s.URL + "/debug/pprof/heap")
	if err == nil {
		defer r.Body.Close()
		var all []byte
		if all, err = io.ReadAll(r.Body); err == nil {
			t.Errorf("%s: %q", r.Status, all)
		}
	}
	s.Client().CloseIdleConnections()
	http.DefaultClient.CloseIdleConnections()
}

// TestAgentOnly asks an agent that is no server.
func TestAgentOnly(t *testing.T) {
	s := web.New(nil, web.Options{Observer: seen{}, Log: slog.New(slog.DiscardHandler)})
	ask := func(method, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		r.Host = "127.0.0.1:7470"
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	for path, want := range map[string]string{"/metrics": "weir_agent_slots 2\n", "/v1/health": `"version":"9"`, "/debug/pprof/profile": "cpu over 10s", "/v1/openapi.yaml": "openapi"} {
		if w := ask("GET", path); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %.100s", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/v1/jobs", "/v1/leader", "/v1/members", "/v1/jobs/a/profile", "/v1/nodes"} {
		w := ask("GET", path)
		if got := w.Body.String(); codeOf(t, w) != api.CodeNotFound || !strings.Contains(got, "no server") {
			t.Errorf("%s: %s", path, got)
		}
	}
	if w := ask("POST", "/v1/jobs"); codeOf(t, w) != api.CodeNotFound {
		t.Errorf("%d", w.Code)
	}
}
