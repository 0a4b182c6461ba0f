package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/weirflow/weir/api"
)

// What an agent shows of itself, and of the executors that a job has.

const metricsType = "text/plain; version=0.0.4; charset=utf-8"

func (s *Server) observer() (Observer, error) {
	if s.opts.Observer == nil {
		return nil, api.Errorf(api.CodeNotFound, "this server shows nothing of itself")
	}
	return s.opts.Observer, nil
}

func (s *Server) metrics(c *call) (any, error) {
	o, err := s.observer()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := o.Metrics(c.ctx, &b); err != nil {
		return nil, err
	}
	c.w.Header().Set("Content-Type", metricsType)
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write(b.Bytes()) // who has gone needs no answer
	return nil, nil
}

func (s *Server) profiles(c *call) (any, error) {
	o, err := s.observer()
	if err != nil {
		return nil, err
	}
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.w.WriteHeader(http.StatusOK)
	for _, k := range o.Kinds() {
		_, _ = fmt.Fprintln(c.w, k) // as above
	}
	return nil, nil
}

func (s *Server) profile(c *call) (any, error) {
	o, err := s.observer()
	if err != nil {
		return nil, err
	}
	kind := c.r.PathValue("kind")
	c.about = kind
	if kind == "profile" {
		kind = "cpu" // as net/http/pprof calls it, and go tool pprof asks
	}
	over, err := c.over(o, kind)
	if err != nil {
		return nil, err
	}
	return nil, c.download(kind, func(w io.Writer) error { return o.Profile(c.ctx, w, kind, over) })
}

func (s *Server) profileJob(c *call) (any, error) {
	o, err := s.observer()
	if err != nil {
		return nil, err
	}
	name, err := c.job()
	if err != nil {
		return nil, err
	}
	q := ProfileQuery{Kind: c.query.Get("kind"), Alloc: api.AllocID(c.query.Get("alloc"))}
	if q.Kind == "" {
		q.Kind = "cpu"
	}
	if q.Alloc != "" {
		if err := checkName("alloc", string(q.Alloc)); err != nil {
			return nil, err
		}
	}
	if q.Over, err = c.over(o, q.Kind); err != nil {
		return nil, err
	}
	r, err := s.backend.Profile(c.ctx, name, q)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return nil, c.download(q.Kind, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// usualProfile is for how long what is sampled is.
const usualProfile = 10 * time.Second

func (c *call) over(o Observer, kind string) (time.Duration, error) {
	over := usualProfile
	n, given, err := c.number("seconds")
	switch {
	case err != nil:
		return 0, err
	case given && (n < 1 || n > 120):
		return 0, invalid("seconds %d must be from 1 to 120", n)
	case given:
		over = time.Duration(n) * time.Second
	}
	if err := o.CheckProfile(kind, over); err != nil {
		return 0, invalid("%v", err)
	}
	return over, nil
}

// download sends what write writes. The answer begins with the first byte, so that what goes
// wrong before is told as ever; what goes wrong later breaks the connection.
func (c *call) download(name string, write func(io.Writer) error) error {
	d := &begun{c: c, name: name}
	err := write(d)
	if err == nil || !d.yes {
		return err
	}
	if context.Cause(c.ctx) == nil {
		c.server.opts.Log.Warn("a download broke", "request", c.serial, "route", c.route.id, "err", err)
	}
	panic(http.ErrAbortHandler) // which is how the library breaks a connection
}

// begun begins the answer when something is written.
type begun struct {
	c    *call
	name string
	yes  bool
}

func (b *begun) Write(p []byte) (int, error) {
	if !b.yes {
		b.yes = true
		h := b.c.w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Disposition", `attachment; filename="`+b.name+`.pprof"`)
		b.c.w.WriteHeader(http.StatusOK)
	}
	return b.c.w.Write(p)
}
