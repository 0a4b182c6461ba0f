package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/web/token"
)

// call is one request.
type call struct {
	server *Server
	route  *route
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context
	query  url.Values
	serial uint64
	// forwarded is the leader that it went to.
	forwarded string
	who       token.Entry
	status    int // of a success; 200 if it is not set
	// about and detail are for the audit log: a name, and what was wanted of it.
	about, detail string
	// result is an error that was told in a stream.
	result *api.Error
}

// maxAbout bounds what a stranger can have written down.
const maxAbout = 256

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	// The mux would clean the path and redirect; nobody who means well needs that.
	if r.URL.RawPath != "" || path.Clean(r.URL.Path) != r.URL.Path {
		writeError(w, api.Errorf(api.CodeNotFound, "there is no such path").WithHint("/v1/openapi.yaml lists them"))
		return
	}
	if _, pattern := s.mux.Handler(r); pattern == "" {
		s.noRoute(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
		other := &http.Request{Method: m, URL: r.URL, Host: r.Host}
		if _, pattern := s.mux.Handler(other); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) == 0 && s.backend == nil {
		writeError(w, api.Errorf(api.CodeNotFound, "there is no such path here: this agent is no server").WithHint("weir members shows which are"))
		return
	}
	if len(allowed) == 0 {
		writeError(w, api.Errorf(api.CodeNotFound, "there is no such path").WithHint("/v1/openapi.yaml lists them"))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeError(w, api.Errorf(api.CodeMethod, "this path takes %s", strings.Join(allowed, " or ")))
}

// serve answers a request of a route.
func (s *Server) serve(route *route, w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	c := &call{server: s, route: route, w: w, r: r, serial: s.requests.Add(1)}
	// Who is refused has asked about something, too.
	if c.about = cmp.Or(r.PathValue("job"), r.PathValue("node"), r.PathValue("hash")); len(c.about) > maxAbout {
		c.about = c.about[:maxAbout]
	}
	limit := route.limit
	if limit == 0 {
		limit = s.opts.Timeout
		if r.URL.Query().Has("wait") {
			limit += longestWait
		}
	}
	ctx := r.Context()
	if !route.stream {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, limit)
		defer stop()
	}
	c.ctx = ctx
	renewed := newRenewing(w)
	c.w = renewed
	defer renewed.end()
	defer func() { s.opts.Answered(route.id, renewed.code(), time.Since(began)) }()
	if r.ContentLength != 0 {
		r.Body = &renewingBody{r.Body, ctx, renewed.control}
	}
	answer, err := c.do()
	if err == nil {
		c.answer(answer)
	} else {
		c.refuse(err)
	}
	c.audit()
}

// do checks the request and has it handled.
func (c *call) do() (any, error) {
	s := c.server
	if !s.running.take() {
		return nil, api.Errorf(api.CodeUnavailable, "too many requests at one time").WithHint("try again in a moment")
	}
	defer s.running.free()
	if err := c.admit(); err != nil {
		return nil, err
	}
	if err := c.parseQuery(); err != nil {
		return nil, err
	}
	if forwarded, err := c.forward(); forwarded || err != nil {
		return nil, err
	}
	c.ctx = WithCaller(c.ctx, c.who.Name)
	return c.route.handle(s, c)
}

// parseQuery refuses parameters that the route does not have: a wrong name would go
// unnoticed otherwise.
func (c *call) parseQuery() error {
	q, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return invalid("the query can't be read: %v", err)
	}
	for name, values := range q {
		if !slices.ContainsFunc(c.route.query, func(p param) bool { return p.name == name }) {
			return invalid("there is no parameter %q here", name).WithHint("%s", c.parameters())
		}
		if len(values) > 1 {
			return invalid("the parameter %q is given twice", name)
		}
	}
	c.query = q
	return nil
}

func (c *call) parameters() string {
	if len(c.route.query) == 0 {
		return "this request takes none"
	}
	var names []string
	for _, p := range c.route.query {
		names = append(names, p.name)
	}
	return "it takes " + strings.Join(names, ", ")
}

