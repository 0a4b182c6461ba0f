package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/web/token"
)

// Options of a Server. The zero value works, on loopback.
type Options struct {
	// TLS is for the listener, with client certificates checked; nil for none.
	TLS *tls.Config
	// Tokens are who may do what; nil lets everybody on this host do all.
	Tokens *token.Set
	// Log is for what the server has to say; default slog.Default().
	Log *slog.Logger
	// Audit gets a line for each request that changes something or was refused; default Log.
	Audit *slog.Logger
	// Forward carries requests on to the leader: it trusts the leader, and shows who this
	// server is. Without one a client is told where the leader is (307).
	Forward http.RoundTripper
	// MaxArtifact is the largest program in bytes; default 1 GiB.
	MaxArtifact int64
	// MaxBody is the largest other body in bytes; default 1 MiB.
	MaxBody int64
	// Locations are directories and URLs below which jobs may keep checkpoints and savepoints;
	// anywhere if there is none.
	Locations []string
	// Rate is how many requests a second a token, or an address without one, may make;
	// default 100. Burst is how many at once; default 200.
	Rate  float64
	Burst int
	// MaxRequests is how many there are at one time, those that wait too; default 1024.
	MaxRequests int
	// MaxUploads is how many uploads there are at one time; default 4.
	MaxUploads int
	// MaxConnections is how many there are at one time; default 2048.
	MaxConnections int
	// Timeout is what a request may take that has no time of its own; default 30 s.
	Timeout time.Duration
	// Observer shows what goes on in the agent; without one it is not shown.
	Observer Observer
	// Answered is told of each request that was answered: of its route, the code, and how
	// long that took. Default: nobody.
	Answered func(route string, code int, took time.Duration)
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// EnsureDefaults fills in what is not set.
func (o *Options) EnsureDefaults() {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Audit == nil {
		o.Audit = o.Log
	}
	setDefault(&o.MaxArtifact, 1<<30)
	setDefault(&o.MaxBody, 1<<20)
	setDefault(&o.Rate, 100)
	setDefault(&o.Burst, 200)
	setDefault(&o.MaxRequests, 1024)
	setDefault(&o.MaxUploads, 4)
	setDefault(&o.MaxConnections, 2048)
	setDefault(&o.Timeout, 30*time.Second)
	if o.Answered == nil {
		o.Answered = func(string, int, time.Duration) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func setDefault[T int | int64 | float64 | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

// Times of connections.
const (
	headerTimeout   = 5 * time.Second // and of the TLS handshake
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 5 * time.Second
	maxHeader       = 64 << 10
)

// Server answers requests for a Backend.
type Server struct {
	backend  Backend
	opts     Options
	mux      *http.ServeMux
	sites    *http.CrossOriginProtection
	requests atomic.Uint64 // counts them, for the log
	known    *meters       // by token
	strange  *meters       // failures, by address
	running  places
	uploads  places
}

// New makes a server. It starts nothing. Without a Backend it is that of an agent which is no
// server: it shows what goes on in itself, and nothing else.
func New(b Backend, o Options) *Server {
	o.EnsureDefaults()
	s := &Server{backend: b, opts: o, mux: http.NewServeMux(), sites: http.NewCrossOriginProtection(),
		known: newMeters(o.Rate, o.Burst), strange: newMeters(1, 20),
		running: make(places, o.MaxRequests), uploads: make(places, o.MaxUploads)}
	for i := range routes {
		r := &routes[i]
		if b == nil && !r.every {
			continue
		}
		s.mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) { s.serve(r, w, req) })
	}
	return s
}

// Serve answers on the listener until the context ends, and closes it. It refuses a listener
// that strangers could reach.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if err := Exposure(Listen{Address: l.Addr().String(), TLS: s.opts.TLS != nil, Tokens: s.opts.Tokens != nil}); err != nil {
		return errors.Join(fmt.Errorf("web: %w", err), l.Close())
	}
	base, end := context.WithCancel(ctx)
	defer end()
	h := &http.Server{
		Handler:           s,
		TLSConfig:         s.opts.TLS,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug), // strangers' broken handshakes
	}
	bounded := newBoundedListener(l, s.opts.MaxConnections)
	done := make(chan error, 1)
	go func() {
		if s.opts.TLS != nil {
			done <- h.ServeTLS(bounded, "", "")
		} else {
			done <- h.Serve(bounded)
		}
	}()
	select {
	case err := <-done:
		return fmt.Errorf("web: serving on %s: %w", l.Addr(), errors.Join(err, h.Close()))
	case <-ctx.Done():
	}
	// Streams and long polls end with base; the rest has a moment to finish.
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer stop()
	err := h.Shutdown(last)
	if err != nil {
		err = h.Close()
	}
	<-done
	if err != nil {
		return fmt.Errorf("web: closing %s: %w", l.Addr(), err)
	}
	return nil
}
