package lsm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
	"github.com/weirflow/weir/internal/invariants"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/memory"
	"github.com/weirflow/weir/state/statetest"
)

const groups = 16

// tally is a value with memory behind it, which is changed in place.
type tally struct {
	Sum   int64
	Parts []int64
	Words map[string]int
}

// job is a program of two operators with the model of its state.
type program struct {
	cells *state.Cells[uint64, struct{}, tally]
	words *state.Cells[string, int64, string]
	lists *state.Lists[string, int64]
}

type model struct {
	cells map[uint64]tally
	words map[string]string // for namespace 7
	lists map[string][]int64
}

var (
	hashUint, _   = keyhash.For[uint64]()
	hashString, _ = keyhash.For[string]()
)

func declare(tb testing.TB, s state.Store) *program {
	tb.Helper()
	p := &program{}
	var err1, err2, err3 error
	p.cells, err1 = state.NewCells[uint64, struct{}, tally](s, state.Descriptor{Operator: "first", Name: "cells"})
	p.words, err2 = state.NewCells[string, int64, string](s, state.Descriptor{Operator: "second", Name: "words"})
	p.lists, err3 = state.NewLists[string, int64](s, state.Descriptor{Operator: "second", Name: "lists"})
	if err := errors.Join(err1, err2, err3); err != nil {
		tb.Fatal(err)
	}
	return p
}

func newModel() *model {
	return &model{cells: map[uint64]tally{}, words: map[string]string{}, lists: map[string][]int64{}}
}

// change does n random things to both.
func (p *program) change(r *rand.Rand, m *model, n int) {
	for i := range n {
		k := r.Uint64N(3000)
		w := fmt.Sprint("word ", k)
		switch r.IntN(8) {
		case 0:
			p.cells.Delete(hashUint(k), k, struct{}{})
			delete(m.cells, k)
		case 1:
			p.words.Put(hashString(w), w, 7, fmt.Sprint(i))
			m.words[w] = fmt.Sprint(i)
		case 2:
			p.words.Delete(hashString(w), w, 7)
			delete(m.words, w)
		case 3:
			p.lists.Append(hashString(w), w, int64(i))
			m.lists[w] = append(m.lists[w], int64(i))
		default:
			v, _ := p.cells.Ref(hashUint(k), k, struct{}{})
			v.Sum += int64(i)
			if len(v.Parts) < 3 {
				v.Parts = append(v.Parts, int64(i))
			} else {
				v.Parts[i%3] = int64(i)
			}
			if v.Words == nil {
				v.Words = map[string]int{}
			}
			v.Words[fmt.Sprint(i%4)] = i
			c := tally{v.Sum, append([]int64(nil), v.Parts...), map[string]int{}}
			for k, n := range v.Words {
				c.Words[k] = n
			}
			m.cells[k] = c
		}
	}
}

// clone is the model now, for the key groups of g.
func (m *model) of(g flow.KeyGroupRange) *model {
	c := newModel()
	for k, v := range m.cells {
		if g.Contains(flow.KeyGroupOf(hashUint(k), groups)) {
			c.cells[k] = v
		}
	}
	for k, v := range m.words {
		if g.Contains(flow.KeyGroupOf(hashString(k), groups)) {
			c.words[k] = v
		}
	}
	for k, v := range m.lists {
		if g.Contains(flow.KeyGroupOf(hashString(k), groups)) {
			c.lists[k] = append([]int64(nil), v...)
		}
	}
	return c
}

// same compares a store with the model, or says that it has an error.
func (p *program) same(s state.Store, m *model) error {
	got := newModel()
	p.cells.Each(func(_ flow.Hash, k uint64, _ struct{}, v *tally) bool { got.cells[k] = *v; return true })
	p.words.Each(func(_ flow.Hash, k string, n int64, v *string) bool { got.words[k] = *v; return n == 7 })
	p.lists.Each(func(_ flow.Hash, k string, v []int64) bool { got.lists[k] = append([]int64(nil), v...); return true })
	if err := s.Err(); err != nil {
		return err
	}
	if !reflect.DeepEqual(got, m) || p.cells.Len() != len(m.cells) || p.words.Len() != len(m.words) || p.lists.Len() != len(m.lists) {
		return fmt.Errorf("%d, %d, %d entries, said to be %d, %d, %d, want %d, %d, %d, and the same",
			len(got.cells), len(got.words), len(got.lists), p.cells.Len(), p.words.Len(), p.lists.Len(), len(m.cells), len(m.words), len(m.lists))
	}
	return nil
}

