package run_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

// log is what an engine says.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestObserved runs a job that looks at its own figures, and whose traces go to a collector.
func TestObserved(t *testing.T) {
	var traced atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		traced.Add(n)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	said := &log{}
	var seen string
	look := func(s string) (string, error) {
		if s != "b" {
			return s, nil
		}
		at := regexp.MustCompile(`url=(\S+)`).FindStringSubmatch(said.String())
		if at == nil {
			return s, fmt.Errorf("nobody says where the figures are: %s", said)
		}
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := c.Get(at[1])
		if err != nil {
			return s, err
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		seen = r.Header.Get("Content-Type") + "\n" + string(b)
		return s, err
	}
	p := sdk.New("looks")
	got := collect.New[string]()
	sdk.Write(sdk.TryMap(sdk.Read(p, slice.Of("a", "b")), look), got)
	err := run.Run(t.Context(), p, run.Options{Parallelism: 1, Metrics: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"text/plain; version=0.0.4", `weir_operator_subtasks{job_name="looks-`, `weir_job_state{job_name="looks-`, "go_goroutines{"} {
		if !strings.Contains(seen, want) {
			t.Errorf("it does not show %s:\n%s", want, seen)
		}
	}
	if traced.Load() == 0 {
		t.Error("the collector got nothing")
	}
}

// TestObservedRefused names an address that is taken.
func TestObservedRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := sdk.New("looks")
	sdk.Write(sdk.Read(p, slice.Of("a")), collect.New[string]())
	if err := run.Run(t.Context(), p, run.Options{Metrics: l.Addr().String()}); err == nil || !strings.Contains(err.Error(), "--metrics") {
		t.Errorf("%v", err)
	}
}
