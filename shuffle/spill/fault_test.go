package spill

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
)

func contentsOf(t testing.TB, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

func replace(t testing.TB, fs vfs.FS, path string, data []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestGolden(t *testing.T) {
	const golden = "testdata/output.hex"
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{})
	opt := Options{Partitions: 3, Memory: 1, Sums: true}
	sum, _, err := write(fs, s, idOf(2, 7), opt, 4, 2)
	if err != nil {
		t.Fatal(err)
	}
	got := hex.Dump(contentsOf(t, fs, s.path(sum.ID)))
	if *rewriteForms {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the stored form has changed: see docs/format/spill.md\n%s", got)
	}
	if p := s.path(sum.ID); p != "spill/job-1/sum@0@0@2@7.spill" {
		t.Error(p)
	}
}

// TestDamage: whatever byte of a file changes, and wherever it is cut off, a reader gets
// the records that were written or an error, and never others; and so does a store that opens.
func TestDamage(t *testing.T) {
	for _, c := range []Compression{None, Zstd} {
		fs := vfs.NewMem()
		s := openStore(t, fs, StoreOptions{})
		id := idOf(0, 1)
		const parts = 2
		if _, _, err := write(fs, s, id, Options{Partitions: parts, Memory: 6 << 10, Compression: c}, 300, 40); err != nil {
			t.Fatal(err)
		}
		want, _, err := read(t, s, []ID{id}, Range{0, parts}, parts, 1<<20)
		if err != nil || len(want) != 300 {
			t.Fatal(err, len(want))
		}
		path := s.path(id)
		good := contentsOf(t, fs, path)
		rng := rand.New(rand.NewPCG(1, uint64(c)))
		check := func(what string, bad []byte) {
			t.Helper()
			replace(t, fs, path, bad)
			for _, of := range []Range{{0, 1}, {1, 2}} {
				_, _, err := read(t, s, []ID{id}, of, parts, 1<<20)
				// A range whose bytes are good is read.
				if lost, is := IsLost(err); err != nil && (!is || lost != id || !errors.Is(err, ErrCorrupt) && !strings.Contains(err.Error(), "cannot")) {
					t.Fatalf("%s: %v", what, err)
				}
			}
			if got, _, err := read(t, s, []ID{id}, Range{0, parts}, parts, 1<<20); err == nil {
				t.Fatalf("%s: %d records are read, and nothing is found", what, len(got))
			}
		}
		// A byte of the sum of hashes is not needed to read, but it is in the footer too.
		for range 400 {
			bad := slices.Clone(good)
			at := rng.IntN(len(bad))
			bad[at] ^= 1 << rng.IntN(8)
			check(fmt.Sprintf("%s, bit flip at %d", c, at), bad)
		}
		for range 100 {
			n := rng.IntN(len(good))
			check(fmt.Sprintf("%s, cut off at %d", c, n), good[:n])
		}
		// A hole, and what was doubled.
		for range 50 {
			at := rng.IntN(len(good) - 20)
			check("a hole", slices.Concat(good[:at], good[at+10:]))
			check("zeroes", slices.Concat(good[:at], make([]byte, 20), good[at+20:]))
			check("doubled", slices.Concat(good[:at], good[max(0, at-30):]))
		}
	}
}

// TestBrokenAtOpen: a store that opens does not take what is not whole.
func TestBrokenAtOpen(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{})
	for p := range 4 {
		if _, _, err := write(fs, s, idOf(p, 1), Options{Partitions: 4}, 100, 10); err != nil {
			t.Fatal(err)
		}
	}
	torn := contentsOf(t, fs, s.path(idOf(1, 1)))
	replace(t, fs, s.path(idOf(1, 1)), torn[:len(torn)-3])
	replace(t, fs, s.path(idOf(2, 1)), contentsOf(t, fs, s.path(idOf(3, 1))))
	replace(t, fs, s.path(idOf(5, 1))+unfinished, []byte("some"))
	replace(t, fs, "spill/note", []byte("not ours"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs, StoreOptions{})
	if out := s.Outputs("job-1"); len(out) != 2 || out[0].ID != idOf(0, 1) || out[1].ID != idOf(3, 1) || s.Used() != used(out) {
		t.Error(out)
	}
	if b := s.Broken(); len(b) != 2 || !errors.Is(b[0], ErrCorrupt) || !strings.Contains(b[1].Error(), "producer 3") {
		t.Error(b)
	}
	if c := s.Cleaned(); len(c) != 1 {
		t.Error(c)
	}
	if _, err := Open(fs, "spill", StoreOptions{}); err == nil {
		t.Error("two stores in one directory")
	}
	if names, err := fs.List("spill/job-1"); err != nil || len(names) != 2 {
		t.Error(names, err)
	}
}

// TestMissing: a file that somebody has removed.
func TestMissing(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{})
	if _, _, err := write(fs, s, idOf(0, 1), Options{Partitions: 4}, 100, 10); err != nil {
		t.Fatal(err)
	}
	if err := fs.Remove(s.path(idOf(0, 1))); err != nil {
		t.Fatal(err)
	}
	_, _, err := read(t, s, []ID{idOf(0, 1)}, Range{0, 4}, 4, 1<<20)
	if id, ok := IsLost(err); !ok || id != idOf(0, 1) || !isNotExist(err) {
		t.Error(err)
	}
	if err := s.Remove(idOf(0, 1)); err != nil || s.Used() != 0 {
		t.Error(err, s.Used())
	}
}

