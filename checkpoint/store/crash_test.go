package store_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
)

// strikes is a file system on which, at one operation that changes something, the
// power goes, or the disk begins to give errors.
type strikes struct {
	vfs.FS
	mem *vfs.MemFS
	mu  struct {
		sync.Mutex
		n, at  int
		strike func()
		err    error // of all operations from then on
		failed int
	}
}

func (s *strikes) op() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.n++
	if s.mu.n == s.mu.at && s.mu.strike != nil {
		s.mu.strike()
	}
	if s.mu.err != nil && s.mu.n >= s.mu.at {
		s.mu.failed++
		return s.mu.err
	}
	return nil
}

func (s *strikes) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.op(); err != nil {
		return nil, err
	}
	f, err := s.FS.Create(name, c)
	return &struckFile{f, s}, err
}

func (s *strikes) Link(a, b string) error {
	if err := s.op(); err != nil {
		return err
	}
	return s.FS.Link(a, b)
}

func (s *strikes) Rename(a, b string) error {
	if err := s.op(); err != nil {
		return err
	}
	return s.FS.Rename(a, b)
}

func (s *strikes) Remove(name string) error {
	if err := s.op(); err != nil {
		return err
	}
	return s.FS.Remove(name)
}

func (s *strikes) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	return &struckFile{f, s}, err
}

type struckFile struct {
	vfs.File
	s *strikes
}

func (f *struckFile) Write(p []byte) (int, error) {
	if err := f.s.op(); err != nil {
		return len(p) / 2, err
	}
	return f.File.Write(p)
}

func (f *struckFile) Sync() error {
	if err := f.s.op(); err != nil {
		return err
	}
	return f.File.Sync()
}

// runEpochs commits epochs until something fails. acked is told of each.
func runEpochs(t *testing.T, fs *strikes, epochs int, acked func(uint64)) error {
	ctx := t.Context()
	d, err := store.OpenDir(fs, "/state/deep")
	if err != nil {
		return err
	}
	j := store.OpenJob(d, "job", store.JobOptions{FS: fs, Retain: 2})
	at, _, err := j.Claim(ctx, 0)
	if err != nil {
		return err
	}
	task, staging := j.Task(flow.TaskID{Chain: "c"}, at, nil), j.Staging(at)
	for e := 1; e <= epochs; e++ {
		u := task.Begin(ctx, flow.Epoch(e))
		for _, n := range []int{e - 1, e} { // Each tree file lives for two epochs.
			path := fmt.Sprintf("/%06d.sst", n)
			f, err := fs.mem.Create(path, vfs.WriteCategoryUnspecified) // The tree's disk does not fail here.
			if err == nil {
				_, err = io.WriteString(f, path)
			}
			// Not synced: the storage has to see to that.
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
			if err := u.Link(path[1:], path); err != nil {
				u.Abort()
				return err
			}
		}
		meta, err := u.Create("meta")
		if err == nil {
			_, err = fmt.Fprint(meta, "meta of ", e)
		}
		if err != nil {
			u.Abort()
			return err
		}
		if err := meta.Close(); err != nil {
			return err
		}
		files, _, err := u.Done()
		if err != nil {
			u.Abort()
			return err
		}
		s, err := staging.Create(ctx, "part")
		if err != nil {
			return err
		}
		if _, err := fmt.Fprint(s, "part of ", e); err != nil {
			s.Abort()
			return err
		}
		part, err := s.Commit()
		if err != nil {
			return err
		}
		err = j.Commit(ctx, &checkpoint.Manifest{Job: "job", Attempt: uint64(at), Epoch: uint64(e),
			Tasks:        []checkpoint.TaskSnapshot{{Chain: "c", Keyed: &checkpoint.Keyed{Form: 2, Files: files}}},
			Committables: []checkpoint.Committable{{Operator: "sink", Files: []checkpoint.File{part}}}})
		if err != nil {
			return err
		}
		acked(uint64(e))
		if _, err := j.Collect(ctx); err != nil {
			return err
		}
	}
	return nil
}

// after opens what a crash has left and looks whether all is there that was acknowledged.
func after(t *testing.T, fs vfs.FS, acked uint64) {
	t.Helper()
	d, err := store.OpenDir(fs, "/state/deep")
	if err != nil {
		t.Fatal(err)
	}
	j := store.OpenJob(d, "job", store.JobOptions{FS: fs})
	_, m, err := j.Claim(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if m == nil && acked > 0 || m != nil && m.Epoch < acked {
		t.Fatalf("epoch %d was committed and the newest is %v", acked, m)
	}
	ms, err := j.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		if v, err := j.Verify(t.Context(), m); err != nil || len(v.Problems) > 0 {
			t.Fatalf("epoch %d of %d acknowledged: %v %v", m.Epoch, acked, err, v.Problems)
		}
	}
}

// TestPowerCut takes the power away at every operation in turn. What was not synced is
// there, or not, block by block.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{0, 50} {
		for at := 1; ; at++ {
			mem := vfs.NewCrashableMem()
			fs := &strikes{FS: mem, mem: mem}
			var acked, then uint64
			var left *vfs.MemFS
			fs.mu.at = at
			fs.mu.strike = func() {
				left = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(at), 1))})
				then = acked
			}
			if err := runEpochs(t, fs, 4, func(e uint64) { fs.mu.Lock(); acked = e; fs.mu.Unlock() }); err != nil {
				t.Fatal(err)
			}
			if left == nil {
				if at < 60 {
					t.Fatalf("only %d operations", at)
				}
				break
			}
			after(t, left, then)
			if t.Failed() {
				t.Fatalf("cut at operation %d, %d %%", at, percent)
			}
		}
	}
}

// TestDiskErrors makes the disk full, or broken, from every operation on in turn.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	for _, broken := range []error{syscall.ENOSPC, syscall.EIO} {
		for at := 1; ; at++ {
			mem := vfs.NewCrashableMem()
			fs := &strikes{FS: mem, mem: mem}
			fs.mu.at, fs.mu.err = at, broken
			var acked uint64
			err := runEpochs(t, fs, 3, func(e uint64) { acked = e })
			if fs.mu.failed == 0 {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			// Cleaning up may fail without a word; what was put may not.
			if err == nil && acked != 3 || err != nil && !errors.Is(err, broken) {
				t.Fatalf("from operation %d on: epoch %d, %v", at, acked, err)
			}
			after(t, mem, acked)
		}
	}
}
