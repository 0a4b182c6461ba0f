package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that the test moves.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1e9, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func open(t *testing.T, o Options) (*Store, *clock) {
	t.Helper()
	c := &clock{}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.testing.now = c.now
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, c
}

func put(t *testing.T, s *Store, content string) Hash {
	t.Helper()
	h, n, err := s.Put(t.Context(), strings.NewReader(content), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(len(content)) || h != sha256.Sum256([]byte(content)) {
		t.Fatalf("stored %d bytes as %v", n, h)
	}
	return h
}

func files(t *testing.T, s *Store) []string {
	t.Helper()
	names, err := s.o.FS.List(s.o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestPutAndUse(t *testing.T) {
	s, _ := open(t, Options{})
	h := put(t, s, "#!/bin/sh\necho it ran\n")
	path, release, err := s.Use(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o555 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if out, err := exec.CommandContext(t.Context(), path).CombinedOutput(); err != nil || string(out) != "it ran\n" {
		t.Fatalf("%q, %v", out, err)
	}
	if err := s.Delete(h); !errors.Is(err, ErrInUse) {
		t.Fatalf("deleted what is in use: %v", err)
	}
	release()
	release() // a repeat does no harm
	if err := s.Delete(h); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(h); !errors.Is(err, ErrNotFound) {
		t.Fatalf("deleted twice: %v", err)
	}
	if _, _, err := s.Use(t.Context(), h); !errors.Is(err, ErrNotFound) {
		t.Fatalf("used what is not there: %v", err)
	}
	if left := files(t, s); len(left) > 0 {
		t.Fatal("left", left)
	}
}

// TestBadPut wants that nothing is left of what cannot be stored, and that the error says why.
func TestBadPut(t *testing.T) {
	full := errorfs.ErrInjected
	for _, c := range []struct {
		name   string
		reader io.Reader
		o      Options
		want   error
	}{
		{name: "too large", reader: bytes.NewReader(make([]byte, 2000)), want: ErrTooLarge},
		{name: "above the budget", reader: bytes.NewReader(make([]byte, 900)), o: Options{Budget: 800}, want: ErrNoRoom},
		{name: "reader fails", reader: io.MultiReader(strings.NewReader("part"), iotest.ErrReader(full)), want: full},
		{name: "empty", reader: strings.NewReader("")},
		{name: "disk full", reader: strings.NewReader("content"), o: Options{FS: fullDisk{vfs.NewMem()}, Dir: "d"}, want: ErrNoRoom},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := open(t, c.o)
			_, _, err := s.Put(t.Context(), c.reader, 1000)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("%v", err)
			}
			t.Log(err)
			if left := files(t, s); len(left) > 0 || len(s.List()) > 0 {
				t.Fatal("left", left)
			}
		})
	}
	s, _ := open(t, Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(full)
	if _, _, err := s.Put(ctx, strings.NewReader("content"), 1000); !errors.Is(err, full) {
		t.Fatal(err)
	}
}

// fullDisk has no room for a single byte.
type fullDisk struct{ vfs.FS }

type fullFile struct{ vfs.File }

func (d fullDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return fullFile{f}, err
}

func (fullFile) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
}

// TestErrors has each operation of the file system fail once: an error comes, and either the
// program is there and whole or nothing is.
func TestErrors(t *testing.T) {
	for n := int32(0); ; n++ {
		mem := vfs.NewMem()
		s, _ := open(t, Options{FS: mem, Dir: "d"})
		index := errorfs.OnIndex(n)
		s.o.FS = errorfs.Wrap(mem, errorfs.ErrInjected.If(index))
		_, _, err := s.Put(t.Context(), strings.NewReader("content"), 100)
		s.o.FS = mem
		if err == nil {
			if index.Load() < 0 {
				t.Fatalf("the error at operation %d was not told", n)
			}
			t.Logf("%d operations", n)
			return
		}
		if !strings.Contains(err.Error(), "injected error") {
			t.Fatalf("operation %d: %v", n, err)
		}
		for _, i := range s.List() {
			if _, release, err := s.Use(t.Context(), i.Hash); err != nil {
				t.Fatalf("operation %d: %v", n, err)
			} else {
				release()
			}
		}
		again, _ := open(t, Options{FS: mem, Dir: "d"})
		for _, name := range files(t, again) {
			if strings.HasPrefix(name, tempPrefix) {
				t.Fatalf("operation %d left %s after a restart", n, name)
			}
		}
	}
}

// TestCrash has the power go while programs are stored. What is there afterwards under a
// hash is whole, unless the disk itself lies; what Put had returned is there.
func TestCrash(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 0xa57))
		mem := vfs.NewCrashableMem()
		s, _ := open(t, Options{FS: mem, Dir: "d"})
		if err := mustSyncRoot(mem); err != nil {
			t.Fatal(err)
		}
		stored := map[Hash]bool{}
		for i := range r.IntN(5) {
			stored[put(t, s, fmt.Sprint("program ", i))] = true
		}
		var disk vfs.FS
		cut := r.IntN(3)
		_, _, err := s.Put(t.Context(), io.MultiReader(
			strings.NewReader("begin"),
			readerFunc(func([]byte) (int, error) {
				if cut == 0 {
					disk = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
				}
				return 0, io.EOF
			})), 100)
		if err != nil {
			t.Fatal(err)
		}
		if disk == nil {
			stored[sha256.Sum256([]byte("begin"))] = true
			disk = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
		}
		after, _ := open(t, Options{FS: disk, Dir: "d"})
		for h := range stored {
			_, release, err := after.Use(t.Context(), h)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			release()
		}
		for _, name := range files(t, after) {
			if h, err := parseName(name); err != nil || !after.Has(h) {
				t.Fatalf("seed %d: %s was left", seed, name)
			}
		}
	}
}

