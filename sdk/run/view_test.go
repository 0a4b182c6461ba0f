package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
)

func exampleView() view {
	return view{Job: "clicks", State: "running", Elapsed: 12400 * time.Millisecond, Epochs: 12, Epoch: 12, Bad: 2, Late: 1234, Ports: []port{
		{Source: true, Operator: "s1", Name: "history", Records: 12345678, Bytes: 1.5e9, RecordRate: 1234567, ByteRate: 84.12e6, Bad: 2,
			Bounded: true, Done: 57, Total: 100, ETA: 9 * time.Second, Watermark: flow.TimeOf(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), Lag: 48 * time.Hour},
		{Source: true, Operator: "s2", Name: "live", Records: 950, RecordRate: 95, Watermark: 1, Lag: 1250 * time.Millisecond},
		{Operator: "k", Name: "files\x1b[2J", Records: 1000000, RecordRate: 99950, Watermark: flow.MinTime},
	}}
}

func TestBlock(t *testing.T) {
	want := []string{
		`clicks  running 12.4s  epoch 12  bad 2  late 1,234`,
		`  source  history         12,345,678  1.23M/s  84.1 MB/s  ███████████░░░░░░░░░  57%  ETA 9.0s  at 2026-01-02 03:04:05  bad 2`,
		`  source  live                   950     95/s             lag 1.2s`,
		`  sink    "files\x1b[2J"   1,000,000   100k/s`,
	}
	if diff := cmp.Diff(want, block(exampleView(), 200, 24)); diff != "" {
		t.Error(diff)
	}
	if lines := block(exampleView(), 40, 4); len(lines) != 3 || lines[2] != "  and 2 more" {
		t.Errorf("a low terminal gets %q", lines)
	}
}

func TestBlockFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width, height := rapid.IntRange(20, 150).Draw(t, "width"), rapid.IntRange(4, 30).Draw(t, "height")
		v := view{Job: rapid.String().Draw(t, "job"), State: "running", Epochs: 3, Epoch: 3}
		for i := range rapid.IntRange(1, 40).Draw(t, "ports") {
			done, total := rapid.Int64Range(0, 1e12).Draw(t, "done"), rapid.Int64Range(0, 1e12).Draw(t, "total")
			v.Ports = append(v.Ports, port{Source: i%2 == 0, Name: rapid.String().Draw(t, "name"), Records: rapid.Int64Min(0).Draw(t, "records"),
				Bounded: true, Done: done, Total: total})
		}
		lines := block(v, width, height)
		if len(lines) >= height {
			t.Errorf("%d lines on a terminal of %d", len(lines), height)
		}
		for _, l := range lines {
			if n := utf8.RuneCountInString(l); n >= width || strings.ContainsAny(l, "\n\r\x1b") {
				t.Errorf("line %q of %d characters on a terminal of %d", l, n, width)
			}
		}
	})
}