// body reads the request's JSON.
func (c *call) body(v any) error {
	kind, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return api.Errorf(api.CodeMediaType, "the body must be JSON").WithHint("send Content-Type: application/json")
	}
	d := json.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, c.server.opts.MaxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return api.Errorf(api.CodeTooLarge, "the body is larger than %d bytes", c.server.opts.MaxBody)
		}
		return invalid("the body can't be read as JSON: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return invalid("there is more behind the JSON in the body")
	}
	return nil
}

// answer writes what a handler gave; nil if it has written itself.
func (c *call) answer(v any) {
	if v == nil {
		return
	}
	data, err := json.Marshal(v)
	if err != nil {
		c.refuse(fmt.Errorf("encoding the answer: %w", err))
		return
	}
	if c.status == 0 {
		c.status = http.StatusOK
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(c.status)
	_, _ = c.w.Write(append(data, '\n')) // who has gone needs no answer
}

func (c *call) refuse(err error) {
	e, told := c.server.errorOf(c, err)
	c.result = e
	if !told {
		return
	}
	if e.Code == api.CodeUnauthenticated {
		c.w.Header().Set("WWW-Authenticate", `Bearer realm="weir"`)
	}
	if e.Code == api.CodeTooMany || e.Code == api.CodeUnavailable || e.Code == api.CodeNoLeader {
		c.w.Header().Set("Retry-After", "1")
	}
	writeError(c.w, e)
}

// errorOf is what a client is told. told is false if there is nobody to tell.
func (s *Server) errorOf(c *call, err error) (e *api.Error, told bool) {
	switch known, ok := errors.AsType[*api.Error](err); {
	case ok:
		return known, true
	case c.r.Context().Err() != nil:
		return api.Errorf(api.CodeUnavailable, "the request was given up"), false
	case errors.Is(err, context.DeadlineExceeded):
		return api.Errorf(api.CodeTimeout, "it took too long").WithHint("it may have been done: look before you try again"), true
	}
	s.opts.Log.Error("a request did not work", "request", c.serial, "route", c.route.id, "about", c.about, "err", err)
	return api.Errorf(api.CodeInternal, "something is wrong in the server").WithHint("its log says more about request %d", c.serial), true
}

func noLeader() *api.Error {
	return api.Errorf(api.CodeNoLeader, "no server leads just now").WithHint("try again in a moment; weir members shows who is there")
}

func writeError(w http.ResponseWriter, e *api.Error) {
	data, err := json.Marshal(api.ErrorBody{Error: *e})
	if err != nil {
		panic("web: an error that is no JSON: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Code.Status())
	_, _ = w.Write(append(data, '\n')) // who has gone needs no answer
}

// audit writes the line about a request that changes something, or was refused for who sent it.
func (c *call) audit() {
	strange := c.result != nil && (c.result.Code == api.CodeUnauthenticated || c.result.Code == api.CodeForbidden)
	if !c.route.changes() && !strange {
		return
	}
	attrs := []slog.Attr{
		slog.Uint64("request", c.serial), slog.String("what", c.route.id), slog.String("about", c.about),
		slog.String("who", c.who.Name), slog.String("role", string(c.who.Role)), slog.String("from", c.from()),
		slog.String("certificate", c.certificate()),
	}
	if c.detail != "" {
		attrs = append(attrs, slog.String("detail", c.detail))
	}
	if c.forwarded != "" {
		attrs = append(attrs, slog.String("forwarded_to", c.forwarded))
	}
	if by := c.r.Header.Get(forwardedHeader); by != "" && c.who.Name != "" {
		attrs = append(attrs, slog.String("forwarded_for", by))
	}
	if c.result == nil {
		attrs = append(attrs, slog.String("result", "ok"))
	} else {
		attrs = append(attrs, slog.String("result", string(c.result.Code)), slog.String("error", c.result.Message))
	}
	c.server.opts.Audit.LogAttrs(context.WithoutCancel(c.ctx), slog.LevelInfo, "audit", attrs...)
}

func (c *call) from() string { return c.r.RemoteAddr }

// certificate is the name in the peer's certificate.
func (c *call) certificate() string {
	if c.r.TLS == nil || len(c.r.TLS.PeerCertificates) == 0 {
		return ""
	}
	return c.r.TLS.PeerCertificates[0].Subject.CommonName
}

// address is the peer's, without the port.
func (c *call) address() string {
	host, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		return c.r.RemoteAddr
	}
	return host
}
