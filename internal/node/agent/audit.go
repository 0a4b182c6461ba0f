package agent

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/cluster/gossip"
)

// auditLog is what a server has written down of requests: what was done, and beside it what
// was refused, so that a stranger who is refused again and again pushes nothing else out. It is
// a slog.Handler by the two that it writes to.
type auditLog struct {
	slog.Handler
	done, refused *rotating
}

// openAudit opens the log in a directory, of at most so many bytes.
func openAudit(dir string, most int64, server string) (_ *auditLog, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the audit log: %w", err)
	}
	l := &auditLog{}
	if l.done, err = openRotating(filepath.Join(dir, "done.log"), most/2); err != nil {
		return nil, fmt.Errorf("the audit log: %w", err)
	}
	if l.refused, err = openRotating(filepath.Join(dir, "refused.log"), most/2); err != nil {
		return nil, errors.Join(fmt.Errorf("the audit log: %w", err), l.done.Close())
	}
	with := []slog.Attr{slog.String("server", server)}
	l.Handler = &sorted{slog.NewJSONHandler(l.done, nil).WithAttrs(with), slog.NewJSONHandler(l.refused, nil).WithAttrs(with)}
	return l, nil
}

func (l *auditLog) Close() error { return errors.Join(l.done.Close(), l.refused.Close()) }

// sorted puts lines where they belong.
type sorted struct{ done, refused slog.Handler }

func (s *sorted) Enabled(ctx context.Context, level slog.Level) bool {
	return s.done.Enabled(ctx, level)
}

func (s *sorted) Handle(ctx context.Context, r slog.Record) error {
	to := s.done
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "result" {
			return true
		}
		switch api.ErrorCode(a.Value.String()) {
		case api.CodeUnauthenticated, api.CodeForbidden, api.CodeTooMany:
			to = s.refused
		}
		return false
	})
	return to.Handle(ctx, r)
}

func (s *sorted) WithAttrs(as []slog.Attr) slog.Handler {
	return &sorted{s.done.WithAttrs(as), s.refused.WithAttrs(as)}
}

func (s *sorted) WithGroup(name string) slog.Handler {
	return &sorted{s.done.WithGroup(name), s.refused.WithGroup(name)}
}

// rotating is a file of lines that is bounded: when it is half full it becomes the older one,
// and the one that was older goes.
type rotating struct {
	path string
	most int64

	mu struct {
		sync.Mutex
		f    *os.File
		size int64
	}
}

func openRotating(path string, most int64) (*rotating, error) {
	r := &rotating{path: path, most: most}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r, r.openLocked()
}

func (r *rotating) older() string { return r.path + ".1" }

func (r *rotating) openLocked() error {
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.mu.f, r.mu.size = f, size
	return nil
}

// Write writes one line.
func (r *rotating) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.f != nil && r.mu.size > 0 && r.mu.size+int64(len(line)) > r.most/2 {
		err := errors.Join(r.mu.f.Close(), os.Rename(r.path, r.older()))
		r.mu.f = nil
		if err != nil {
			return 0, err
		}
	}
	if r.mu.f == nil { // a disk that was full may have room again
		if err := r.openLocked(); err != nil {
			return 0, err
		}
	}
	n, err := r.mu.f.Write(line)
	r.mu.size += int64(n)
	return n, err
}

func (r *rotating) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.f == nil {
		return nil
	}
	err := r.mu.f.Close()
	r.mu.f = nil
	return err
}

// tail is the newest lines, oldest first.
func (r *rotating) tail(lines int) (all [][]byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock() // else a file would be renamed between the two
	for _, name := range []string{r.older(), r.path} {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s := bufio.NewScanner(io.LimitReader(f, r.most))
		s.Buffer(nil, maxAuditLine)
		for s.Scan() {
			all = append(all, bytes.Clone(s.Bytes()))
			if len(all) >= 2*lines {
				all = slices.Delete(all, 0, len(all)-lines)
			}
		}
		if err := errors.Join(s.Err(), f.Close()); err != nil {
			return nil, err
		}
	}
	return all[max(0, len(all)-lines):], nil
}

// Bounds of what is read: names, addresses and messages are short.
const (
	maxAuditLine = 64 << 10
	maxAudit     = 1000
)

// read gives the newest entries as lines of JSON.
func (l *auditLog) read(lines int) (io.ReadCloser, error) {
	var out bytes.Buffer
	for _, of := range []*rotating{l.done, l.refused} {
		all, err := of.tail(min(lines, maxAudit))
		if err != nil {
			return nil, fmt.Errorf("the audit log: %w", err)
		}
		for _, line := range all {
			out.Write(line)
			out.WriteByte('\n')
		}
	}
	return io.NopCloser(&out), nil
}

// auditLine is an entry as slog writes it.
type auditLine struct {
	Time time.Time `json:"time"`
	api.AuditEntry
}

// entries reads lines of JSON. One that was cut off by a crash is left out.
func entries(r io.Reader) (all []api.AuditEntry, err error) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxAuditLine)
	for s.Scan() {
		var l auditLine
		if json.Unmarshal(s.Bytes(), &l) != nil || l.What == "" {
			continue
		}
		l.AuditEntry.Time = l.Time.UnixMicro()
		all = append(all, l.AuditEntry)
	}
	return all, s.Err()
}

// Audit asks all servers for what they have written down: each request is where it came in.
func (b *backend) Audit(ctx context.Context, limit int) (l api.AuditList, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	type part struct {
		of  string
		all []api.AuditEntry
		err error
	}
	parts := make(chan part)
	asked := 0
	for _, m := range b.a.members() {
		if m.Node.HTTP == "" || m.Status == gossip.Left {
			continue
		}
		asked++
		go func() {
			r, err := b.a.openNode(ctx, m.Node.ID, m.Node.RPC, &rpc.Read{Audit: limit})
			p := part{of: m.Node.Name, err: err}
			if err == nil {
				p.all, p.err = entries(r)
				p.err = errors.Join(p.err, r.Close())
			}
			parts <- p
		}()
	}
	l.Items = []api.AuditEntry{}
	for range asked {
		p := <-parts
		if p.err != nil {
			l.Missing = append(l.Missing, p.of)
			b.a.log.Debug("a server does not say what it has written down", "server", p.of, "err", p.err)
		}
		for _, e := range p.all {
			// The server that it was sent on to has written more about it.
			if e.ForwardedTo == "" || e.Result != "ok" && e.Result != string(api.CodeInternal) {
				l.Items = append(l.Items, e)
			}
		}
	}
	slices.Sort(l.Missing)
	slices.SortFunc(l.Items, func(x, y api.AuditEntry) int {
		return cmp.Or(cmp.Compare(x.Time, y.Time), strings.Compare(x.Server, y.Server), cmp.Compare(x.Request, y.Request))
	})
	l.Items = l.Items[max(0, len(l.Items)-limit):]
	return l, nil
}
