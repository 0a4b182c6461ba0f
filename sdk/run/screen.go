package run

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// screen is the terminal, or what stands in for it: progress is drawn there as a
// block of lines that is drawn over again, and everything else goes above the
// block. Any goroutine may call it.
//
// The hard part is what others print. The engine's log and the standard library's
// log are handed to Write, which is synchronous: nothing is lost when the process
// ends behind it. What the job prints on the standard output is captured with a
// pipe (see capture) where that is the same terminal, and only there. What is
// written to the standard error behind the screen's back, by a crash for
// example, is left alone: it is seen, and at worst the block is drawn twice.
type screen struct {
	out io.Writer
	now func() time.Time
	mu  struct {
		sync.Mutex
		lines []string // of the block
		shown int      // how many of them are on the screen
		at    time.Time
	}
}

func newScreen(out io.Writer) *screen { return &screen{out: out, now: time.Now} }

// redrawAfter is the time from one drawing of the block to the next when others
// print meanwhile: a job that prints much shall not spend its time on progress.
const redrawAfter = 50 * time.Millisecond

// eraseLocked takes the block away: up to its first line, and clear from there.
func (s *screen) eraseLocked(b *bytes.Buffer) {
	if s.mu.shown > 0 {
		fmt.Fprintf(b, "\x1b[%dA\r\x1b[J", s.mu.shown)
	}
	s.mu.shown = 0
}

func (s *screen) drawLocked(b *bytes.Buffer, now time.Time) {
	for _, l := range s.mu.lines {
		b.WriteString(l + "\n")
	}
	s.mu.shown, s.mu.at = len(s.mu.lines), now
}

// draw replaces the block. No lines take it away.
func (s *screen) draw(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b bytes.Buffer
	s.eraseLocked(&b)
	s.mu.lines = lines
	s.drawLocked(&b, s.now())
	s.out.Write(b.Bytes())
}

// leave ends the drawing: the block stays where it is, as text.
func (s *screen) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.lines, s.mu.shown = nil, 0
}

// Write prints above the block. p is whole lines, or is made so. The lock is held
// while writing: it is there to keep lines and block apart.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.lines) == 0 {
		return s.out.Write(p)
	}
	var b bytes.Buffer
	s.eraseLocked(&b)
	b.Write(p)
	if !bytes.HasSuffix(p, []byte("\n")) {
		b.WriteByte('\n')
	}
	// Left out now, the block comes back with the next call of draw.
	if now := s.now(); now.Sub(s.mu.at) >= redrawAfter {
		s.drawLocked(&b, now)
	}
	if _, err := s.out.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// capture puts a pipe in the place of os.Stdout, and what comes out of it on the
// screen. The function that it returns undoes that after all has been printed.
func (s *screen) capture() (restore func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	stdout, done := os.Stdout, make(chan struct{})
	os.Stdout = w
	go func() {
		defer close(done)
		s.copy(r)
		r.Close()
	}()
	return func() {
		os.Stdout = stdout
		w.Close()
		<-done
	}, nil
}

// copy prints whole lines as they come. A line that does not end is kept back
// until it does or grows too long.
func (s *screen) copy(r io.Reader) {
	const most = 64 << 10
	buf := make([]byte, 0, most)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		end := bytes.LastIndexByte(buf, '\n') + 1
		if err != nil || len(buf) == cap(buf) && end == 0 {
			end = len(buf)
		}
		if end > 0 {
			s.Write(buf[:end])
			buf = buf[:copy(buf, buf[end:])]
		}
		if err != nil {
			return
		}
	}
}

// terminals says what the process's outputs are.
type terminals struct {
	stderr bool // progress may be drawn there
	same   bool // the standard output is the same terminal
}

func findTerminals(getenv func(string) (string, bool)) terminals {
	t := terminals{stderr: term.IsTerminal(int(os.Stderr.Fd()))}
	if kind, _ := getenv("TERM"); kind == "" || strings.HasPrefix(kind, "dumb") {
		t.stderr = false
	}
	if t.stderr && term.IsTerminal(int(os.Stdout.Fd())) {
		a, errA := os.Stdout.Stat()
		b, errB := os.Stderr.Stat()
		t.same = errA == nil && errB == nil && os.SameFile(a, b)
	}
	return t
}

// size is the terminal's, or a usual one's.
func size() (columns, rows int) {
	columns, rows, err := term.GetSize(int(os.Stderr.Fd()))
	if err != nil || columns < 20 || rows < 4 {
		return 80, 24
	}
	return columns, rows
}