func TestLines(t *testing.T) {
	v := exampleView()
	for _, c := range []struct{ got, want string }{
		{progressLine(v), `weir: job "clicks" running 12.4s: in history 12,345,678 (1.23M/s, 57%, ETA 9.0s, at 2026-01-02 03:04:05), ` +
			`in live 950 (95/s, lag 1.2s), out "files\x1b[2J" 1,000,000 (100k/s); epochs 12; bad 2; late 1,234`},
		{summary(v), `weir: job "clicks" running 12.4s: in history 12,345,678 (1.50 GB), in live 950, out "files\x1b[2J" 1,000,000; epochs 12; bad 2; late 1,234`},
	} {
		if c.got != c.want {
			t.Errorf("got  %s\nwant %s", c.got, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{thousands(0), "0"}, {thousands(-1234), "-1,234"}, {thousands(-123), "-123"}, {thousands(999999), "999,999"},
		{si(0), "0"}, {si(999.4), "999"}, {si(999.6), "1.00k"}, {si(99960), "100k"}, {si(9.996e6), "10.0M"}, {si(1e18), "1000000T"},
		{elapsed(0), "0ms"}, {elapsed(-1500 * time.Millisecond), "-1.5s"}, {elapsed(900 * time.Microsecond), "0.9ms"},
		{elapsed(59999 * time.Millisecond), "59.9s"}, {elapsed(125 * time.Second), "2m05s"}, {elapsed(26*time.Hour + time.Minute), "26h01m"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

func TestScreen(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	s := newScreen(&out)
	s.now = func() time.Time { return now }
	fmt.Fprintln(s, "before")
	s.draw([]string{"a", "b"})
	now = now.Add(time.Second)
	fmt.Fprint(s, "no newline")
	fmt.Fprintln(s, "at once")
	s.draw([]string{"c"})
	s.leave()
	fmt.Fprintln(s, "after")
	want := "before\na\nb\n" + "\x1b[2A\r\x1b[J" + "no newline\na\nb\n" + "\x1b[2A\r\x1b[J" + "at once\n" + "c\n" + "after\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestScreenCopiesWholeLines(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	var out bytes.Buffer
	newScreen(&out).copy(strings.NewReader("one\ntw" + "o\n" + long + "\nend"))
	if want := "one\ntwo\n" + long + "\nend"; out.String() != want {
		t.Errorf("%d bytes came out, not %d, or others", out.Len(), len(want))
	}
}

func TestReport(t *testing.T) {
	var out bytes.Buffer
	v := exampleView()
	v.State = "failed"
	if err := writeReport(&out, v, fmt.Errorf("below: %w", &flow.Failure{Operator: "s1", Name: "history", Domain: flow.DomainUser, Message: "<bad>"})); err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	want := report{Job: "clicks", State: "failed", Wall: 12.4, Bad: 2, Late: 1234, Epochs: 12, Epoch: 12,
		Sources: []portReport{{"s1", "history", 12345678, 1.5e9, 2}, {"s2", "live", 950, 0, 0}},
		Sinks:   []portReport{{"k", "files\x1b[2J", 1000000, 0, 0}},
		Cause:   &causeReport{Operator: "s1", Name: "history", Domain: "user", Message: "<bad>"}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
}

func TestMistakes(t *testing.T) {
	a, b := errors.New("a"), errors.New("b\nc")
	for _, c := range []struct {
		err  error
		want []string
	}{
		{a, []string{"a"}},
		{fmt.Errorf("x: %w", a), []string{"x: a"}},
		{fmt.Errorf("x: %w", errors.Join(a, fmt.Errorf("y: %w", errors.Join(b, a)))), []string{"x: a", "x: y: b; c", "x: y: a"}},
		{fmt.Errorf("%w and %w", a, b), []string{"a and b; c"}},
		{errors.Join(nil, a), []string{"a"}},
	} {
		if diff := cmp.Diff(c.want, mistakes(c.err)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestUserStack(t *testing.T) {
	frames := func(names ...string) string {
		s := "goroutine 7 [running]:\n"
		for _, n := range names {
			s += n + "\n\t/file.go:1 +0x1\n"
		}
		return s
	}
	engine := enginePath + "operator.(*mapper).Receive(0x1)"
	got, hidden := userStack(frames("runtime/debug.Stack()", engine, "panic({0x1, 0x2})", "runtime.goPanicIndex(0x3)",
		"main.inner(...)", enginePath+"operator.(*Value).Get(0x1)", "main.outer(0x1)", engine, "runtime/pprof.Do({0x1})", "created by "+engine+" in goroutine 1"))
	if want := "main.inner(...)\n\t/file.go:1 +0x1\n" + enginePath + "operator.(*Value).Get(0x1)\n\t/file.go:1 +0x1\nmain.outer(0x1)\n\t/file.go:1 +0x1\n"; got != want || hidden != 7 {
		t.Errorf("got %d hidden frames and\n%s", hidden, got)
	}
	for _, s := range []string{"", "x", frames(), frames("panic(1)"), frames("panic(1)", engine)} {
		if got, hidden := userStack(s); got != s || hidden != 0 {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func TestFlags(t *testing.T) {
	env := map[string]string{"WEIR_PARALLELISM": "3", "WEIR_EPOCH": "10s", "WEIR_FORMAT": "json", "WEIR_QUIET": ""}
	lookup := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	var f Flags
	fs := flag.NewFlagSet("p", flag.ContinueOnError)
	if err := f.Register(fs, lookup); err != nil {
		t.Fatal(err)
	}
	if err := fs.Parse([]string{"--parallelism", "2", "--no-chaining", "-o", "text", "--log-level=debug", "rest"}); err != nil {
		t.Fatal(err)
	}
	if f.Options.Parallelism != 2 || f.Options.Epoch != 10*time.Second || !f.Options.NoChaining || f.JSON || f.Quiet || f.level() >= 0 {
		t.Errorf("got %+v", f)
	}

	env["WEIR_BATCH_SIZE"] = "0"
	fs = flag.NewFlagSet("p", flag.ContinueOnError)
	fs.String("o", "", "the program's own")
	err := new(Flags).Register(fs, lookup)
	want := []string{`environment variable WEIR_BATCH_SIZE="0": it must be a whole number of at least 1`,
		"the program's flag -o has the name of a flag of the engine: give it another"}
	if diff := cmp.Diff(want, mistakes(err)); diff != "" {
		t.Error(diff)
	}
}
