package traces

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorded is a tracer whose spans are kept.
func recorded(t *testing.T) (*Tracer, func() tracetest.SpanStubs) {
	t.Helper()
	kept := tracetest.NewInMemoryExporter()
	o := Options{}
	o.testing.exporter = keeping{kept}
	tr, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tr, func() tracetest.SpanStubs {
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		return kept.GetSpans()
	}
}

// keeping keeps its spans when it is shut down.
type keeping struct{ *tracetest.InMemoryExporter }

func (keeping) Shutdown(context.Context) error { return nil }

// show writes spans as a tree, with what tests look at.
func show(all tracetest.SpanStubs) string {
	var b strings.Builder
	var below func(of tracetest.SpanStub, indent string)
	below = func(of tracetest.SpanStub, indent string) {
		fmt.Fprintf(&b, "%s%s", indent, of.Name)
		for _, a := range of.Attributes {
			fmt.Fprintf(&b, " %s=%s", strings.TrimPrefix(string(a.Key), "weir."), a.Value.String())
		}
		if of.Status.Code == codes.Error {
			fmt.Fprintf(&b, " error=%q", of.Status.Description)
		}
		for _, e := range of.Events {
			fmt.Fprintf(&b, " [%s]", e.Name)
		}
		b.WriteString("\n")
		for _, s := range all {
			if s.Parent.SpanID() == of.SpanContext.SpanID() && s.SpanContext.TraceID() == of.SpanContext.TraceID() {
				below(s, indent+"  ")
			}
		}
	}
	for _, s := range all {
		if !slices.ContainsFunc(all, func(p tracetest.SpanStub) bool { return p.SpanContext.SpanID() == s.Parent.SpanID() }) {
			below(s, "")
		}
	}
	return b.String()
}

