package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/weirflow/weir/examples/internal/exampletest"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

const (
	february, march = "testdata/february", "testdata/march"
	customersFile   = "testdata/customers.json"
	shownGolden     = "testdata/golden/dashboard.txt" // the lines in their order
)

var results = []string{"revenue", "sellers", "missed"}

func golden(kind string) string { return "testdata/golden/" + kind + ".jsonl" }

// job is the pipeline with its results below dir. The lookup takes no time.
func job(c config, dir string) func(p *sdk.Pipeline) error {
	c.customers, c.output = customersFile, dir
	if c.screen == nil {
		c.screen = io.Discard
	}
	return func(p *sdk.Pipeline) error { return build(p, c) }
}

func same(t *testing.T, dir string) {
	t.Helper()
	for _, kind := range results {
		exampletest.Golden(t, golden(kind), exampletest.Lines(t, filepath.Join(dir, kind)))
	}
	exampletest.Final(t, dir)
}

// add copies a kind of files to a folder.
func add(t *testing.T, dir, kind, from string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(from, kind, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s/%s: %v", from, kind, err)
	}
	exampletest.Copy(t, filepath.Join(dir, kind), files...)
}

// both is a folder with the files of both months.
func both(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, kind := range []string{"orders", "rates"} {
		add(t, dir, kind, february)
		add(t, dir, kind, march)
	}
	return dir
}

func TestBounded(t *testing.T) {
	in := both(t)
	exampletest.EveryWay(t, func(t *testing.T, o run.Options) {
		dir, screen := t.TempDir(), &bytes.Buffer{}
		exampletest.Bounded(t, o, job(config{history: in, screen: screen}, dir))
		same(t, dir)
		exampletest.Data(t, shownGolden, screen.Bytes())
	})
}

// TestHistoryThenLive has February as the history, and March comes while the job
// runs.
func TestHistoryThenLive(t *testing.T) {
	exampletest.EveryWay(t, func(t *testing.T, o run.Options) {
		unbounded(t, o, config{history: february, live: emptyShop(t)}, march)
	})
}

// TestLive has no history: all comes while the job runs.
func TestLive(t *testing.T) {
	exampletest.EveryWay(t, func(t *testing.T, o run.Options) {
		unbounded(t, o, config{live: emptyShop(t)}, february, march)
	})
}

// unbounded runs the job. Month by month, the rates come to the live folder and
// after a while the orders.
func unbounded(t *testing.T, o run.Options, c config, months ...string) {
	t.Helper()
	dir, screen := t.TempDir(), &bytes.Buffer{}
	c.screen = screen
	var steps []func() bool
	for _, month := range months {
		for _, kind := range []string{"rates", "orders"} {
			var came time.Time
			steps = append(steps,
				func() bool { add(t, c.live, kind, month); came = time.Now(); return true },
				func() bool { return time.Since(came) > 5*time.Second })
		}
	}
	has := func(kind string, n int) bool { return len(exampletest.Lines(t, filepath.Join(dir, kind))) >= n }
	steps = append(steps,
		func() bool { return has("revenue", 500) },
		func() bool { exampletest.Add(t, filepath.Join(c.live, "orders", "later.jsonl"), later(t)); return true },
		func() bool {
			return !slices.ContainsFunc(results, func(kind string) bool { return !has(kind, len(exampletest.ReadGolden(t, golden(kind)))) })
		})
	exampletest.Unbounded(t, o, job(c, dir), steps...)
	same(t, dir)
	exampletest.Data(t, shownGolden, screen.Bytes())
}

// later is an order of the next day. Where the input has no end, it tells the
// windows of this day that they are complete.
func later(t *testing.T) []byte {
	line, err := json.Marshal(Order{ID: "later", Time: opening.Add(24 * time.Hour), Currency: "EUR"})
	if err != nil {
		t.Fatal(err)
	}
	return append(line, '\n')
}

// emptyShop is a folder to which nothing has come.
func emptyShop(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, kind := range []string{"orders", "rates"} {
		if err := os.MkdirAll(filepath.Join(dir, kind), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestDirectory checks that answers are remembered, and what becomes of a customer
// file that is none.
func TestDirectory(t *testing.T) {
	d, err := openDirectory(customersFile, time.Microsecond)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"c00": true, "nobody": false} {
		if _, ok, err := d.lookup(t.Context(), id); ok != want || err != nil {
			t.Errorf("%s: %t, %v", id, ok, err)
		}
	}
	for _, name := range []string{"main.go", "testdata/none"} {
		if _, err := openDirectory(name, 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
