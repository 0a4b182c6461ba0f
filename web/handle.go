package web

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
)

// document is the OpenAPI description of the routes.
//
//go:embed openapi.yaml
var document []byte

func (s *Server) health(c *call) (any, error) {
	var h api.Health
	switch {
	case s.backend != nil:
		h = s.backend.Health()
	case s.opts.Observer != nil:
		h = s.opts.Observer.Health()
	}
	if h.Status != "ok" {
		c.status = http.StatusServiceUnavailable
	}
	return h, nil
}

func (s *Server) openapi(c *call) (any, error) {
	c.w.Header().Set("Content-Type", "application/yaml")
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write(document) // who has gone needs no answer
	return nil, nil
}

func (s *Server) leader(*call) (any, error) {
	l, ok := s.backend.Leader()
	if !ok {
		return nil, noLeader()
	}
	return l, nil
}

func (s *Server) members(c *call) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	return s.backend.Members(c.ctx, p)
}

func (s *Server) jobs(c *call) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	return watch(s, c, func(l api.JobList) uint64 { return l.Index },
		func() (api.JobList, error) { return s.backend.Jobs(c.ctx, p) })
}

func (s *Server) job(c *call) (any, error) {
	name, err := c.job()
	if err != nil {
		return nil, err
	}
	return watch(s, c, func(j api.JobInfo) uint64 { return j.Index },
		func() (api.JobInfo, error) { return s.backend.Job(c.ctx, name) })
}

func (s *Server) nodes(c *call) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	return watch(s, c, func(l api.NodeList) uint64 { return l.Index },
		func() (api.NodeList, error) { return s.backend.Nodes(c.ctx, p) })
}

func (s *Server) node(c *call) (any, error) {
	id, err := c.node()
	if err != nil {
		return nil, err
	}
	return watch(s, c, func(n api.NodeInfo) uint64 { return n.Index },
		func() (api.NodeInfo, error) { return s.backend.Node(c.ctx, id) })
}

// Long polls wait that long.
const (
	usualWait   = 30 * time.Second
	longestWait = 60 * time.Second
)

// watch reads until what is read is newer than the query's wait, or the time is over: then
// it gives what there is.
func watch[T any](s *Server, c *call, index func(T) uint64, read func() (T, error)) (any, error) {
	after, waits, err := c.number("wait")
	if err != nil || !waits {
		if err == nil {
			return read()
		}
		return nil, err
	}
	limit := usualWait
	if text := c.query.Get("wait_for"); text != "" {
		if limit, err = time.ParseDuration(text); err != nil || limit < 0 || limit > longestWait {
			return nil, invalid("wait_for %q must be a time from 0s to %s", text, longestWait)
		}
	}
	ctx, stop := context.WithTimeout(c.ctx, limit)
	defer stop()
	for {
		// What changes between the two is seen by Wait.
		at := s.backend.Index()
		v, err := read()
		if err != nil || index(v) > after {
			return v, err
		}
		switch err := s.backend.Wait(ctx, at); {
		case err == nil:
		case c.ctx.Err() != nil:
			return nil, c.ctx.Err()
		case ctx.Err() != nil:
			return v, nil
		default:
			return nil, err
		}
	}
}

func (s *Server) graph(c *call) (any, error) { return forJob(c, s.backend.Graph) }
func (s *Server) stats(c *call) (any, error) { return forJob(c, s.backend.Stats) }

func forJob[T any](c *call, ask func(context.Context, string) (T, error)) (any, error) {
	name, err := c.job()
	if err != nil {
		return nil, err
	}
	return ask(c.ctx, name)
}

func forJobPage[T any](c *call, ask func(context.Context, string, Page) (T, error)) (any, error) {
	name, err := c.job()
	if err != nil {
		return nil, err
	}
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	return ask(c.ctx, name, p)
}

func (s *Server) events(c *call) (any, error)      { return forJobPage(c, s.backend.Events) }
func (s *Server) checkpoints(c *call) (any, error) { return forJobPage(c, s.backend.Checkpoints) }
func (s *Server) savepoints(c *call) (any, error)  { return forJobPage(c, s.backend.Savepoints) }

// act is a request that says all by its path.
func act(do func(Backend, context.Context, string) (api.Done, error)) func(*Server, *call) (any, error) {
	return func(s *Server, c *call) (any, error) {
		name, err := c.job()
		if err != nil {
			return nil, err
		}
		return do(s.backend, c.ctx, name)
	}
}

func actNode(do func(Backend, context.Context, api.NodeID) (api.Done, error)) func(*Server, *call) (any, error) {
	return func(s *Server, c *call) (any, error) {
		id, err := c.node()
		if err != nil {
			return nil, err
		}
		return do(s.backend, c.ctx, id)
	}
}

func (s *Server) submit(c *call) (any, error) {
	dry, err := c.flag("dry_run")
	if err != nil {
		return nil, err
	}
	var spec api.JobSpec
	if err := c.body(&spec); err != nil {
		return nil, err
	}
	c.about = spec.Name
	if err := checkSpec(&spec, s.opts.Locations); err != nil {
		return nil, err
	}
	spec.By, spec.Submitted = Caller(c.ctx), s.opts.Now().UnixMicro()
	c.detail = fmt.Sprintf("artifact %s, dry run %v", spec.Artifact, dry)
	return s.backend.Submit(c.ctx, &spec, dry)
}

