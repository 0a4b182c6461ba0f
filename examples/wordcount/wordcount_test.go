package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirflow/weir/examples/internal/exampletest"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

const (
	texts  = "testdata/input"
	golden = "testdata/golden/counts.tsv"
)

func TestBounded(t *testing.T) {
	exampletest.EveryWay(t, func(t *testing.T, o run.Options) {
		out := t.TempDir()
		exampletest.Bounded(t, o, func(p *sdk.Pipeline) error { return build(p, config{input: texts, output: out}) })
		exampletest.Golden(t, golden, exampletest.Lines(t, out))
		exampletest.Final(t, out)
	})
}

// TestWatch adds the second file while the job runs.
func TestWatch(t *testing.T) {
	exampletest.EveryWay(t, func(t *testing.T, o run.Options) {
		in, out := t.TempDir(), t.TempDir()
		exampletest.Copy(t, in, texts+"/river.txt")
		counts := func() (lines []string) {
			for word, n := range latest(exampletest.Lines(t, out)) {
				lines = append(lines, word+"\t"+n)
			}
			return slices.Sorted(slices.Values(lines))
		}
		exampletest.Unbounded(t, o, func(p *sdk.Pipeline) error { return build(p, config{input: in, output: out, watch: true}) },
			func() bool { return slices.Contains(counts(), "water\t7") },
			func() bool { exampletest.Copy(t, in, texts+"/mill.txt"); return true },
			func() bool { return slices.Equal(counts(), exampletest.ReadGolden(t, golden)) },
		)
		exampletest.Final(t, out)
	})
}

// latest are the counts by the last line of each word.
func latest(lines []string) map[string]string {
	n := map[string]string{}
	for _, l := range lines {
		if word, count, ok := strings.Cut(l, "\t"); ok {
			n[word] = count
		}
	}
	return n
}

// TestSplit compares with bytes that are not white space in the C locale, though
// they are in Unicode.
func TestSplit(t *testing.T) {
	in, out := t.TempDir(), t.TempDir()
	text := " a\u00a0b\u2003c \x1c\x1d \x85 é\xff  a\u00a0b\u2003c\n\n \t\r\n\v\fend"
	if err := os.WriteFile(filepath.Join(in, "x"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	exampletest.Bounded(t, run.Options{}, func(p *sdk.Pipeline) error { return build(p, config{input: in, output: out}) })
	want := map[string]string{"a\u00a0b\u2003c": "2", "\x1c\x1d": "1", "\x85": "1", "é\xff": "1", "end": "1"}
	got := latest(exampletest.Lines(t, out))
	for word, n := range want {
		if got[word] != n {
			t.Errorf("%q: %q, want %s", word, got[word], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %q", got)
	}
}