func everything() flow.KeyGroupRange { return flow.KeyGroupRange{End: groups} }

// TestForms takes state through snapshots of both forms, in place and to other numbers
// of tasks, while it changes between the barrier and the end of writing.
func TestForms(t *testing.T) {
	for _, memory := range []int64{32 << 10, 1 << 20, 256 << 20} {
		for _, disk := range []string{"disk", "memory"} {
			if invariants.Race && (memory > 1<<20 || disk == "memory") {
				continue // minutes each
			}
			t.Run(fmt.Sprintf("%dKB/%s", memory>>10, disk), func(t *testing.T) {
				var on vfs.FS
				if disk == "memory" {
					on = vfs.NewMem()
				}
				testForms(t, opener(t, memory, on))
			})
		}
	}
}

func testForms(t *testing.T, open statetest.Open) {
	r := rand.New(rand.NewPCG(3, 4))
	m := newModel()
	s := open(t, groups, everything())
	p := declare(t, s)
	for _, step := range []struct {
		form  state.Form
		tasks int
	}{{state.FormLSM, 1}, {state.FormLSM, 3}, {state.FormPortable, 2}, {state.FormLSM, 1}, {state.FormPortable, 1}, {state.FormLSM, 5}} {
		rounds := 20
		if invariants.Race {
			rounds = 3 // with the race detector Pebble notes the stack of each lookup
		}
		for range rounds {
			p.change(r, m, 500)
			s.Step()
		}
		want := m.of(everything())
		saved := saveWhile(t, s, step.form, func() { p.change(r, m, 20) })
		m = want // what came after the barrier is lost
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if step.tasks > 1 {
			var parts []state.Saved
			for i := range step.tasks {
				g := flow.RangeOf(groups, step.tasks, i)
				part := open(t, groups, g)
				restoreTo(t, part, saved)
				pp := declare(t, part)
				if err := pp.same(part, m.of(g)); err != nil {
					t.Fatalf("%s, task %d of %d: %v", step.form, i, step.tasks, err)
				}
				form := state.FormLSM
				if i == 0 {
					form = state.FormPortable
				}
				parts = append(parts, saveWhile(t, part, form, func() {}))
				if err := part.Close(); err != nil {
					t.Fatal(err)
				}
			}
			s = open(t, groups, everything())
			restoreTo(t, s, parts...)
		} else {
			s = open(t, groups, everything())
			restoreTo(t, s, saved)
		}
		p = declare(t, s)
		if err := p.same(s, m); err != nil {
			t.Fatalf("%s, %d tasks: %v", step.form, step.tasks, err)
		}
	}
}

// saveWhile writes a snapshot and calls change between the steps.
func saveWhile(t *testing.T, s state.Store, form state.Form, change func()) state.Saved {
	t.Helper()
	z, err := s.Freeze(form)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	kept := &statetest.Kept{}
	done := make(chan error, 1)
	go func() { done <- z.Write(context.Background(), kept) }()
	for i := 0; ; i++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return state.Saved{Form: z.Form(), KeyGroups: s.KeyGroups(), Files: kept}
		default:
			if i < 100 {
				change()
			}
			if !s.Step() {
				runtime.Gosched()
			}
		}
	}
}

func restoreTo(t *testing.T, s state.Store, from ...state.Saved) {
	t.Helper()
	if err := s.Restore(context.Background(), from); err != nil {
		t.Fatal(err)
	}
}

