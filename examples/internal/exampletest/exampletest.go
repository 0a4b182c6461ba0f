// Package exampletest runs the examples in their tests: over input that ends and
// over input that does not, with one subtask and with two. Each way has to give
// the results that stand in a golden file.
//
// Its words: a golden file holds results as sorted lines; data is a file that a
// test can make again. `go test ./examples/... -args -rewrite` writes both anew, for
// review.
//
// Its functions are called by the test's goroutine.
package exampletest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

var rewrite = flag.Bool("rewrite", false, "write golden files and data anew")

// Golden compares the results, which may be in any order, with a golden file. It
// reports whether they were the same.
func Golden(t *testing.T, name string, results []string) bool {
	t.Helper()
	got := slices.Sorted(slices.Values(results))
	if *rewrite {
		Data(t, name, []byte(strings.Join(got, "\n")+"\n"))
		return true
	}
	want := ReadGolden(t, name)
	for i := range max(len(got), len(want)) {
		if g, w := line(got, i), line(want, i); g != w {
			t.Errorf("%s: %d results, want %d; the first that differs is number %d\n got %s\nwant %s", name, len(got), len(want), i+1, g, w)
			return false
		}
	}
	return true
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(none)"
}

// ReadGolden returns the lines of a golden file.
func ReadGolden(t *testing.T, name string) []string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// Data checks that a file is what its generator makes.
func Data(t *testing.T, name string, made []byte) {
	t.Helper()
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, made, 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if is, err := os.ReadFile(name); err != nil || !bytes.Equal(is, made) {
		t.Errorf("%s is not what its generator makes (%d bytes, want %d, error %v); see -rewrite", name, len(is), len(made), err)
	}
}

// JSONLines is the records as lines of JSON.
func JSONLines[T any](t *testing.T, records []T) []string {
	t.Helper()
	lines := make([]string, len(records))
	for i := range records {
		b, err := json.Marshal(&records[i])
		if err != nil {
			t.Fatal(err)
		}
		lines[i] = string(b)
	}
	return lines
}

// Lines returns the lines of all files of a folder, subtask by subtask and in the
// order in which each was written. Files that are not in their final state are left
// out.
func Lines(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			files = append(files, e.Name())
		}
	}
	slices.SortFunc(files, func(a, b string) int { return slices.Compare(numbers(a), numbers(b)) })
	var lines []string
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")...)
	}
	return lines
}

// numbers are the subtask, epoch and number in the name of a sink's file.
func numbers(name string) []int {
	n := make([]int, 3)
	fields := strings.Split(strings.SplitN(name, ".", 2)[0], "-")
	for i, f := range fields[max(0, len(fields)-3):] {
		fmt.Sscan(f, &n[i])
	}
	return n
}

// Final fails the test if a folder holds anything but finished files.
func Final(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && (strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), ".inprogress")) {
			t.Errorf("%s was left behind", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Copy copies files to a folder, with a rename at the end, as those should who add
// files to a folder that is watched.
func Copy(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		Add(t, filepath.Join(dir, filepath.Base(name)), data)
	}
}

// Add writes a file under another name and renames it. It is one of long ago also by
// the clock of a testing/synctest bubble, so that who watches the folder takes it at
// once.
func Add(t *testing.T, name string, data []byte) {
	t.Helper()
	tmp, past := name+".tmp", time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tmp, data, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(tmp, past, past); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, name); err != nil {
		t.Fatal(err)
	}
}

// EveryWay calls f with the options of each run that has to give the same results.
func EveryWay(t *testing.T, f func(t *testing.T, o run.Options)) {
	for _, o := range []run.Options{{Parallelism: 1}, {Parallelism: 2}, {Parallelism: 2, BatchSize: 7, NoChaining: true}} {
		t.Run(fmt.Sprintf("parallelism=%d,batch=%d", o.Parallelism, o.BatchSize), func(t *testing.T) { f(t, o) })
	}
}

// Bounded runs a pipeline to the end of its input.
func Bounded(t *testing.T, o run.Options, build func(p *sdk.Pipeline) error) {
	t.Helper()
	p := sdk.New("test")
	if err := build(p); err != nil {
		t.Fatal(err)
	}
	if err := run.Run(t.Context(), p, o); err != nil {
		t.Fatal(err)
	}
}

// Unbounded runs a pipeline over input without end until each step in turn has
// reported true, and stops it. The clock is that of a testing/synctest bubble:
// seconds pass at once when there is nothing to do.
func Unbounded(t *testing.T, o run.Options, build func(p *sdk.Pipeline) error, steps ...func() bool) {
	synctest.Test(t, func(t *testing.T) {
		UnboundedNow(t, o, build, func() { time.Sleep(100 * time.Millisecond) }, steps...)
	})
}

// UnboundedNow is Unbounded by the real clock, for input from outside the process.
// wait lets some time pass.
func UnboundedNow(t *testing.T, o run.Options, build func(p *sdk.Pipeline) error, wait func(), steps ...func() bool) {
	t.Helper()
	p := sdk.New("test")
	if err := build(p); err != nil {
		t.Fatal(err)
	}
	stop, ended := make(chan struct{}), make(chan error, 1)
	o.Stop = stop
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	go func() { ended <- run.Run(ctx, p, o) }()
	for i, step := range steps {
		for !step() {
			select {
			case err := <-ended:
				t.Fatalf("the job ended while it was waited for step %d: %v", i+1, err)
			default:
			}
			wait()
		}
	}
	close(stop)
	if err := <-ended; !errors.Is(err, run.ErrStopped) {
		t.Fatalf("the job ended with %v, want that it was stopped", err)
	}
}

// Wait is a step that lets some time pass.
func Wait(d time.Duration) func() bool {
	var since time.Time
	return func() bool {
		if since.IsZero() {
			since = time.Now()
		}
		return time.Since(since) >= d
	}
}
