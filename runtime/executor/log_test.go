package executor

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/api"
)

var rewrite = flag.Bool("rewrite-forms", false, "write the golden files anew")

func fixedTime() time.Time {
	return time.Date(2026, 2, 3, 4, 5, 6, 7000, time.FixedZone("X", 3600))
}

func openLog(t *testing.T, dir string, o logOptions) *outputLog {
	t.Helper()
	l, err := newLog(dir, o, fixedTime)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// logManager reads logs, and runs nothing.
func logManager(t *testing.T, live map[api.AllocID]*outputLog) *Manager {
	m := &Manager{o: Options{Dir: t.TempDir()}}
	m.mu.allocs = map[api.AllocID]*alloc{}
	for id, l := range live {
		x := lostAlloc(m, id, "")
		x.log.Store(l)
		m.mu.allocs[id] = x
	}
	return m
}

// TestLogForm holds the bytes of a log fast: logs are read by the next release too.
func TestLogForm(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, logOptions{maxFile: 300, files: 3, maxLine: 20})
	s := lineSplitter{max: 20}
	for _, p := range []string{"one line\n", "half a li", "ne\r\n\n", strings.Repeat("0123456789", 5), " and the rest\n", "no end"} {
		lines, open := s.split([]byte(p))
		l.write(streamOut, open, lines...)
	}
	l.write(streamErr, false, []byte("panic: \xff\x00"))
	l.note("ended: exit\ncode 2")
	l.write(streamOut, false, s.rest()...)
	seqs, err := logFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for _, seq := range seqs {
		b, err := os.ReadFile(filepath.Join(dir, logName(seq)))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "== %s\n%s", logName(seq), b)
	}
	golden := "testdata/log-form.txt"
	if *rewrite {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Fatal(diff)
	}
}

// TestSplitter gives a stream in any pieces: no byte is lost, no line longer than the bound and
// one piece, and pieces joined by their marks are the lines that were written.
func TestSplitter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab\n")), 0, 200, -1).Draw(t, "text")
		s := lineSplitter{max: rapid.IntRange(1, 30).Draw(t, "max")}
		var got strings.Builder
		for rest := []byte(text); len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			piece := bytes.Clone(rest[:n])
			rest = rest[n:]
			lines, open := s.split(piece)
			for i, l := range lines {
				got.Write(l)
				if !open || i < len(lines)-1 {
					got.WriteByte('\n')
				}
			}
			clear(piece) // it is the reader's again
		}
		for _, l := range s.rest() {
			got.Write(l)
		}
		if got.String() != text {
			t.Fatalf("%q became %q", text, got.String())
		}
	})
}

