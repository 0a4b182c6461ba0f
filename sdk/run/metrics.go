package run

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/weirflow/weir/internal/obs/metrics"
)

// showMetrics serves the figures of a job until hide is called.
func showMetrics(addr, job string, m *metrics.Job, log *slog.Logger) (hide func(), err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening for --metrics: %w", err)
	}
	all := metrics.Of(m, metrics.Label{Name: "job_name", Value: job})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		var b bytes.Buffer
		if err := metrics.Write(&b, all); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", metrics.ContentType)
		_, _ = w.Write(b.Bytes()) // who has gone needs no answer
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	if log != nil {
		log.Info("figures for Prometheus", "url", "http://"+l.Addr().String()+"/metrics")
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = s.Serve(l) // until it is closed
	}()
	return func() {
		_ = s.Close() // scrapes that are under way are of no use any more
		<-over
	}, nil
}
