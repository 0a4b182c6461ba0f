package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/weirflow/weir/api"
)

// ErrNoLog is for allocations of which there is no log; errors.Is finds it.
var ErrNoLog = errors.New("executor: no log")

// LogOptions say what of a log to read.
type LogOptions struct {
	// Tail begins that many lines before the end; 0 begins at the beginning.
	Tail int
	// Follow waits for more at the end, until the executor's log is closed.
	Follow bool
}

// maxTail bounds how far back a tail looks.
const maxTail = 1_000_000

// Logs reads what an executor printed, also one of an earlier Manager. Each line is a time in UTC,
// a stream (O: standard output, E: standard error, A: the agent; in lower case: the line goes
// on in the next) and the text. Read waits, if it follows, until there is more, ctx
// ends, or the reader is closed; it never holds up the executor.
func (m *Manager) Logs(ctx context.Context, id api.AllocID, o LogOptions) (io.ReadCloser, error) {
	if err := checkName("allocation", string(id)); err != nil {
		return nil, err
	}
	if o.Tail < 0 || o.Tail > maxTail {
		return nil, fmt.Errorf("executor: a tail of %d lines: want 0 to %d", o.Tail, maxTail)
	}
	r := &logReader{ctx: ctx, dir: m.logDir(id), follow: o.Follow, done: make(chan struct{})}
	m.mu.Lock()
	if x := m.mu.allocs[id]; x != nil {
		r.live = x.log.Load()
	}
	m.mu.Unlock()
	if err := r.begin(o.Tail); err != nil {
		return nil, err
	}
	return r, nil
}

// logReader reads the files of a log one after another.
type logReader struct {
	ctx    context.Context
	dir    string
	live   *outputLog // nil: nobody writes it any more
	follow bool
	once   sync.Once
	done   chan struct{}

	mu struct { // Read and Close may meet
		sync.Mutex
		f      *os.File
		seq    int
		off    int64
		note   []byte // to be read first
		closed bool
	}
}

// extent is how far the log goes, and what tells of more; nil: there will be none. A
// size of -1 is all that the file has.
func (r *logReader) extent() (seq int, size int64, more <-chan struct{}, err error) {
	if r.live != nil {
		seq, size, changed, closed := r.live.snapshot()
		if closed || !r.follow {
			changed = nil
		}
		return seq, size, changed, nil
	}
	seqs, err := logFiles(r.dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(seqs) == 0 {
		return 0, 0, nil, ErrNoLog
	}
	if err != nil {
		return 0, 0, nil, fmt.Errorf("executor: read a log: %w", err)
	}
	return seqs[len(seqs)-1], -1, nil, nil
}

// begin finds where the last tail lines begin.
func (r *logReader) begin(tail int) error {
	last, size, _, err := r.extent()
	if err != nil {
		return err
	}
	seqs, err := logFiles(r.dir)
	if err != nil || len(seqs) == 0 {
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return errors.Join(ErrNoLog, err)
	}
	r.mu.seq = seqs[0]
	if tail == 0 {
		return nil
	}
	for i := len(seqs) - 1; i >= 0; i-- {
		if seqs[i] > last {
			continue
		}
		end := int64(-1)
		if seqs[i] == last {
			end = size
		}
		off, lines, err := tailOf(filepath.Join(r.dir, logName(seqs[i])), end, tail)
		if errors.Is(err, os.ErrNotExist) {
			return nil // rotated away meanwhile: what is newer is read
		}
		if err != nil {
			return fmt.Errorf("executor: read a log: %w", err)
		}
		r.mu.seq, r.mu.off = seqs[i], off
		if tail -= lines; tail == 0 {
			return nil
		}
	}
	return nil
}

// tailOf is where the last n lines of a file's first end bytes begin (-1: all of it), and how
// many there are.
func tailOf(path string, end int64, n int) (off int64, lines int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	if end < 0 {
		info, err := f.Stat()
		if err != nil {
			return 0, 0, err
		}
		end = info.Size()
	}
	buf := make([]byte, 64<<10)
	for at := end; at > 0; {
		p := buf[:min(at, int64(len(buf)))]
		at -= int64(len(p))
		if _, err := f.ReadAt(p, at); err != nil && err != io.EOF {
			return 0, 0, err
		}
		for i := len(p); i > 0; {
			i = bytes.LastIndexByte(p[:i], '\n')
			if i < 0 {
				break
			}
			if at+int64(i)+1 == end {
				continue // the end of the last line
			}
			if lines++; lines == n {
				return at + int64(i) + 1, n, nil
			}
		}
	}
	if end > 0 {
		lines++ // the first, which has no end before it
	}
	return 0, lines, nil
}

// Read gives what is there, and waits where the reader follows.
func (r *logReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, more, err := r.read(p)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-more:
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		case <-r.done:
			return 0, os.ErrClosed
		}
	}
}