func mustSyncRoot(fs vfs.FS) error {
	d, err := fs.OpenDir("")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestCorrupt wants that a program which the disk has changed is never executed.
func TestCorrupt(t *testing.T) {
	dir := t.TempDir()
	first, _ := open(t, Options{Dir: dir})
	h := put(t, first, "good")
	other, _ := open(t, Options{})
	put(t, other, "good")

	for _, from := range [][]Source{nil, {other}} {
		path := filepath.Join(dir, h.name())
		if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, []byte("evil"), 0o555)); err != nil {
			t.Fatal(err)
		}
		s, _ := open(t, Options{Dir: dir}) // the next process
		path, release, err := s.Use(t.Context(), h, from...)
		if from == nil {
			if !errors.Is(err, ErrCorrupt) || s.Has(h) {
				t.Fatalf("%v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		release()
		if b, err := os.ReadFile(path); err != nil || string(b) != "good" {
			t.Fatalf("%q, %v", b, err)
		}
	}
}

type source func(context.Context, Hash) (io.ReadCloser, error)

func (f source) Get(ctx context.Context, h Hash) (io.ReadCloser, error) { return f(ctx, h) }

func TestFetchOnce(t *testing.T) {
	s, _ := open(t, Options{})
	h := Hash(sha256.Sum256([]byte("far")))
	var calls atomic.Int32
	begun, go_ := make(chan struct{}), make(chan struct{})
	src := source(func(context.Context, Hash) (io.ReadCloser, error) {
		calls.Add(1)
		close(begun)
		<-go_
		return io.NopCloser(strings.NewReader("far")), nil
	})
	liar := source(func(context.Context, Hash) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("near")), nil
	})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, release, err := s.Use(t.Context(), h, liar, src)
			if err != nil {
				t.Error(err)
				return
			}
			release()
		})
	}
	<-begun
	close(go_)
	wg.Wait()
	if n := calls.Load(); n != 1 {
		t.Fatalf("fetched %d times", n)
	}
	if len(s.List()) != 1 || len(files(t, s)) != 1 {
		t.Fatal(s.List(), files(t, s))
	}
	// Nobody has it, or who says so lies.
	other := Hash(sha256.Sum256([]byte("other")))
	if err := s.Fetch(t.Context(), other, liar, s); !errors.Is(err, ErrCorrupt) || !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

