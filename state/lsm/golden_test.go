package lsm

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/statetest"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

const (
	goldenSnapshot = "testdata/snapshot-v1"
	goldenEntries  = "testdata/entries-v1.txt"
)

// goldenState is states of every kind, and one whose values expire.
type goldenState struct {
	cur    state.Current[string]
	value  state.Value[tally]
	list   state.List[int64]
	m      state.Map[uint16, bool]
	mortal state.Value[string]
	timers *state.Timers[string, int64]
}

func declareGolden(t *testing.T, s state.Store) *goldenState {
	t.Helper()
	g := &goldenState{}
	desc := func(name string) state.Descriptor { return state.Descriptor{Operator: "op", Name: name} }
	var errs [5]error
	g.value, errs[0] = state.NewValue(s, desc("value"), &g.cur, state.Options[tally]{})
	g.list, errs[1] = state.NewList(s, desc("list"), &g.cur, state.Options[int64]{})
	g.m, errs[2] = state.NewMap[string, uint16](s, desc("map"), &g.cur, state.Options[bool]{})
	g.mortal, errs[3] = state.NewValue(s, desc("mortal"), &g.cur, state.Options[string]{
		TTL: state.TTL{After: time.Second}, Clock: func() flow.Time { return 1_000_000 },
	})
	g.timers, errs[4] = state.NewTimers[string, int64](s, desc("timers"))
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *goldenState) fill() {
	for _, k := range []string{"", "a", "key"} {
		g.cur = state.Current[string]{Hash: hashString(k), Key: k}
		g.value.Set(tally{Sum: 300, Parts: []int64{-1}, Words: map[string]int{"w": 2}})
		g.list.Append(7, 8)
		g.m.Set(300, true)
		g.m.Set(1, false)
		g.mortal.Set("soon gone")
		g.timers.Add(g.cur.Hash, k, -5, 17)
		g.timers.Add(g.cur.Hash, k, -5, -17)
	}
}

// entries lists what is in Pebble.
func entries(t *testing.T, s *Store) string {
	t.Helper()
	it, err := s.db.NewIter(&pebble.IterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%x  %x\n", it.Key(), v)
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestGoldenSnapshot holds the form of entries fast, and restores a snapshot that an
// earlier release has written, as Pebble's files of then.
func TestGoldenSnapshot(t *testing.T) {
	open := func() *Store {
		return opener(t, 1<<20, nil)(t, 4, flow.KeyGroupRange{End: 4}).(*Store)
	}
	s := open()
	declareGolden(t, s).fill()
	saved, err := statetest.Save(s, state.FormLSM)
	if err != nil {
		t.Fatal(err)
	}
	got := entries(t, s)
	if *rewrite {
		rewriteGolden(t, saved.Files, got)
	}
	want, err := os.ReadFile(goldenEntries)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("entries are now\n%s\nand were\n%s\nif that is meant, older snapshots must still be read", got, want)
	}

	old := open()
	from := state.Saved{Form: state.FormLSM, KeyGroups: old.KeyGroups(), Files: folder(goldenSnapshot)}
	if err := old.Restore(t.Context(), []state.Saved{from}); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, old); got != string(want) {
		t.Errorf("a snapshot of an older release holds\n%s\nnot\n%s", got, want)
	}
	g := declareGolden(t, old)
	for _, k := range []string{"", "a", "key"} {
		g.cur = state.Current[string]{Hash: hashString(k), Key: k}
		v, _ := g.value.Get()
		gone, _ := g.mortal.Get()
		on, ok := g.m.Get(300)
		if v.Sum != 300 || gone != "soon gone" || !on || !ok {
			t.Errorf("%q: %+v, %q, %t", k, v, gone, on)
		}
	}
	if err := old.Err(); err != nil {
		t.Error(err)
	}
}

func rewriteGolden(t *testing.T, files state.SavedFiles, entries string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(goldenSnapshot), os.MkdirAll(goldenSnapshot, 0o777), os.WriteFile(goldenEntries, []byte(entries), 0o666)); err != nil {
		t.Fatal(err)
	}
	for _, name := range files.Names() {
		r, err := files.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close(), os.WriteFile(filepath.Join(goldenSnapshot, name), data, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGoldenMeta holds the bytes of STATES fast.
func TestGoldenMeta(t *testing.T) {
	const golden = "776569726c736d0186ae6d6178506172616c6c656c69736d08a5666972737402a3656e6405a66e657874494409a67374617465739188a2696403a86f" +
		"70657261746f72a26f70a46e616d65a161a46b696e6403a36b657981a46b696e64a0a96e616d65737061636581a46b696e64a0a576616c756581a46b" +
		"696e64a0a7656e747269657311a566696c65739283a46e616d65af4d414e49464553542d303030303031a473697a650ca66372633332632283a46e61" +
		"6d65aa3030303030372e737374a473697a6500a66372633332630046325cfd"
	m := &meta{MaxParallelism: 8, KeyGroups: flow.KeyGroupRange{First: 2, End: 5}, NextID: 9,
		States: []savedState{{ID: 3, Entries: 17, Stored: state.Stored{
			Descriptor: state.Descriptor{Operator: "op", Name: "a", Kind: state.KindMap}, Schema: state.Schema{Kind: state.KindMap}}}},
		Files: []savedFile{{"MANIFEST-000001", 12, 34}, {"000007.sst", 0, 0}}}
	if got := hex.EncodeToString(appendMeta(nil, m)); got != golden {
		t.Errorf("%s is now\n%s\nand was\n%s\nif that is meant, raise the version in its magic", metaFile, got, golden)
	}
}

// folder is the files of a folder as those of a snapshot.
type folder string

func (f folder) Names() []string {
	var names []string
	all, _ := os.ReadDir(string(f))
	for _, e := range all {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}

func (f folder) Open(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(f), name))
}

func (f folder) Fetch(_ context.Context, name, path string) error {
	b, err := os.ReadFile(filepath.Join(string(f), name))
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o666)
}