// TestOperators takes some operators of a snapshot, carries others along, and reads
// what the memory backend wrote.
func TestOperators(t *testing.T) {
	open := opener(t, 1<<20, vfs.NewMem())
	first := memory.New(memory.Options{MaxParallelism: groups})
	m := newModel()
	declare(t, first).change(rand.New(rand.NewPCG(3, 4)), m, 5000)
	saved := saveWhile(t, first, state.FormPortable, func() {})

	s := open(t, groups, everything())
	restoreTo(t, s, saved)
	if u := s.Unclaimed(); len(u) != 3 {
		t.Fatalf("unclaimed: %v", u)
	}
	saved = saveWhile(t, s, state.FormLSM, func() {}) // all carried along, nothing declared
	part := saved
	part.Operators = []flow.OperatorID{"first"}
	s = open(t, groups, everything())
	restoreTo(t, s, part)
	p := declare(t, s)
	some := newModel()
	some.cells = m.cells
	if err := p.same(s, some); err != nil {
		t.Fatal(err)
	}
	// The other operator's states come from another snapshot.
	part = saveWhile(t, s, state.FormLSM, func() {})
	part.Operators = []flow.OperatorID{"first"}
	saved.Operators = []flow.OperatorID{"second"}
	s = open(t, groups, everything())
	restoreTo(t, s, part, saved)
	if err := declare(t, s).same(s, m); err != nil {
		t.Fatal(err)
	}
	// The same state twice does not belong together.
	saved.Operators = nil
	s = open(t, groups, everything())
	if err := s.Restore(context.Background(), []state.Saved{saved, part}); !errors.Is(err, state.ErrCorrupt) || !errors.Is(s.Err(), state.ErrCorrupt) {
		t.Errorf("restored twice: %v", err)
	}
}

// TestChangedSchema restores in place with other types, under memory that does not
// hold the state.
func TestChangedSchema(t *testing.T) {
	open := opener(t, 64<<10, vfs.NewMem())
	s := open(t, groups, everything())
	m := newModel()
	p := declare(t, s)
	p.change(rand.New(rand.NewPCG(3, 4)), m, 10_000)
	saved := saveWhile(t, s, state.FormLSM, func() {})
	type now struct {
		Words map[string]int
		Added string
		Sum   int64
	}
	for range 2 {
		s = open(t, groups, everything())
		restoreTo(t, s, saved)
		if _, err := state.NewCells[uint64, struct{}, tally](s, state.Descriptor{Operator: "other", Name: "cells"}); err != nil {
			t.Fatal(err)
		}
		c, err := state.NewCells[uint64, struct{}, now](s, state.Descriptor{Operator: "first", Name: "cells"})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		c.Each(func(_ flow.Hash, k uint64, _ struct{}, v *now) bool {
			n++
			want := m.cells[k]
			if v.Sum != want.Sum || !reflect.DeepEqual(v.Words, want.Words) || v.Added != "" {
				t.Fatalf("%d is %v, want %v", k, *v, want)
			}
			return true
		})
		if n != len(m.cells) || c.Len() != n || s.Err() != nil {
			t.Fatalf("%d cells, want %d: %v", n, len(m.cells), s.Err())
		}
		saved = saveWhile(t, s, state.FormLSM, func() {})
	}
	s = open(t, groups, everything())
	restoreTo(t, s, saved)
	if _, err := state.NewCells[uint64, struct{}, []string](s, state.Descriptor{Operator: "first", Name: "cells"}); !errors.Is(err, state.ErrIncompatible) {
		t.Errorf("another type: %v", err)
	}
}

// files is the files of a snapshot, of which one is not what it was.
type files struct {
	*statetest.Kept
	name   string
	change func([]byte) []byte // nil: it is missing
}

func (f *files) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == f.name && f.change == nil {
		return nil, fs.ErrNotExist
	}
	r, err := f.Kept.Open(ctx, name)
	if err != nil || name != f.name {
		return r, err
	}
	b, err := io.ReadAll(r)
	return io.NopCloser(bytes.NewReader(f.change(b))), err
}

func (f *files) Names() (names []string) {
	for _, n := range f.Kept.Names() {
		if n != f.name || f.change != nil {
			names = append(names, n)
		}
	}
	return names
}

