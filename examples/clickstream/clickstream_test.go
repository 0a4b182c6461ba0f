package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/examples/internal/exampletest"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

const input = "testdata/clicks"

var folders = []string{"minutes", "hours", "visits", "paths"}

// job is the pipeline of c with its results in files below dir.
func job(c config, dir string) func(p *sdk.Pipeline) error {
	return func(p *sdk.Pipeline) error {
		clicks, opts, err := c.source()
		if err != nil {
			return err
		}
		build(p, clicks, opts...).write(dir)
		return nil
	}
}

func golden(folder string) string { return "testdata/golden/" + folder + ".jsonl" }

// same compares all results below dir with the golden files.
func same(t *testing.T, dir string) {
	t.Helper()
	for _, f := range folders {
		exampletest.Golden(t, golden(f), exampletest.Lines(t, filepath.Join(dir, f)))
	}
	exampletest.Final(t, dir)
}

// complete reports whether there are as many results below dir as there have to be.
func complete(t *testing.T, dir string) func() bool {
	return func() bool {
		for _, f := range folders {
			if len(exampletest.Lines(t, filepath.Join(dir, f))) < len(exampletest.ReadGolden(t, golden(f))) {
				return false
			}
		}
		return true
	}
}

// later is a click of the next day. Where the input has no end, it tells the
// windows of this day that they are complete.
var later = Click{Time: dayStart.Add(24 * time.Hour), User: "later", Page: "/"}

func TestBounded(t *testing.T) {
	exampletest.EveryWay(t, func(t *testing.T, o run.Options) {
		dir := t.TempDir()
		exampletest.Bounded(t, o, job(config{input: input}, dir))
		same(t, dir)
	})
}

// TestWatch adds files while the job runs.
func TestWatch(t *testing.T) {
	for _, batch := range []int{0, 7} {
		o := run.Options{Parallelism: 2, BatchSize: batch}
		in, dir := t.TempDir(), t.TempDir()
		exampletest.Copy(t, in, input+"/10-00.jsonl", input+"/10-15.jsonl")
		minutes := func(n int) func() bool {
			return func() bool { return len(exampletest.Lines(t, filepath.Join(dir, "minutes"))) >= n }
		}
		exampletest.Unbounded(t, o, job(config{input: in, watch: true}, dir),
			minutes(1),
			func() bool { exampletest.Copy(t, in, input+"/10-30.jsonl", input+"/10-45.jsonl"); return true },
			minutes(200),
			func() bool {
				end, err := json.Marshal(later)
				exampletest.Add(t, filepath.Join(in, "11-00.jsonl"), end)
				return err == nil
			},
			complete(t, dir),
		)
		same(t, dir)
	}
}

// TestReport checks what `make demo` prints.
func TestReport(t *testing.T) {
	exampletest.EveryWay(t, func(t *testing.T, o run.Options) {
		out := collect.New[string]()
		exampletest.Bounded(t, o, func(p *sdk.Pipeline) error {
			clicks, opts, err := config{input: input}.source()
			sdk.Write(build(p, clicks, opts...).report(false), out)
			return err
		})
		if got := out.Results(); len(got) != 1 {
			t.Errorf("%d reports", len(got))
		} else {
			exampletest.Data(t, "testdata/golden/report.txt", []byte(got[0]))
		}
	})
}

// TestBrokenLines passes over one broken line, and not over many.
func TestBrokenLines(t *testing.T) {
	for broken, fails := range map[int]bool{1: false, 900: true} {
		in := t.TempDir()
		clicks, err := os.ReadFile(input + "/10-30.jsonl")
		if err != nil {
			t.Fatal(err)
		}
		for range broken {
			clicks = append(clicks, "{\"time\":\"today\"}\n"...)
		}
		exampletest.Add(t, filepath.Join(in, "a.jsonl"), append(clicks, clicks...))
		p := sdk.New("broken")
		if err := job(config{input: in}, t.TempDir())(p); err != nil {
			t.Fatal(err)
		}
		if err := run.Run(t.Context(), p, run.Options{Parallelism: 1}); (err != nil) != fails {
			t.Errorf("%d broken lines: error %v", 2*broken, err)
		}
	}
}

// TestVisitMerges hands in a click that closes the gap between two parts of a
// visit.
func TestVisitMerges(t *testing.T) {
	at := func(m int, page string) Click { return Click{dayStart.Add(time.Duration(m) * time.Minute), "u", page} }
	visits := collect.New[Visit]()
	exampletest.Bounded(t, run.Options{}, func(p *sdk.Pipeline) error {
		// One batch: the watermark comes when all of them are there.
		sdk.Write(build(p, slice.Of(at(8, "/c"), at(0, "/a"), at(4, "/b"), at(20, "/d"))).visits, visits)
		return nil
	})
	exampletest.Golden(t, "testdata/golden/merged.jsonl", exampletest.JSONLines(t, visits.Results()))
}