// TestFailingDisk: each operation on the disk fails once, with a full disk. Then the
// writer is told, or the output is there; and nothing is left over or reserved.
func TestFailingDisk(t *testing.T) {
	full := fmt.Errorf("injected: %w", syscall.ENOSPC)
	failed := 0
	for n := int32(0); ; n++ {
		mem := vfs.NewMem()
		s := openStore(t, mem, StoreOptions{})
		left := n
		hit := false
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
				return nil
			}
			left--
			if hit = hit || left == -1; left == -1 {
				return full
			}
			return nil
		}))
		s.fs = fs
		_, _, err := write(fs, s, idOf(0, 1), Options{Partitions: 4, Memory: 1}, 40, 10)
		s.fs = mem
		switch {
		case err != nil && !errors.Is(err, syscall.ENOSPC):
			t.Fatalf("operation %d: %v", n, err)
		case err != nil:
			failed++
			if s.Used() != 0 || len(s.Outputs("")) > 0 {
				t.Fatalf("operation %d: %d bytes are taken after %v", n, s.Used(), err)
			}
			if names, lerr := mem.List("spill/job-1"); lerr == nil && len(names) > 1 {
				t.Fatalf("operation %d: %v are left after %v", n, names, err)
			}
		default:
			got, _, rerr := read(t, s, []ID{idOf(0, 1)}, Range{0, 4}, 4, 1<<20)
			if rerr != nil || len(got) != 40 {
				t.Fatalf("operation %d: %d records, %v", n, len(got), rerr)
			}
		}
		if !hit {
			break
		}
	}
	if failed < 10 {
		t.Errorf("%d operations have failed", failed)
	}
}

// TestFailingReads: each read fails once; the reader is told.
func TestFailingReads(t *testing.T) {
	mem := vfs.NewMem()
	s := openStore(t, mem, StoreOptions{})
	if _, _, err := write(mem, s, idOf(0, 1), Options{Partitions: 4}, 100, 10); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("injected")
	for n := int32(0); n < 1000; n++ {
		left := n
		s.fs = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if left--; left == -1 && op.Kind != errorfs.OpFileClose {
				return broken
			}
			return nil
		}))
		got, _, err := read(t, s, []ID{idOf(0, 1)}, Range{0, 4}, 4, 1<<20)
		switch {
		case err == nil && len(got) != 100:
			t.Fatalf("operation %d: %d records", n, len(got))
		case err != nil && !errors.Is(err, broken):
			t.Fatalf("operation %d: %v", n, err)
		case left >= 0:
			if n < 8 {
				t.Fatalf("%d operations only", n)
			}
			return
		}
	}
	t.Error("it reads without end")
}

