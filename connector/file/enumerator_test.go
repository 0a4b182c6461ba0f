package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/operator"
)

// folder makes files with their name as content.
func folder(t testing.TB, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		p := filepath.Join(dir, n)
		ok(t, os.MkdirAll(filepath.Dir(p), 0o777))
		ok(t, os.WriteFile(p, []byte(n), 0o666))
	}
	return dir
}

func ids(dir string, d operator.Discovery) []string {
	var s []string
	for _, sp := range d.Splits {
		id := strings.TrimPrefix(sp.ID, dir+"/")
		s = append(s, id[:strings.LastIndexByte(id, ':')])
	}
	return s
}

func TestList(t *testing.T) {
	dir := folder(t, "a.txt", "b.txt", ".hidden", "_SUCCESS", "c.tmp", "d.inprogress", "sub/e.txt", "sub/deep/f.txt", ".git/g", "dt=1/x", "dt=2/y", "[z]", "empty")
	ok(t, os.Truncate(filepath.Join(dir, "empty"), 0))
	for _, c := range []struct {
		path string
		opts []TextOption
		want string
	}{
		{"", nil, "[z] a.txt b.txt"},
		{"", []TextOption{Recursive()}, "[z] a.txt b.txt dt=1/x dt=2/y sub/deep/f.txt sub/e.txt"},
		{"a.txt", nil, "a.txt"},
		{".hidden", nil, ".hidden"}, // it was named
		{"*.txt", nil, "a.txt b.txt"},
		{"dt=*/*", nil, "dt=1/x dt=2/y"},
		{"dt=*", nil, "dt=1/x dt=2/y"},
		{"?.txt", nil, "a.txt b.txt"},
		{"[ab].txt", nil, "a.txt b.txt"},
		{"[z]", nil, "[z]"},
		{"*/e.txt", nil, "sub/e.txt"},
	} {
		s := Text(filepath.Join(dir, c.path), c.opts...)
		e := must[operator.Enumerator](t)(s.Enumerator())
		d, err := e.Discover(context.Background())
		ok(t, err)
		if got := strings.Join(ids(dir, d), " "); got != c.want || !d.Done {
			t.Errorf("%q: got %q, want %q, done %t", c.path, got, c.want, d.Done)
		}
	}
	for path, want := range map[string]string{
		"nothing":  "no such file",
		"*.csv":    "no file matches",
		"[":        "syntax error",
		"no/*.csv": "no file matches",
	} {
		e := must[operator.Enumerator](t)(Text(filepath.Join(dir, path)).Enumerator())
		if _, err := e.Discover(context.Background()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", path, err, want)
		}
	}
	e := must[operator.Enumerator](t)(Text(dir, MaxFiles(2)).Enumerator())
	if _, err := e.Discover(context.Background()); err == nil || !strings.Contains(err.Error(), "MaxFiles") {
		t.Errorf("too many files: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	e = must[operator.Enumerator](t)(Text(dir).Enumerator())
	if _, err := e.Discover(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestBoundedOverRestart(t *testing.T) {
	dir := folder(t, "a", "b")
	e := must[operator.Enumerator](t)(Text(dir).Enumerator())
	d, err := e.Discover(context.Background())
	ok(t, err)
	if len(d.Splits) != 2 {
		t.Fatalf("%d splits", len(d.Splits))
	}
	saved := must[[]byte](t)(e.Snapshot())
	e = must[operator.Enumerator](t)(Text(dir).Enumerator())
	ok(t, e.Restore(saved))
	if d, err = e.Discover(context.Background()); err != nil || len(d.Splits) != 0 || !d.Done {
		t.Errorf("after a restart: %+v, %v", d, err)
	}
	if err := e.Restore([]byte("junk")); err == nil {
		t.Error("junk was restored")
	}
}

func TestWatch(t *testing.T) {
	dir := folder(t, "old")
	now := time.Now()
	age := func(name string, d time.Duration) {
		ok(t, os.Chtimes(filepath.Join(dir, name), time.Time{}, now.Add(-d)))
	}
	put := func(name, data string, d time.Duration) {
		ok(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o666))
		age(name, d)
	}
	age("old", time.Hour)
	src := Text(dir, Watch(time.Second))
	if !src.Info().Unbounded {
		t.Error("a watched source is bounded")
	}
	start := func(src operator.Source[string], saved []byte) *enumerator {
		e := must[operator.Enumerator](t)(src.Enumerator()).(*enumerator)
		e.now = func() time.Time { return now }
		if saved != nil {
			ok(t, e.Restore(saved))
		}
		return e
	}
	e := start(src, nil)
	next := func(want ...string) {
		t.Helper()
		d, err := e.Discover(context.Background())
		ok(t, err)
		if got := ids(dir, d); !slices.Equal(got, want) || d.Done || d.After != time.Second {
			t.Fatalf("got %q, want %q; %+v", got, want, d)
		}
	}
	next("old")
	next()
	put("growing", "a", 0)
	put("empty", "", time.Hour)
	put("renamed", "x", 2*time.Minute)
	put("second", "x", time.Minute)
	put(".hidden", "x", time.Minute)
	next("renamed", "second") // by age
	put("growing", "ab", 0)
	next() // not the same as before
	next("growing")
	put("empty", "now it is not", time.Minute)
	next("empty")

	// Over a restart nothing comes twice.
	e = start(src, must[[]byte](t)(e.Snapshot()))
	next()
	// A name may be used again when its file has been away.
	ok(t, os.Remove(filepath.Join(dir, "old")))
	next()
	if _, ok := e.seen[filepath.Join(dir, "old")]; ok {
		t.Error("a removed file is remembered")
	}
	put("old", "new content", time.Minute)
	next("old")
	// But not be written over.
	put("old", "newer content", time.Minute)
	if _, err := e.Discover(context.Background()); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "IgnoreChanged") {
		t.Errorf("a changed file: %v", err)
	}
	e = start(Text(dir, Watch(time.Second), IgnoreChanged()), must[[]byte](t)(e.Snapshot()))
	next()
}

func TestListingIsCompact(t *testing.T) {
	e := &enumerator{set: settings{watch: time.Second}, seen: map[string]stamp{}}
	for i := range 10_000 {
		e.seen[fmt.Sprintf("/data/clicks/dt=2026-01-%02d/part-%08d.jsonl.gz", i%30, i*7919)] = stamp{int64(1_000_000 + i*31%5000), 1_700_000_000_000_000_000 + int64(i)*1_234_567_891}
	}
	b := must[[]byte](t)(e.Snapshot())
	if n := len(b) / len(e.seen); n > 30 {
		t.Errorf("%d bytes for each file", n)
	}
	var again enumerator
	ok(t, again.Restore(b))
	if len(again.seen) != len(e.seen) {
		t.Errorf("%d files of %d", len(again.seen), len(e.seen))
	}
	for p, s := range e.seen {
		if again.seen[p] != s {
			t.Fatalf("%s is %v, was %v", p, again.seen[p], s)
		}
	}
}

func TestReaderPause(t *testing.T) {
	dir := folder(t, "a", "b")
	r := run[string]{t: t, src: Text(dir)}
	splits, err := r.discover()
	ok(t, err)
	rd := r.reader()
	defer rd.Close()
	for _, s := range splits {
		ok(t, rd.Add(s))
	}
	rd.Pause(splits[0].ID, true)
	var into operator.Records[string]
	_, err = rd.Read(&into, 10)
	ok(t, err)
	if !slices.Equal(into.Values, []string{"b"}) || !into.Done || rd.Where() == "" {
		t.Errorf("got %q of %q, done %t", into.Values, into.Split, into.Done)
	}
	st, err := rd.Read(&into, 10)
	if err != nil || !st.Wait {
		t.Errorf("only paused splits: %v, %v", st, err)
	}
	rd.Pause(splits[0].ID, false)
	into = operator.Records[string]{}
	if _, err = rd.Read(&into, 10); err != nil || !slices.Equal(into.Values, []string{"a"}) {
		t.Errorf("got %q, %v", into.Values, err)
	}
	if err := rd.Add(operator.Split{ID: "x", Data: []byte("junk")}); err == nil {
		t.Error("junk was added")
	}
}