// TestLogRotates has a log with few small files: the newest lines are there, whole.
func TestLogRotates(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, logOptions{maxFile: 500, files: 3, maxLine: 100})
	for i := range 200 {
		l.write(streamOut, false, fmt.Appendf(nil, "line %d", i))
	}
	seqs, err := logFiles(dir)
	if err != nil || len(seqs) != 3 {
		t.Fatal(seqs, err)
	}
	for _, seq := range seqs {
		if info, err := os.Stat(filepath.Join(dir, logName(seq))); err != nil || info.Size() > 500 {
			t.Fatal(info, err)
		}
	}
	m := logManager(t, map[api.AllocID]*outputLog{"a": l})
	l.dir, m.o.Dir = dir, filepath.Dir(dir)
	for _, tail := range []int{1, 3, 15, 25} {
		r := &logReader{ctx: t.Context(), dir: dir, live: l, done: make(chan struct{})}
		if err := r.begin(tail); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		if len(lines) != tail || !strings.HasSuffix(lines[0], fmt.Sprintf("O line %d", 200-tail)) || !strings.HasSuffix(lines[tail-1], "O line 199") {
			t.Fatalf("tail %d:\n%s", tail, b)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLogFollow has readers follow a writer: those that keep up see every line once, in order,
// and all come to the end. One that lags is told what it has missed.
func TestLogFollow(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "logs", "a")
	l := openLog(t, dir, logOptions{maxFile: 4 << 10, files: 1000, maxLine: 100})
	m := logManager(t, map[api.AllocID]*outputLog{"a": l})
	m.o.Dir = root
	const n = 2000
	var wg sync.WaitGroup
	for range 3 {
		r, err := m.Logs(t.Context(), "a", LogOptions{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer r.Close()
			b, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
			}
			i := 0
			for line := range strings.Lines(string(b)) {
				if !strings.HasSuffix(line, fmt.Sprintf(" O line %d\n", i)) {
					t.Errorf("line %d is %q", i, line)
					return
				}
				i++
			}
			if i != n {
				t.Errorf("%d lines", i)
			}
		})
	}
	for i := range n {
		l.write(streamOut, false, fmt.Appendf(nil, "line %d", i))
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()

	// The same log by the next agent, which does not write it.
	next := logManager(t, nil)
	next.o.Dir = root
	r, err := next.Logs(t.Context(), "a", LogOptions{Tail: 2, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil || strings.Count(string(b), "\n") != 2 || !strings.HasSuffix(string(b), "line 1999\n") {
		t.Fatalf("%q, %v", b, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := next.Logs(t.Context(), "b", LogOptions{}); !errors.Is(err, ErrNoLog) {
		t.Fatal(err)
	}
	for _, bad := range []api.AllocID{"", "..", "../logs/a", "a/..", ".a", "a\x00"} {
		if _, err := next.Logs(t.Context(), bad, LogOptions{}); err == nil || errors.Is(err, ErrNoLog) {
			t.Fatalf("%q: %v", bad, err)
		}
	}
}

func TestLogLags(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "logs", "a")
	l := openLog(t, dir, logOptions{maxFile: 200, files: 2, maxLine: 100})
	m := logManager(t, map[api.AllocID]*outputLog{"a": l})
	m.o.Dir = root
	l.write(streamOut, false, []byte("first"))
	r, err := m.Logs(t.Context(), "a", LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := r.Read(buf); err != nil || !strings.HasSuffix(string(buf[:n]), "O first\n") {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	for i := range 100 {
		l.write(streamOut, false, fmt.Appendf(nil, "line %d", i))
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "were removed before they were read") || !strings.HasSuffix(string(b), "line 99\n") {
		t.Fatalf("%s", b)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLogReaderEnds wants that a reader which waits ends when it is closed and with its context.
func TestLogReaderEnds(t *testing.T) {
	root := t.TempDir()
	l := openLog(t, filepath.Join(root, "logs", "a"), logOptions{maxFile: 200, files: 2, maxLine: 100})
	m := logManager(t, map[api.AllocID]*outputLog{"a": l})
	m.o.Dir = root
	why := errors.New("why")
	for _, closed := range []bool{true, false} {
		ctx, cancel := context.WithCancelCause(t.Context())
		r, err := m.Logs(ctx, "a", LogOptions{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 1)
		go func() {
			_, err := r.Read(make([]byte, 10))
			errs <- err
		}()
		want := why
		if closed {
			want = os.ErrClosed
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			cancel(why)
		}
		if err := <-errs; !errors.Is(err, want) {
			t.Fatal(err)
		}
		cancel(nil)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLogDiskFull has a disk that is full for a while: the writer goes on, and the log says what
// is missing.
func TestLogDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full here")
	}
	dir := t.TempDir()
	l := openLog(t, dir, logOptions{maxFile: 1 << 20, files: 2, maxLine: 100})
	l.write(streamOut, false, []byte("before"))
	l.mu.Lock()
	real := l.mu.f
	l.mu.f = full
	l.mu.Unlock()
	if _, err := full.Write([]byte("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	l.write(streamOut, false, []byte("lost"), []byte("lost too"))
	l.write(streamErr, false, []byte("and this"))
	l.mu.Lock()
	l.mu.f = real
	l.mu.Unlock()
	if err := full.Close(); err != nil {
		t.Fatal(err)
	}
	l.write(streamOut, false, []byte("after"))
	b, err := os.ReadFile(filepath.Join(dir, logName(1)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(b)) {
		got = append(got, strings.TrimSpace(line[len(logTime)+1:]))
	}
	if diff := cmp.Diff([]string{"O before", "A 3 lines are missing here: the disk did not take them", "O after"}, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestLogsBudget(t *testing.T) {
	root := t.TempDir()
	for i := range 6 {
		dir := filepath.Join(root, fmt.Sprint("a", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, logName(1))
		at := time.Unix(int64(1000+i), 0)
		if err := errors.Join(os.WriteFile(path, make([]byte, 100), 0o644), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := logsBudget(root, 350, func(name string) bool { return name == "a0" }); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(root, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if !slices.Equal(left, []string{"a0", "a4", "a5"}) {
		t.Fatal(left)
	}
}

func TestLastWords(t *testing.T) {
	say := func(lines ...string) ([]string, string) {
		w := &lastWords{}
		for _, l := range lines {
			w.say([]byte(l))
		}
		return w.lines()
	}
	if lines, head := say(); len(lines) != 0 || head != "" {
		t.Fatal(lines, head)
	}
	if lines, head := say("a", "b\r"); !slices.Equal(lines, []string{"a", "b"}) || head != "b" {
		t.Fatal(lines, head)
	}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprint("line ", i))
	}
	if lines, head := say(many...); len(lines) != lastLines || lines[0] != "line 80" || head != "line 99" {
		t.Fatal(lines, head)
	}
	many[50] = "panic: boom"
	lines, head := say(many...)
	if head != "panic: boom" || lines[0] != head || lines[11] != "line 61" || lines[12] != "... 18 lines ..." || lines[13] != "line 80" || len(lines) != 33 {
		t.Fatal(lines, head)
	}
	many[75] = "fatal error: boom" // its head and the last lines overlap
	lines, head = say(many...)
	if head != "fatal error: boom" || len(lines) != 25 || lines[5] != "line 80" {
		t.Fatal(lines, head)
	}
	many[95] = "panic: last"
	if lines, head = say(many...); len(lines) != lastLines || head != "panic: last" {
		t.Fatal(lines, head)
	}
	if lines, _ := say(strings.Repeat("x", 1<<20) + "\xff"); len(lines[0]) > lastLineMax+4 {
		t.Fatal(len(lines[0]))
	}
}

// FuzzTail reads the end of any file, as a crash may leave it.
func FuzzTail(f *testing.F) {
	f.Add([]byte("a\nb\nc"), 2)
	f.Add([]byte("\n\n\n"), 1)
	f.Fuzz(func(t *testing.T, content []byte, n int) {
		if n < 1 || n > 1000 {
			t.Skip()
		}
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		off, lines, err := tailOf(path, -1, n)
		if err != nil {
			t.Fatal(err)
		}
		all := slices.Collect(bytes.Lines(content))
		want := all[max(0, len(all)-n):]
		if !bytes.Equal(content[off:], bytes.Join(want, nil)) || lines != len(want) {
			t.Fatalf("%d lines of %q: %q, %d", n, content, content[off:], lines)
		}
	})
}

// FuzzEvents reads events of any bytes.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("{\"ready\":{\"data\":\"h:1\"}}\n{}\n\n"), 40)
	f.Add([]byte("{\"job\":{\"epoch\":-1}}\x00"), 5)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		if limit < 1 || limit > 1000 {
			t.Skip()
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		m := &Manager{o: Options{MaxEvent: limit}}
		x := newAlloc(m, api.Assignment{})
		log, err := newLog(t.TempDir(), logOptions{maxFile: 1 << 20, files: 2, maxLine: 1000}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		l := newLife(testLimits, 0, api.Assignment{})
		l.spawned(0, 1)
		l.take()
		var wg sync.WaitGroup
		wg.Go(func() { x.hear(log, r); close(x.events) })
		wg.Go(func() {
			_, _ = w.Write(b)
			_ = w.Close()
		})
		for e := range x.events {
			l.event(0, e)
			l.take()
		}
		wg.Wait()
		if err := errors.Join(r.Close(), log.close()); err != nil {
			t.Fatal(err)
		}
		if l.phase != living {
			t.Fatal("an event has ended it")
		}
	})
}

// BenchmarkLog writes lines as an executor that prints much gives them.
func BenchmarkLog(b *testing.B) {
	l, err := newLog(b.TempDir(), logOptions{maxFile: 8 << 20, files: 4, maxLine: 16 << 10}, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	defer l.close()
	r := rand.New(rand.NewPCG(1, 1))
	var chunk []byte
	for len(chunk) < 32<<10 {
		chunk = append(append(chunk, bytes.Repeat([]byte("x"), 20+r.IntN(100))...), '\n')
	}
	s := lineSplitter{max: 16 << 10}
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		lines, open := s.split(chunk)
		l.write(streamOut, open, lines...)
	}
}