// read gives what is there, or what to wait for.
func (r *logReader) read(p []byte) (int, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if r.mu.closed {
			return 0, nil, os.ErrClosed
		}
		if err := r.ctx.Err(); err != nil {
			return 0, nil, context.Cause(r.ctx)
		}
		if len(r.mu.note) > 0 {
			n := copy(p, r.mu.note)
			r.mu.note = r.mu.note[n:]
			return n, nil, nil
		}
		last, size, more, err := r.extent()
		if errors.Is(err, ErrNoLog) {
			return 0, nil, io.EOF // removed while it was read
		}
		if err != nil {
			return 0, nil, err
		}
		if r.mu.f == nil && r.mu.seq <= last {
			if err := r.openLocked(); err != nil {
				return 0, nil, err
			}
			continue
		}
		limit := int64(len(p))
		if r.mu.seq == last && size >= 0 {
			limit = min(limit, size-r.mu.off)
		}
		if limit > 0 && r.mu.f != nil {
			n, err := r.mu.f.ReadAt(p[:limit], r.mu.off)
			r.mu.off += int64(n)
			if n > 0 {
				return n, nil, nil
			}
			if err != nil && err != io.EOF {
				return 0, nil, fmt.Errorf("executor: read a log: %w", err)
			}
		}
		if r.mu.seq < last {
			r.nextLocked()
			continue
		}
		if more == nil {
			return 0, nil, io.EOF
		}
		return 0, more, nil
	}
}

func (r *logReader) nextLocked() {
	_ = r.mu.f.Close() // it was read only
	r.mu.f, r.mu.off = nil, 0
	r.mu.seq++
}

// openLocked opens the file that is next, or the oldest that is left.
func (r *logReader) openLocked() error {
	f, err := os.Open(filepath.Join(r.dir, logName(r.mu.seq)))
	if errors.Is(err, os.ErrNotExist) {
		seqs, lerr := logFiles(r.dir)
		if lerr != nil || len(seqs) == 0 || seqs[len(seqs)-1] < r.mu.seq {
			return io.EOF
		}
		for _, s := range seqs {
			if s >= r.mu.seq {
				r.mu.note = fmt.Appendf(nil, "%s %c files %d to %d of this log were removed before they were read\n",
					"0000-00-00T00:00:00.000000Z", streamNote, r.mu.seq, s-1)
				if s == r.mu.seq {
					r.mu.note = nil // it came meanwhile
				}
				r.mu.seq, r.mu.off = s, 0
				return nil
			}
		}
	}
	if err != nil {
		return fmt.Errorf("executor: read a log: %w", err)
	}
	r.mu.f = f
	return nil
}

// Close ends a Read that waits.
func (r *logReader) Close() error {
	r.once.Do(func() { close(r.done) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.closed = true
	if r.mu.f == nil {
		return nil
	}
	err := r.mu.f.Close()
	r.mu.f = nil
	return err
}
