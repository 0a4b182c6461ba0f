package store

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
)

var rewriteForms = flag.Bool("rewrite-forms", false, "write the golden files of stored forms anew")

// describe is for scripts.
func (v View) describe(retain int, kind func(Numbered) flow.BarrierKind) string {
	var b strings.Builder
	for _, e := range v.Stray {
		fmt.Fprintf(&b, "stray    %d: %s\n", e.Number, e.Entry)
	}
	for _, e := range v.Entries {
		fmt.Fprintf(&b, "         %d: %s\n", e.Number, e.Entry)
	}
	epochs := func(what string, es []Numbered) {
		fmt.Fprintf(&b, "%-9s", what)
		for _, e := range es {
			if e.Kind == Committed {
				fmt.Fprintf(&b, "%d@%d ", e.Epoch, e.Attempt)
			} else {
				fmt.Fprintf(&b, "#%d ", e.Number)
			}
		}
		b.WriteByte('\n')
	}
	r := v.Retained(retain, kind)
	epochs("usable", v.Manifests())
	epochs("retained", r)
	epochs("prune", v.Prunable(r))
	fmt.Fprintf(&b, "next %d, attempt %d, last epoch %d\n", v.Next(), v.Attempt(), v.LastEpoch())
	return b.String()
}

// TestLog runs scripts over the pure part: entries as they lie in storage, and what they
// say together. One line is "NUMBER begins|fresh|committed|savepoint|removed ATTEMPT EPOCH".
func TestLog(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, filepath.Join("testdata", "log"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			retain := 2
			d.MaybeScanArgs(t, "retain", &retain)
			var all []Numbered
			savepoints := map[uint64]bool{}
			for line := range strings.Lines(d.Input) {
				var n uint64
				var kind string
				e := &Entry{}
				if _, err := fmt.Sscan(line, &n, &kind, &e.Attempt, &e.Epoch); err != nil {
					d.Fatalf(t, "%q: %v", line, err)
				}
				switch kind {
				case "begins":
					e.Kind = Begins
				case "fresh":
					e.Kind = Fresh
				case "committed", "savepoint":
					e.Kind, savepoints[n] = Committed, kind == "savepoint"
				case "removed":
					e.Kind = Removed
				default:
					d.Fatalf(t, "%q", line)
				}
				all = append(all, Numbered{n, e})
			}
			return Read(all).describe(retain, func(n Numbered) flow.BarrierKind {
				if savepoints[n.Number] {
					return flow.BarrierSavepoint
				}
				return flow.BarrierCheckpoint
			})
		})
	})
}

func goldenEntry() *Entry {
	return &Entry{Committed, 2, 1 << 63, 5, 1_763_740_800_000_000, "host", 4711, []byte("manifest")}
}

func TestEntryForm(t *testing.T) {
	t.Parallel()
	b := AppendEntry(nil, goldenEntry())
	path := filepath.Join("testdata", "form", "entry-v1.bin")
	if *rewriteForms {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, b, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, golden) {
		t.Error("the stored form has changed; older logs could not be read by others")
	}
	got, err := DecodeEntry(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(goldenEntry(), got); d != "" {
		t.Error(d)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 0x10
		for _, bad := range [][]byte{bad, b[:i]} {
			if _, err := DecodeEntry(bad); !errors.Is(err, checkpoint.ErrCorrupt) {
				t.Fatalf("at %d: %v", i, err)
			}
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(AppendEntry(nil, goldenEntry()))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(b)
		if err != nil {
			return
		}
		again, err := DecodeEntry(AppendEntry(nil, e))
		if err != nil || !cmp.Equal(e, again) {
			t.Fatal(e, again, err)
		}
	})
}