// TestPowerCut: what is finished survives; what is not is cleaned away.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		fs := vfs.NewCrashableMem()
		s := openStore(t, fs, StoreOptions{})
		if err := syncDir(fs, ""); err != nil {
			t.Fatal(err)
		}
		opt := Options{Partitions: 4, Memory: 1}
		if _, _, err := write(fs, s, idOf(0, 1), opt, 100, 10); err != nil {
			t.Fatal(err)
		}
		o, err := NewOutput[order](fs, s, idOf(1, 1), opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Senders()[1].Push(&flow.Batch[order]{Values: make([]order, 10)}, 0); err != nil {
			t.Fatal(err)
		}
		after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		o.Abort()
		s = openStore(t, after, StoreOptions{})
		if len(s.Broken()) > 0 || len(s.Outputs("")) != 1 {
			t.Fatalf("seed %d: %v, %v", seed, s.Broken(), s.Outputs(""))
		}
		if got, _, err := read(t, s, []ID{idOf(0, 1)}, Range{0, 4}, 4, 1<<20); err != nil || len(got) != 100 {
			t.Fatalf("seed %d: %d records, %v", seed, len(got), err)
		}
	}
}

// whole is an output's file.
func whole(t testing.TB, opt Options, n int) []byte {
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{})
	if _, _, err := write(fs, s, idOf(0, 1), opt, n, 10); err != nil {
		t.Fatal(err)
	}
	return contentsOf(t, fs, s.path(idOf(0, 1)))
}

func FuzzIndex(f *testing.F) {
	x := index{start: 10, parts: []Size{{Raw: 5, Bytes: 7}, {}}, lengths: []int64{3, 0, 4, 0}}
	x.parts[0].Records = 1
	f.Add(x.appendTo(nil), int64(17))
	f.Add([]byte{}, int64(0))
	f.Fuzz(func(t *testing.T, data []byte, end int64) {
		x, err := parseIndex(data, 10, end)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if cap(x.lengths) > len(data) || cap(x.parts) > 4*len(data)+16 {
			t.Fatalf("%d lengths and %d parts of %d bytes", cap(x.lengths), cap(x.parts), len(data))
		}
		var n int64
		for _, e := range x.extents(Range{0, len(x.parts)}) {
			n += e.length
		}
		if n != end-10 {
			t.Fatalf("%d bytes of %d", n, end-10)
		}
		again, err := parseIndex(x.appendTo(nil), 10, end)
		if err != nil || !slices.Equal(again.lengths, x.lengths) || !slices.Equal(again.parts, x.parts) {
			t.Fatal(err)
		}
	})
}

func FuzzFile(f *testing.F) {
	f.Add(whole(f, Options{Partitions: 2}, 4))
	f.Add(whole(f, Options{Partitions: 2, Memory: 1, Compression: LZ4}, 40))
	f.Add(whole(f, Options{Partitions: 1, Memory: 1, Compression: Zstd}, 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		fs := vfs.NewMem()
		replace(t, fs, "x", data)
		file, err := fs.Open("x")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := readContents(file); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		s, err := NewScanner[order](bytes.NewReader(data), idOf(0, 1), Range{0, 2})
		if err != nil {
			return
		}
		for {
			var b flow.Batch[order]
			if ok, err := s.Next(&b); !ok || err != nil {
				return
			}
		}
	})
}

// FuzzBlock has no sums in its way.
func FuzzBlock(f *testing.F) {
	for _, c := range []Compression{None, LZ4, S2, Zstd} {
		w := BlockWriter{Compression: c}
		b, err := w.Append(nil, bytes.Repeat([]byte("0123456789"), 100))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[8:])
	}
	f.Fuzz(func(t *testing.T, stored []byte) {
		if len(stored) == 0 {
			return
		}
		r := NewBlockReader(nil)
		body, err := r.unpack(Compression(stored[0]), stored[1:])
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if err == nil && (len(body) == 0 || len(body) > MaxBlock) {
			t.Fatal(len(body))
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte{3, 1, 0x91, 0x94, 1, 2, 0xc0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		var b flow.Batch[int64]
		w, err := codec.For[int64]()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseFrame(data, w, &b); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		} else if err == nil && (len(b.Times) > 0 && len(b.Times) != len(b.Values) || len(b.Hashes) > 0 && len(b.Hashes) != len(b.Values)) {
			t.Fatal(b)
		}
	})
}
