package executor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Streams of a log, as they stand in its lines.
const (
	streamOut  = 'O'
	streamErr  = 'E'
	streamNote = 'A' // of the agent
)

// logTime is how a line begins. All have the same length, so that lines sort by time.
const logTime = "2006-01-02T15:04:05.000000Z"

// logOptions bound a log.
type logOptions struct {
	maxFile int64 // bytes
	files   int
	maxLine int
}

// outputLog is what one executor prints, in numbered files of a directory: see docs/format.
//
// The obvious way is one file that readers watch. Here the writer tells readers itself
// how much is there, so that they see whole lines only, and never hold up the writer:
// they share nothing with it but a few numbers.
type outputLog struct {
	dir string
	o   logOptions
	now func() time.Time

	// mu is held while a chunk is written: the two streams take turns. That is the one
	// place where this package does I/O under a lock.
	mu struct {
		sync.Mutex
		f      *os.File
		seq    int   // of f
		size   int64 // of f
		missed int64 // lines that could not be written
		buf    []byte
	}
	// end is what readers see.
	end struct {
		sync.Mutex
		seq     int
		size    int64
		changed chan struct{} // closed at the next change
		closed  bool
	}
}

// newLog makes the directory and its next file: an earlier agent may have begun the log.
func newLog(dir string, o logOptions, now func() time.Time) (*outputLog, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("executor: make the directory of a log: %w", err)
	}
	seqs, err := logFiles(dir)
	if err != nil {
		return nil, fmt.Errorf("executor: look for the files of a log: %w", err)
	}
	l := &outputLog{dir: dir, o: o, now: now}
	if len(seqs) > 0 {
		l.mu.seq = seqs[len(seqs)-1]
	}
	l.end.changed = make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.rotateLocked(); err != nil {
		return nil, err
	}
	l.end.seq = l.mu.seq
	return l, nil
}

func logName(seq int) string { return fmt.Sprintf("%06d.log", seq) }

// logFiles are the numbers of a log's files, in order.
func logFiles(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var seqs []int
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), ".log")
		if n, err := strconv.Atoi(digits); ok && err == nil && n > 0 && logName(n) == e.Name() {
			seqs = append(seqs, n)
		}
	}
	slices.Sort(seqs)
	return seqs, nil
}

// rotateLocked begins the next file and removes the oldest.
func (l *outputLog) rotateLocked() error {
	seq := l.mu.seq + 1
	f, err := os.OpenFile(filepath.Join(l.dir, logName(seq)), os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_EXCL, 0o640)
	if err != nil {
		return fmt.Errorf("executor: begin a file of a log: %w", err)
	}
	if l.mu.f != nil {
		_ = l.mu.f.Close() // what was written counts, and nothing is buffered
	}
	l.mu.f, l.mu.seq, l.mu.size = f, seq, 0
	if old := seq - l.o.files; old > 0 {
		_ = os.Remove(filepath.Join(l.dir, logName(old))) // the budget of all logs finds it
	}
	return nil
}

// line appends one line to b, in pieces if it is long. Those that go on in the next one are
// marked by a lower-case stream, as is the last if the line is open.
func (l *outputLog) line(b []byte, at string, stream byte, open bool, text []byte) []byte {
	for {
		piece := text[:min(len(text), l.o.maxLine)]
		text = text[len(piece):]
		mark := stream
		if len(text) > 0 || open {
			mark += 'a' - 'A'
		}
		b = append(append(append(b, at...), ' ', mark, ' '), piece...)
		b = append(b, '\n')
		if len(text) == 0 {
			return b
		}
	}
}