func (s *Server) save(c *call) (any, error) {
	name, err := c.job()
	if err != nil {
		return nil, err
	}
	var r api.SaveRequest
	if err := c.body(&r); err != nil {
		return nil, err
	}
	if err := checkLocation("location", r.Location, s.opts.Locations); err != nil {
		return nil, err
	}
	c.detail = fmt.Sprintf("stop %v", r.Stop)
	return s.backend.Save(c.ctx, name, r)
}

func (s *Server) rescale(c *call) (any, error) {
	name, err := c.job()
	if err != nil {
		return nil, err
	}
	var r api.RescaleRequest
	if err := c.body(&r); err != nil {
		return nil, err
	}
	if r.Parallelism < 1 || r.Parallelism > maxParallelism {
		return nil, invalid("parallelism %d must be from 1 to %d", r.Parallelism, maxParallelism)
	}
	c.detail = fmt.Sprintf("parallelism %d, dry run %v", r.Parallelism, r.DryRun)
	return s.backend.Rescale(c.ctx, name, r)
}

func (s *Server) artifact(c *call) (any, error) {
	hash := c.r.PathValue("hash")
	if err := checkHash(hash); err != nil {
		return nil, err
	}
	return s.backend.Artifact(c.ctx, hash)
}

func (s *Server) putArtifact(c *call) (any, error) {
	hash := c.r.PathValue("hash")
	c.about = hash
	if err := checkHash(hash); err != nil {
		return nil, err
	}
	size := c.r.ContentLength
	switch {
	case size <= 0:
		return nil, invalid("an upload says its length, and is not empty").WithHint("send a Content-Length")
	case size > s.opts.MaxArtifact:
		return nil, api.Errorf(api.CodeTooLarge, "a program of %d bytes is larger than %d", size, s.opts.MaxArtifact).
			WithHint("build it with -ldflags='-s -w', or raise limits.artifact of the servers")
	}
	if have, err := s.backend.Artifact(c.ctx, hash); err == nil {
		return have, nil // the body is not read
	} else if e, ok := errors.AsType[*api.Error](err); !ok || e.Code != api.CodeNotFound {
		return nil, err
	}
	if !s.uploads.take() {
		return nil, api.Errorf(api.CodeUnavailable, "too many uploads at one time").WithHint("try again in a moment")
	}
	defer s.uploads.free()
	body := &verified{from: io.LimitReader(c.r.Body, size+1), sum: sha256.New(), want: hash, left: size}
	return s.backend.PutArtifact(c.ctx, hash, size, body)
}

// verified reads what must have a length and a hash. In place of an end it gives an error if
// it has not.
type verified struct {
	from io.Reader
	sum  hash.Hash
	want string
	left int64
	err  error
}

func (v *verified) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.from.Read(p)
	v.sum.Write(p[:n])
	v.left -= int64(n)
	switch got := ""; {
	case v.left < 0:
		err = invalid("the upload is longer than its Content-Length says")
	case errors.Is(err, io.EOF) && v.left > 0:
		err = invalid("the upload ended %d bytes before its end", v.left)
	case errors.Is(err, io.EOF):
		if got = "sha256:" + hex.EncodeToString(v.sum.Sum(nil)); got != v.want {
			err = invalid("what came has the hash %s, not %s", got, v.want).WithHint("upload it again, under the hash of its content")
		}
	}
	v.err = err
	return n, err
}

// job is the name in the path.
func (c *call) job() (string, error) {
	c.about = c.r.PathValue("job")
	return c.about, checkName("job", c.about)
}

func (c *call) node() (api.NodeID, error) {
	c.about = c.r.PathValue("node")
	return api.NodeID(c.about), checkName("node", c.about)
}

func (c *call) page() (Page, error) {
	p := Page{Cursor: c.query.Get("cursor"), Limit: 100}
	n, given, err := c.number("limit")
	switch {
	case err != nil:
		return p, err
	case given && (n < 1 || n > 1000):
		return p, invalid("limit %d must be from 1 to 1000", n)
	case given:
		p.Limit = int(n)
	}
	if !cursorForm.MatchString(p.Cursor) {
		return p, invalid("cursor %q is none that a list gave", p.Cursor)
	}
	return p, nil
}

func (c *call) number(name string) (n uint64, given bool, err error) {
	text := c.query.Get(name)
	if text == "" {
		return 0, false, nil
	}
	if n, err = strconv.ParseUint(text, 10, 64); err != nil {
		return 0, false, invalid("%s %q must be a whole number", name, text)
	}
	return n, true, nil
}

// flag is a parameter that is true when it is there, unless it says false.
func (c *call) flag(name string) (bool, error) {
	if !c.query.Has(name) {
		return false, nil
	}
	switch strings.ToLower(c.query.Get(name)) {
	case "", "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	}
	return false, invalid("%s %q must be true or false", name, c.query.Get(name))
}