// TestFetchEnds wants that a transfer which hangs ends when nobody waits for it, or the
// store is closed.
func TestFetchEnds(t *testing.T) {
	for _, how := range []string{"waiter leaves", "store closes"} {
		t.Run(how, func(t *testing.T) {
			s, _ := open(t, Options{})
			begun := make(chan struct{}, 1)
			hang := source(func(context.Context, Hash) (io.ReadCloser, error) {
				r, w := io.Pipe()
				_ = w
				begun <- struct{}{}
				return r, nil
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			errs := make(chan error, 1)
			go func() { errs <- s.Fetch(ctx, Hash{1}, hang) }()
			<-begun
			if how == "store closes" {
				_ = s.Close()
			} else {
				cancel()
			}
			if err := <-errs; err == nil {
				t.Fatal("fetched nothing without an error")
			}
			_ = s.Close() // waits for the transfer
			if left := files(t, s); len(left) > 0 {
				t.Fatal("left", left)
			}
			if err := s.Fetch(t.Context(), Hash{1}, hang); !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
		})
	}
}

func TestGC(t *testing.T) {
	s, c := open(t, Options{Budget: 30, Keep: time.Minute})
	content := func(b string) string { return strings.Repeat(b, 10) }
	a := put(t, s, content("a"))
	c.advance(time.Second)
	b := put(t, s, content("b"))
	c.advance(time.Second)
	d := put(t, s, content("d"))
	if _, _, err := s.Put(t.Context(), strings.NewReader(content("e")), 100); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("all are young: %v", err)
	}
	c.advance(2 * time.Minute)
	_, release, err := s.Use(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	s.Want([]Hash{b})
	c.advance(2 * time.Minute)
	put(t, s, content("e"))
	if s.Has(d) || !s.Has(a) || !s.Has(b) {
		t.Fatal(s.List())
	}
	release()
	s.Want(nil)
	c.advance(2 * time.Minute)
	if removed, err := s.GC(); err != nil || len(removed) > 0 {
		t.Fatalf("what fits was removed: %v, %v", removed, err)
	}
	f := put(t, s, content("f"))
	if s.Has(b) || !s.Has(a) || !s.Has(f) {
		t.Fatalf("a was used after b: %v", s.List())
	}
	put(t, s, content("f")) // what is there takes no more room
	if n := len(files(t, s)); n != 3 {
		t.Fatal(files(t, s))
	}
}

// TestTogether has many store, use, delete and collect at one time. What is in use is there.
func TestTogether(t *testing.T) {
	s, c := open(t, Options{Budget: 300, Keep: time.Nanosecond})
	other, _ := open(t, Options{})
	var hashes []Hash
	for i := range 8 {
		hashes = append(hashes, put(t, other, strings.Repeat(fmt.Sprint(i), 50)))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		r := rand.New(rand.NewPCG(uint64(w), 3))
		wg.Go(func() {
			for range 60 {
				h := hashes[r.IntN(len(hashes))]
				c.advance(time.Microsecond)
				switch r.IntN(4) {
				case 0, 1:
					path, release, err := s.Use(t.Context(), h, other)
					if errors.Is(err, ErrNoRoom) {
						continue
					}
					if err != nil {
						t.Error(err)
						continue
					}
					if b, err := os.ReadFile(path); err != nil || sha256.Sum256(b) != h {
						t.Errorf("in use, and %q, %v", b, err)
					}
					release()
				case 2:
					if err := s.Delete(h); err != nil && !errors.Is(err, ErrInUse) && !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
				case 3:
					if _, err := s.GC(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	var total int64
	for _, i := range s.List() {
		total += i.Size
		if i.Pinned {
			t.Errorf("%v is still pinned", i.Hash)
		}
	}
	if total > 300 || len(files(t, s)) != len(s.List()) {
		t.Fatal(total, files(t, s))
	}
}

func TestParseHash(t *testing.T) {
	h := Hash(sha256.Sum256([]byte("x")))
	if got, err := ParseHash(h.String()); err != nil || got != h {
		t.Fatalf("%v, %v", got, err)
	}
	good := h.String()
	for _, bad := range []string{"", "sha256:", good[7:], strings.ToUpper(good), "sha256:" + strings.ToUpper(good[7:]), good + "0", good[:len(good)-1],
		"sha256:../../../../../../../etc/passwd", "sha512:" + good[7:], good[:70] + "g", good + "\x00", " " + good} {
		if _, err := ParseHash(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add("sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")
	f.Add("sha256:../x")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHash(s)
		if err == nil && (h.String() != s || strings.ContainsAny(h.name(), "/.\\\x00")) {
			t.Fatalf("%q became %q", s, h)
		}
	})
}
