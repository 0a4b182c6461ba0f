package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/weirflow/weir/api"
)

// Bounds of logs.
const (
	usualTail   = 200
	longestTail = 10_000
)

// quiet is how long a stream says nothing at most: then it sends an empty line, so that a reader
// that has gone is noticed, and one that waits knows that somebody is there.
const quiet = 15 * time.Second

// lines writes a line of JSON for each value.
type lines struct {
	w       http.ResponseWriter
	control *http.ResponseController
	encoder *json.Encoder
	begun   bool
}

func newLines(w http.ResponseWriter) *lines {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return &lines{w: w, control: http.NewResponseController(w), encoder: e}
}

func (l *lines) begin() {
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.w.WriteHeader(http.StatusOK)
	}
}

func (l *lines) write(v any) error {
	l.begin()
	return l.encoder.Encode(v)
}

func (l *lines) flush() error {
	l.begin()
	if err := l.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// finish ends a stream. An error after its beginning is its last line.
func (l *lines) finish(c *call, err error) (any, error) {
	if err == nil {
		return nil, l.flush()
	}
	if !l.begun {
		return nil, err
	}
	e, told := c.server.errorOf(c, err)
	if told {
		if l.write(api.ErrorBody{Error: *e}) == nil {
			_ = l.flush() // who has gone needs no answer
		}
	}
	c.result = e
	return nil, nil
}

// followEvents sends a job's events until it has ended and all of them are sent.
func (s *Server) followEvents(c *call) (any, error) {
	name, err := c.job()
	if err != nil {
		return nil, err
	}
	after, _, err := c.number("cursor")
	if err != nil {
		return nil, err
	}
	out := newLines(c.w)
	return out.finish(c, s.sendEvents(c, name, after, out))
}

func (s *Server) sendEvents(c *call, name string, after uint64, out *lines) error {
	for {
		at := s.backend.Index()
		// The job first: what ended it is among the events that are read after.
		job, err := s.backend.Job(c.ctx, name)
		if err != nil {
			return err
		}
		page, err := s.backend.Events(c.ctx, name, Page{Cursor: strconv.FormatUint(after, 10), Limit: 1000})
		if err != nil {
			return err
		}
		for _, e := range page.Items {
			if err := out.write(e); err != nil {
				return err
			}
			after = e.Seq
		}
		if err := out.flush(); err != nil {
			return err
		}
		switch {
		case page.Next != "":
		case job.Status.Ended():
			return nil
		default:
			if err := s.rest(c, at, out); err != nil {
				return err
			}
		}
	}
}

// rest waits for a change, and keeps the stream alive.
func (s *Server) rest(c *call, at uint64, out *lines) error {
	for {
		ctx, stop := context.WithTimeout(c.ctx, quiet)
		err := s.backend.Wait(ctx, at)
		timeout := ctx.Err() != nil && c.ctx.Err() == nil
		stop()
		if err == nil || !timeout {
			return err
		}
		if _, err := c.w.Write([]byte("\n")); err != nil {
			return err
		}
		if err := out.flush(); err != nil {
			return err
		}
	}
}

func (s *Server) logs(c *call) (any, error) {
	name, err := c.job()
	if err != nil {
		return nil, err
	}
	q := LogQuery{Alloc: api.AllocID(c.query.Get("alloc")), Stream: c.query.Get("stream"), Tail: usualTail}
	if q.Alloc != "" {
		if err := checkName("alloc", string(q.Alloc)); err != nil {
			return nil, err
		}
	}
	if q.Stream != "" && q.Stream != "stdout" && q.Stream != "stderr" {
		return nil, invalid("stream %q must be stdout or stderr", q.Stream)
	}
	switch n, given, err := c.number("tail"); {
	case err != nil:
		return nil, err
	case given && n > longestTail:
		return nil, invalid("tail %d must be at most %d", n, longestTail)
	case given:
		q.Tail = int(n)
	}
	if q.Follow, err = c.flag("follow"); err != nil {
		return nil, err
	}
	out := newLines(c.w)
	err = s.backend.Logs(c.ctx, name, q, func(l api.LogLine) error {
		if err := out.write(l); err != nil || !q.Follow {
			return err
		}
		return out.flush()
	})
	return out.finish(c, err)
}