// TestDamage restores snapshots of which a file is missing, cut off or changed: there
// is an error, or the state is what it was. (In a snapshot's own storage such files are
// found by their checksums.)
func TestDamage(t *testing.T) {
	open := opener(t, 1<<20, vfs.NewMem())
	s := open(t, groups, everything())
	m := newModel()
	declare(t, s).change(rand.New(rand.NewPCG(3, 4)), m, 3000)
	saved := saveWhile(t, s, state.FormLSM, func() {})
	kept := saved.Files.(*statetest.Kept)
	found := 0
	try := func(f *files) {
		t.Helper()
		for _, g := range []flow.KeyGroupRange{everything(), {First: 1, End: groups}} {
			s := open(t, groups, g)
			err := s.Restore(context.Background(), []state.Saved{{Form: state.FormLSM, KeyGroups: everything(), Files: f}})
			if err == nil {
				err = declare(t, s).same(s, m.of(g))
			}
			if err != nil {
				found++
				if !errors.Is(err, state.ErrCorrupt) {
					t.Errorf("%s: %v", f.name, err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	for _, name := range kept.Names() {
		try(&files{kept, name, nil})
		r, err := kept.Open(context.Background(), name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			at := i * len(b) / 12
			try(&files{kept, name, func(b []byte) []byte { return b[:at] }})
			try(&files{kept, name, func(b []byte) []byte {
				if at < len(b) {
					b = bytes.Clone(b)
					b[at] ^= 0x10
				}
				return b
			}})
		}
	}
	if found < 50 {
		t.Errorf("only %d of the damaged snapshots are found out", found)
	}
}

// TestLinks sees that tables are linked, that what is linked once is linked again by
// the same name, and that it does not change.
func TestLinks(t *testing.T) {
	s := opener(t, 1<<20, nil)(t, groups, everything())
	p := declare(t, s)
	m := newModel()
	r := rand.New(rand.NewPCG(3, 4))
	contents := map[string][]byte{}
	for range 6 {
		p.change(r, m, 500)
		saved := saveWhile(t, s, state.FormLSM, func() {})
		kept := saved.Files.(*statetest.Kept)
		for _, name := range kept.Names() {
			if filepath.Ext(name) != ".sst" {
				continue
			}
			r, err := kept.Open(context.Background(), name)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if old, ok := contents[name]; ok && !bytes.Equal(old, b) {
				t.Errorf("%s has changed", name)
			}
			contents[name] = b
		}
	}
	if len(contents) < 3 {
		t.Errorf("%d tables were linked", len(contents))
	}
}

// TestMeta takes the file of a snapshot that is ours apart.
func TestMeta(t *testing.T) {
	m := &meta{MaxParallelism: 8, KeyGroups: flow.KeyGroupRange{First: 2, End: 5}, NextID: 9,
		States: []savedState{{ID: 3, Entries: 17, Stored: state.Stored{Descriptor: state.Descriptor{Operator: "op", Name: "a", Kind: state.KindMap}, Schema: state.Schema{Kind: state.KindMap}}}},
		Files:  []savedFile{{"MANIFEST-000001", 12, 34}, {"000007.sst", 0, 0}}}
	b := appendMeta(nil, m)
	got, err := decodeMeta(b)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("%v, %v\nwant %v", err, got, m)
	}
	for i := range b {
		if _, err := decodeMeta(b[:i]); !errors.Is(err, state.ErrCorrupt) {
			t.Fatalf("cut off at %d: %v", i, err)
		}
		c := bytes.Clone(b)
		c[i] ^= 0x10
		if _, err := decodeMeta(c); !errors.Is(err, state.ErrCorrupt) {
			t.Fatalf("changed at %d: %v", i, err)
		}
	}
}

// FuzzMeta decodes bytes with a right checksum.
func FuzzMeta(f *testing.F) {
	f.Add(appendMeta(nil, &meta{MaxParallelism: 8, NextID: 1, States: []savedState{{}}})[len(metaMagic):])
	f.Fuzz(func(t *testing.T, payload []byte) {
		b := append([]byte(metaMagic), payload...)
		m, err := decodeMeta(binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)))
		if err != nil {
			return
		}
		if again, err := decodeMeta(appendMeta(nil, m)); err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%v, %v\nwant %v", err, again, m)
		}
	})
}