func TestJob(t *testing.T) {
	tr, spans := recorded(t)
	v := Version{Job: "clicks", Number: 3, Submitted: 1_000_000}
	tr.Asked("submit", v, time.Now(), "ann", 4)
	tr.Rescaled(v, time.Now(), "bob", 8)
	j := tr.Job(v)
	j.Starting()
	j.Restored(1, 7)
	j.Running()
	j.Injected(8, "checkpoint")
	j.Acknowledged(8, []Task{{"map/1", 2 * time.Second, time.Millisecond, 100}, {"map/0", time.Second, time.Millisecond, 10}})
	j.Committed(8)
	j.Injected(9, "savepoint")
	j.Aborted(9, "a disk is slow")
	j.Injected(10, "checkpoint")
	j.Failing("map: broken")
	j.Starting()
	j.Restored(2, 8)
	j.Running()
	j.Ended("")
	got := show(spans())
	want := `submit job=clicks version=3 by=ann parallelism=4
  rescale job=clicks version=3 by=bob parallelism=8
  restore job=clicks attempt=1 epoch=7 [restored: the newest checkpoint is known and dealt out]
  recovery job=clicks attempt=1 [failed]
    restore job=clicks attempt=2 epoch=8 [restored: the newest checkpoint is known and dealt out]
checkpoint job=clicks attempt=1 epoch=8 kind=checkpoint bytes=110
  tasks job=clicks tasks=2 [task map/1] [task map/0]
  commit job=clicks
checkpoint job=clicks attempt=1 epoch=9 kind=savepoint error="aborted: a disk is slow"
  tasks job=clicks error="aborted: a disk is slow"
checkpoint job=clicks attempt=1 epoch=10 kind=checkpoint error="the job has failed"
  tasks job=clicks error="the job has failed"
`
	sorted := func(s string) []string { // roots come in the order in which they end
		l := strings.Split(s, "\n")
		slices.Sort(l)
		return l
	}
	if !slices.Equal(sorted(got), sorted(want)) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestFails is a job that ends in the middle of a recovery.
func TestFails(t *testing.T) {
	tr, spans := recorded(t)
	j := tr.Job(Version{Job: "clicks"})
	j.Starting()
	j.Failing("one")
	j.Starting()
	j.Failing("two")
	j.Ended("two, and no more")
	got := show(spans())
	if strings.Count(got, "recovery") != 1 || strings.Count(got, "  start") != 1 || !strings.Contains(got, `recovery job=clicks attempt=0 error="two, and no more" [failed] [failed]`) {
		t.Error(got)
	}
}

// TestBounded has far more under way, and far more tasks, than are told of.
func TestBounded(t *testing.T) {
	tr, spans := recorded(t)
	j := tr.Job(Version{})
	for n := range uint64(1000) {
		j.Injected(n, "checkpoint")
	}
	j.Acknowledged(0, make([]Task, 10_000))
	j.Committed(0)
	j.Failing(strings.Repeat("ä", 10_000))
	for _, s := range spans() {
		if len(s.Events) > maxTasks {
			t.Errorf("%d events", len(s.Events))
		}
		for _, e := range s.Events {
			for _, a := range e.Attributes {
				if len(a.Value.String()) > maxText {
					t.Errorf("%d bytes", len(a.Value.String()))
				}
			}
		}
	}
	if len(j.mu.open) > 0 {
		t.Errorf("%d are left", len(j.mu.open))
	}
}

// TestOff is what nearly everybody has.
func TestOff(t *testing.T) {
	tr, err := Open(t.Context(), Options{Lookup: func(string) (string, bool) { return "", false }})
	if tr != nil || err != nil {
		t.Fatal(tr, err)
	}
	j := tr.Job(Version{Job: "a", Number: 1})
	tr.Asked("submit", Version{}, time.Now(), "", 1)
	j.Starting()
	j.Restored(1, 1)
	j.Running()
	j.Injected(1, "checkpoint")
	j.Acknowledged(1, nil)
	j.Committed(1)
	j.Aborted(1, "")
	j.Failing("")
	j.Ended("")
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
}

func TestCheckEndpoint(t *testing.T) {
	for e, ok := range map[string]bool{"": true, "http://127.0.0.1:4318": true, "https://host/path/v1/traces": true,
		"127.0.0.1:4318": false, "grpc://host": false, "http://": false, "http://me:secret@host": false, "%": false} {
		err := CheckEndpoint(e)
		if (err == nil) != ok {
			t.Errorf("%q: %v", e, err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: more than a line: %v", e, err)
		}
	}
	if _, err := Open(t.Context(), Options{Endpoint: "nowhere"}); err == nil {
		t.Error("an endpoint that is none is taken")
	}
}

// TestCollector sends spans to a collector, named in both ways.
func TestCollector(t *testing.T) {
	for _, by := range []string{"configuration", "environment"} {
		t.Run(by, func(t *testing.T) {
			var mu sync.Mutex
			var names []string
			var about, path string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body := io.Reader(r.Body)
				if r.Header.Get("Content-Encoding") == "gzip" {
					body, _ = gzip.NewReader(r.Body)
				}
				b, err := io.ReadAll(body)
				var m collector.ExportTraceServiceRequest
				if err = errors.Join(err, proto.Unmarshal(b, &m)); err != nil {
					http.Error(w, err.Error(), http.StatusBadRequest)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				path = r.URL.Path
				for _, rs := range m.ResourceSpans {
					for _, a := range rs.Resource.Attributes {
						about += a.Key + "=" + a.Value.GetStringValue() + " "
					}
					for _, ss := range rs.ScopeSpans {
						for _, sp := range ss.Spans {
							names = append(names, sp.Name)
						}
					}
				}
				w.Header().Set("Content-Type", "application/x-protobuf")
			}))
			defer s.Close()
			o := Options{Service: "weir-agent", Instance: "n1", Endpoint: s.URL + "/"}
			if by == "environment" {
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.URL)
				t.Setenv("OTEL_SERVICE_NAME", "mine")
				o.Endpoint, o.Lookup = "", func(name string) (string, bool) { return s.URL, name == "OTEL_EXPORTER_OTLP_ENDPOINT" }
			}
			tr, err := Open(t.Context(), o)
			if err != nil || tr == nil {
				t.Fatal(tr, err)
			}
			j := tr.Job(Version{Job: "clicks"})
			j.Injected(1, "checkpoint")
			j.Acknowledged(1, nil)
			j.Committed(1)
			if err := tr.Close(); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(names)
			service := map[string]string{"configuration": "service.name=weir-agent ", "environment": "service.name=mine "}[by]
			if !slices.Equal(names, []string{"checkpoint", "commit", "tasks"}) || path != "/v1/traces" || !strings.Contains(about, service) || !strings.Contains(about, "service.instance.id=n1 ") {
				t.Errorf("%v at %s of %s", names, path, about)
			}
		})
	}
}

// TestCollectorHangs closes a tracer whose collector takes what is sent, and never answers.
func TestCollectorHangs(t *testing.T) {
	hold := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(hold)
	tr, err := Open(t.Context(), Options{Endpoint: s.URL, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	tr.Job(Version{}).Starting()
	j := tr.Job(Version{})
	j.Starting()
	j.Running()
	over := make(chan error, 1)
	go func() { over <- tr.Close() }()
	select {
	case err := <-over:
		if err == nil {
			t.Error("nobody knows that the spans are lost")
		}
	case <-time.After(time.Minute):
		t.Fatal("it waits for the collector for good")
	}
}