// write takes lines without their ends; the last is open if its end did not come yet. It never
// blocks on readers. Lines that the disk does not
// take are counted, and told of when it takes some again.
func (l *outputLog) write(stream byte, open bool, lines ...[]byte) {
	if len(lines) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.f == nil {
		return
	}
	at := l.now().UTC().Format(logTime)
	b := l.mu.buf[:0]
	if l.mu.missed > 0 {
		b = l.line(b, at, streamNote, false, fmt.Appendf(nil, "%d lines are missing here: the disk did not take them", l.mu.missed))
	}
	for i, text := range lines {
		b = l.line(b, at, stream, open && i == len(lines)-1, text)
	}
	l.mu.buf = b
	if cap(b) > 256<<10 {
		l.mu.buf = nil
	}
	if l.mu.size > 0 && l.mu.size+int64(len(b)) > l.o.maxFile {
		if err := l.rotateLocked(); err != nil {
			l.mu.missed += int64(len(lines))
			return
		}
	}
	n, err := l.mu.f.Write(b)
	if err != nil && n > 0 { // no half lines
		n = 0
		if err := l.mu.f.Truncate(l.mu.size); err != nil {
			l.mu.size = l.o.maxFile // the rest goes into another file
			l.mu.missed += int64(len(lines))
			return
		}
	}
	if err != nil {
		l.mu.missed += int64(len(lines))
		return
	}
	l.mu.missed = 0
	l.mu.size += int64(n)
	l.publish(l.mu.seq, l.mu.size)
}

// note writes a line of the agent's own.
func (l *outputLog) note(text string) {
	l.write(streamNote, false, []byte(strings.ReplaceAll(clip(text), "\n", " ")))
}

func (l *outputLog) publish(seq int, size int64) {
	l.end.Lock()
	defer l.end.Unlock()
	l.end.seq, l.end.size = seq, size
	close(l.end.changed)
	l.end.changed = make(chan struct{})
}

// close ends the log; readers that follow come to its end.
func (l *outputLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.f == nil {
		return nil
	}
	err := l.mu.f.Close()
	l.mu.f = nil
	l.end.Lock()
	defer l.end.Unlock()
	l.end.closed = true
	close(l.end.changed)
	l.end.changed = make(chan struct{})
	if err != nil {
		return fmt.Errorf("executor: close a log: %w", err)
	}
	return nil
}

// snapshot is what a reader may read now, and what tells of more.
func (l *outputLog) snapshot() (seq int, size int64, changed <-chan struct{}, closed bool) {
	l.end.Lock()
	defer l.end.Unlock()
	return l.end.seq, l.end.size, l.end.changed, l.end.closed
}

// lineSplitter makes lines of what one stream gives, in bounded memory. It belongs to the
// stream's goroutine.
type lineSplitter struct {
	max  int
	part []byte // a line whose end has not come
	out  [][]byte
}

// split returns the lines that end in p. They are valid until the next call, and share p.
// A line without an end in sight is cut at max: it is the last then, and open.
func (s *lineSplitter) split(p []byte) (lines [][]byte, open bool) {
	s.out = s.out[:0]
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if len(s.part)+len(p) > s.max {
				s.out = append(s.out, append(s.part, p...))
				s.part = nil
				return s.out, true
			}
			s.part = append(s.part, p...)
			return s.out, false
		}
		text := p[:i]
		if len(s.part) > 0 {
			text = append(s.part, text...)
			s.part = nil // text is handed out
		}
		s.out = append(s.out, text)
		p = p[i+1:]
	}
	return s.out, false
}

// rest is the line that had no end.
func (s *lineSplitter) rest() [][]byte {
	if len(s.part) == 0 {
		return nil
	}
	return [][]byte{s.part}
}

// logsBudget removes the logs of executors that have ended, the oldest first, until all
// take at most budget bytes. Those for which live returns true stay.
func logsBudget(root string, budget int64, live func(name string) bool) error {
	entries, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("executor: look for logs: %w", err)
	}
	type found struct {
		path string
		size int64
		at   time.Time
	}
	var total int64
	var old []found
	for _, e := range entries {
		f := found{path: filepath.Join(root, e.Name())}
		files, err := os.ReadDir(f.path)
		if err != nil {
			continue // no directory: not ours
		}
		for _, file := range files {
			if info, err := file.Info(); err == nil {
				f.size += info.Size()
				if info.ModTime().After(f.at) {
					f.at = info.ModTime()
				}
			}
		}
		total += f.size
		if !live(e.Name()) {
			old = append(old, f)
		}
	}
	slices.SortFunc(old, func(a, b found) int { return a.at.Compare(b.at) })
	for i, f := range old {
		if total <= budget && len(old)-i <= maxLogs {
			return nil
		}
		if err := os.RemoveAll(f.path); err != nil {
			return fmt.Errorf("executor: remove an old log: %w", err)
		}
		total -= f.size
	}
	return nil
}

// maxLogs bounds how many logs of ended executors are kept, however small.
const maxLogs = 1000
