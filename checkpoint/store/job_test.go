package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/checkpoint/store/storetest"
	"github.com/weirflow/weir/flow"
)

// book is a job in a directory, with one file an epoch.
type book struct {
	t   *testing.T
	dir *store.Dir
	j   *store.Job
	at  flow.Attempt
	m   *checkpoint.Manifest
	n   int
}

func open(t *testing.T, o store.JobOptions) *book {
	t.Helper()
	b := &book{t: t, dir: openDir(t)}
	b.j = store.OpenJob(b.dir, "job", o)
	b.claim()
	return b
}

func (b *book) claim() {
	b.t.Helper()
	var err error
	if b.at, b.m, err = b.j.Claim(b.t.Context(), 0); err != nil {
		b.t.Fatal(err)
	}
}

// commit commits one epoch with a file of n bytes.
func (b *book) commit(e uint64, n int) error {
	b.t.Helper()
	b.n++
	u := b.j.Task(flow.TaskID{Chain: "c"}, b.at, nil).Begin(b.t.Context(), flow.Epoch(e))
	w, err := u.Create("data")
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := io.WriteString(w, strings.Repeat(fmt.Sprint(e%10), n)); err != nil {
		b.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.t.Fatal(err)
	}
	files, _, err := u.Done()
	if err != nil {
		b.t.Fatal(err)
	}
	return b.j.Commit(b.t.Context(), &checkpoint.Manifest{Job: "job", Attempt: uint64(b.at), Epoch: e, Created: time.Now().UnixMicro(),
		Tasks: []checkpoint.TaskSnapshot{{Chain: "c", Keyed: &checkpoint.Keyed{Form: 1, Files: files}}}})
}

func (b *book) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func epochs(t *testing.T, j *store.Job) (out []uint64) {
	t.Helper()
	ms, err := j.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		out = append(out, m.Epoch)
	}
	return out
}

// flip changes one bit of a stored file.
func flip(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 4
	// In place, as a disk would: the name and its other links stay.
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Second)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	b := open(t, store.JobOptions{Retain: 2})
	for e := range uint64(5) {
		b.must(b.commit(e+1, 10))
		_, err := b.j.Collect(t.Context())
		b.must(err)
	}
	if got := epochs(t, b.j); !slices.Equal(got, []uint64{4, 5}) {
		t.Error(got)
	}
	keys, err := storetest.Keys(t.Context(), b.dir, "")
	if err != nil || len(keys) != 4 {
		t.Error(keys, err)
	}
	m, err := b.j.Load(t.Context(), 0)
	if err != nil || m.Epoch != 5 {
		t.Error(m, err)
	}
	if _, err := b.j.Load(t.Context(), 1); !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "[4 5]") {
		t.Error(err)
	}
}

func TestCommitRefuses(t *testing.T) {
	t.Parallel()
	b := open(t, store.JobOptions{})
	b.must(b.commit(3, 10))
	for _, m := range []*checkpoint.Manifest{
		{Job: "job", Attempt: 1, Epoch: 3}, {Job: "other", Attempt: 1, Epoch: 4}, {Job: "job", Attempt: 2, Epoch: 4},
	} {
		if err := b.j.Commit(t.Context(), m); err == nil {
			t.Errorf("%+v was committed", m)
		}
	}
	if _, _, err := store.OpenJob(b.dir, "job", store.JobOptions{}).Claim(t.Context(), 1); !errors.Is(err, store.ErrFenced) {
		t.Error(err)
	}
	if at, m, err := store.OpenJob(b.dir, "job", store.JobOptions{}).Claim(t.Context(), 7); at != 7 || m.Epoch != 3 || err != nil {
		t.Error(at, m, err)
	}
	if err := b.commit(4, 10); !errors.Is(err, store.ErrFenced) {
		t.Error(err)
	}
	if err := b.commit(4, 10); !errors.Is(err, store.ErrUnclaimed) {
		t.Error(err)
	}
}

// TestUnsure is a commit whose answer never comes: the claim is gone, and the next one
// finds out.
func TestUnsure(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{true, false} {
		mem := store.NewMem(vfs.Default)
		f := storetest.NewFaulty(mem, 1, storetest.Faults{})
		j := store.OpenJob(f, "job", store.JobOptions{Retry: quick})
		if _, _, err := j.Claim(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		f.Hook(func(op, key string) error {
			if op != "put if absent" {
				return nil
			}
			defer cancel()
			if done {
				// It arrives, and the process hears nothing of it.
				e := store.Entry{Kind: store.Committed, Attempt: 1, Epoch: 1, Manifest: checkpoint.AppendManifest(nil, &checkpoint.Manifest{Job: "job", Attempt: 1, Epoch: 1})}
				return errors.Join(context.Canceled, mem.PutIfAbsent(context.WithoutCancel(ctx), key, store.AppendEntry(nil, &e)))
			}
			return context.Canceled
		})
		m := &checkpoint.Manifest{Job: "job", Attempt: 1, Epoch: 1}
		if err := j.Commit(ctx, m); err == nil || errors.Is(err, store.ErrFenced) {
			t.Fatal(err)
		}
		f.Hook(nil)
		if err := j.Commit(t.Context(), m); !errors.Is(err, store.ErrUnclaimed) {
			t.Fatal(err)
		}
		_, got, err := j.Claim(t.Context(), 0)
		if err != nil || (got != nil) != done {
			t.Fatal(got, err)
		}
	}
}

// TestOvertaken begins an attempt between the put of another one and its look at what came of
// it. What was put counts then, and must not go away again.
func TestOvertaken(t *testing.T) {
	for _, at := range []string{"commit", "claim"} {
		t.Run(at, func(t *testing.T) {
			b := open(t, store.JobOptions{Retain: 1})
			b.must(b.commit(1, 10))
			slow := storetest.NewFaulty(b.dir, 1, storetest.Faults{})
			old := &book{t: t, dir: b.dir, j: store.OpenJob(slow, "job", store.JobOptions{Retain: 1})}
			next := &book{t: t, dir: b.dir, j: store.OpenJob(b.dir, "job", store.JobOptions{Retain: 1})}
			put := false
			slow.Hook(func(op, key string) error {
				switch {
				case op == "put if absent":
					put = true
				case op == "list" && put && next.at == 0:
					next.claim()
				}
				return nil
			})
			want := uint64(1)
			if at == "claim" {
				if _, _, err := old.j.Claim(t.Context(), 0); !errors.Is(err, store.ErrFenced) {
					t.Fatalf("claim that was overtaken: %v", err)
				}
			} else {
				next.at = 1 // Not at this claim.
				old.claim()
				next.at, want = 0, 2
				if err := old.commit(2, 10); !errors.Is(err, store.ErrFenced) {
					t.Fatalf("commit of an attempt that was overtaken: %v", err)
				}
			}
			if next.m == nil || next.m.Epoch != want {
				t.Fatalf("the next attempt begins with %v, want epoch %d", next.m, want)
			}
			_, err := next.j.Collect(t.Context())
			b.must(err)
			// It dies before its first epoch.
			third := &book{t: t, dir: b.dir, j: store.OpenJob(b.dir, "job", store.JobOptions{Retain: 1})}
			third.claim()
			if third.m == nil || third.m.Epoch != want {
				t.Fatalf("the attempt after that begins with %v, want epoch %d", third.m, want)
			}
			b.must(third.commit(want+1, 10))
		})
	}
}

// TestClaimBesideCommits begins an attempt while another one commits and prunes between its
// list of the log and its reads.
func TestClaimBesideCommits(t *testing.T) {
	b := open(t, store.JobOptions{Retain: 1})
	b.must(b.commit(1, 10))
	slow := storetest.NewFaulty(b.dir, 1, storetest.Faults{})
	next := &book{t: t, dir: b.dir, j: store.OpenJob(slow, "job", store.JobOptions{Retain: 1})}
	e := uint64(1)
	slow.Hook(func(op, _ string) error {
		if op == "get" && e < 5 {
			e++
			b.must(b.commit(e, 10))
			_, err := b.j.Collect(t.Context())
			return err
		}
		return nil
	})
	next.claim()
	if next.m == nil || next.m.Epoch != e {
		t.Fatalf("the attempt begins with %v, want epoch %d", next.m, e)
	}
}

// TestLostManifest removes the newest manifest from the log behind the store's back. To begin
// anew would be to give everything twice.
func TestLostManifest(t *testing.T) {
	b := open(t, store.JobOptions{Retain: 1})
	b.must(b.commit(1, 10))
	_, err := b.j.Collect(t.Context())
	b.must(err)
	b.claim()
	for info, err := range b.dir.List(t.Context(), "jobs/job/log/") {
		b.must(err)
		b.must(b.dir.Delete(t.Context(), info.Key))
		break
	}
	if _, _, err := b.j.Claim(t.Context(), 0); !errors.Is(err, checkpoint.ErrCorrupt) {
		t.Fatalf("claim without the manifest: %v", err)
	}
	if _, err := b.j.ClaimFresh(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	b.claim()
	if b.m != nil {
		t.Fatalf("begins with %v", b.m)
	}
}

func TestFresh(t *testing.T) {
	t.Parallel()
	b := open(t, store.JobOptions{})
	b.must(b.commit(8, 10))
	at, err := b.j.ClaimFresh(t.Context(), 0)
	if err != nil || at != 2 || b.j.LastEpoch() != 8 {
		t.Fatal(at, b.j.LastEpoch(), err)
	}
	if got := epochs(t, b.j); got != nil {
		t.Error(got)
	}
	b.at = at
	if err := b.commit(8, 10); err == nil {
		t.Error("a number was used twice")
	}
	b.must(b.commit(9, 10))
	_, err = b.j.Sweep(t.Context())
	b.must(err)
	if keys, err := storetest.Keys(t.Context(), b.dir, "jobs/job/blobs/"); err != nil || len(keys) != 1 {
		t.Error(keys, err)
	}
}

// TestDamagedLog has a bit flipped in the newest manifest. Nothing older is taken in its
// place, since its results are out.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	b := open(t, store.JobOptions{Retain: 5})
	b.must(b.commit(1, 10))
	b.must(b.commit(2, 10))
	flip(t, filepath.Join(b.dir.String(), fmt.Sprintf("jobs/job/log/%020d", 3)), 60)
	if _, _, err := b.j.Claim(t.Context(), 0); !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), "savepoint") {
		t.Fatal(err)
	}
	at, err := b.j.ClaimFresh(t.Context(), 0)
	b.must(err)
	if at <= 1 || b.j.LastEpoch() <= 2 {
		t.Fatal(at, b.j.LastEpoch())
	}
	b.claim() // Killed before its first commit: it goes on anew.
	if b.m != nil || b.at <= at {
		t.Fatal(b.at, b.m)
	}
	b.must(b.commit(uint64(b.j.LastEpoch())+1, 10))
	_, err = b.j.Sweep(t.Context())
	b.must(err)
	b.claim()
	if b.m == nil {
		t.Fatal("what was committed after the damage is lost")
	}
}

// TestDamagedFiles flips bits, cuts and removes stored files: none of it is ever given out.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 3 << 20} {
		for what, damage := range map[string]func(path string) error{
			"flipped": func(p string) error { flip(t, p, size/2); return nil },
			"cut":     func(p string) error { return os.Truncate(p, int64(size-1)) },
			"longer":  func(p string) error { return os.Truncate(p, int64(size+1)) },
			"gone":    os.Remove,
		} {
			b := open(t, store.JobOptions{})
			b.must(b.commit(1, size))
			b.claim()
			files := b.m.Tasks[0].Keyed.Files
			b.must(damage(filepath.Join(b.dir.String(), files[0].Blob)))
			wrong := checkpoint.ErrCorrupt
			if what == "gone" {
				wrong = store.ErrNotFound
			}
			for _, f := range []*store.Files{b.j.Files(files), store.FilesIn(b.dir, files)} {
				r, err := f.Open(t.Context(), "data")
				if err == nil {
					_, err = io.Copy(io.Discard, r)
					r.Close()
				}
				if !errors.Is(err, wrong) {
					t.Errorf("%s, %d bytes, read: %v", what, size, err)
				}
				path := filepath.Join(t.TempDir(), "fetched")
				if err := f.Fetch(t.Context(), "data", path); !errors.Is(err, wrong) {
					t.Errorf("%s, %d bytes, fetched: %v", what, size, err)
				}
				if _, err := os.Stat(path); err == nil {
					t.Errorf("%s, %d bytes: the file was left", what, size)
				}
			}
			v, err := b.j.Verify(t.Context(), b.m)
			if err != nil || len(v.Problems) != 1 || v.Files != 1 {
				t.Errorf("%s: %+v %v", what, v, err)
			}
		}
	}
}

func TestSavepoint(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := open(t, store.JobOptions{})
	b.must(b.commit(1, 2<<20))
	s, err := b.j.Staging(b.at).Create(ctx, "part")
	b.must(err)
	_, err = io.WriteString(s, "staged")
	b.must(err)
	part, err := s.Commit()
	b.must(err)
	m, err := b.j.Load(ctx, 1)
	b.must(err)
	m.Committables = []checkpoint.Committable{{Operator: "sink", Files: []checkpoint.File{part}}}

	place := t.TempDir()
	to, err := store.Open(ctx, place)
	b.must(err)
	b.must(b.j.Savepoint(ctx, to, "sp/one", m))
	if err := b.j.Savepoint(ctx, to, "sp/one", m); !errors.Is(err, store.ErrExists) {
		t.Fatal(err)
	}
	b.must(b.j.Remove(ctx))
	if keys, err := storetest.Keys(ctx, b.dir, ""); err != nil || len(keys) > 0 {
		t.Fatal(keys, err)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	b.must(os.Rename(filepath.Join(place, "sp", "one"), moved))

	got, st, err := store.LoadSavepoint(ctx, moved)
	b.must(err)
	if v, err := store.Verify(ctx, st, got); err != nil || len(v.Problems) > 0 || v.Files != 2 || v.Bytes != 2<<20+6 {
		t.Fatalf("%+v %v", v, err)
	}
	b.must(st.Close())
	// Another job goes on from it, and finds its files by their names alone.
	j := store.OpenJob(b.dir, "other", store.JobOptions{})
	at, _, err := j.Claim(ctx, 0)
	b.must(err)
	b.must(j.Files(got.Tasks[0].Keyed.Files).Fetch(ctx, "data", filepath.Join(t.TempDir(), "data")))
	r, err := j.Staging(at).Open(ctx, got.Committables[0].Files[0])
	b.must(err)
	if data, err := io.ReadAll(r); err != nil || string(data) != "staged" {
		t.Fatalf("%q %v", data, err)
	}
	r.Close()
	b.must(j.Close())
	// Its own snapshots do not build on files that belong to a user.
	local := filepath.Join(t.TempDir(), "data")
	b.must(os.WriteFile(local, make([]byte, 2<<20), 0o666))
	u := j.Task(flow.TaskID{Chain: "c"}, at, got.Tasks[0].Keyed.Files).Begin(ctx, 2)
	b.must(u.Link("data", local))
	if files, n, err := u.Done(); err != nil || n != 2<<20 || !strings.HasPrefix(files[0].Blob, "jobs/other/") {
		t.Fatal(files, n, err)
	}
	if _, _, err := store.LoadSavepoint(ctx, place); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}

// TestSavepointOfDamage copies nothing that is not as it was.
func TestSavepointOfDamage(t *testing.T) {
	t.Parallel()
	b := open(t, store.JobOptions{})
	b.must(b.commit(1, 1000))
	m, err := b.j.Load(t.Context(), 1)
	b.must(err)
	flip(t, filepath.Join(b.dir.String(), m.Tasks[0].Keyed.Files[0].Blob), 999)
	to := store.NewMem(vfs.Default)
	if err := b.j.Savepoint(t.Context(), to, "", m); !errors.Is(err, checkpoint.ErrCorrupt) {
		t.Fatal(err)
	}
	if _, err := to.Get(t.Context(), "manifest"); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	b := open(t, store.JobOptions{Retain: 10})
	for e := range uint64(4) {
		b.must(b.commit(e+1, 10))
	}
	b.must(b.j.Delete(t.Context(), 2))
	if err := b.j.Delete(t.Context(), 4); !errors.Is(err, store.ErrInUse) {
		t.Error(err)
	}
	if err := b.j.Delete(t.Context(), 2); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	if got := epochs(t, b.j); !slices.Equal(got, []uint64{1, 3, 4}) {
		t.Error(got)
	}
	if keys, err := storetest.Keys(t.Context(), b.dir, "jobs/job/blobs/"); err != nil || len(keys) != 3 {
		t.Error(keys, err)
	}
	b.must(b.commit(5, 10))
}

// TestUploadEnds sees that an upload ends with its context, whatever the storage does, and
// that its error is told.
func TestUploadEnds(t *testing.T) {
	t.Parallel()
	f := storetest.NewFaulty(store.NewMem(vfs.Default), 1, storetest.Faults{})
	spool := t.TempDir()
	j := store.OpenJob(f, "job", store.JobOptions{Retry: quick, Spool: spool})
	for _, faults := range []storetest.Faults{{Hang: 1}, {Broken: 1}, {Refused: 1}} {
		f.Set(faults)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		u := j.Task(flow.TaskID{Chain: "c"}, 1, nil).Begin(ctx, 1)
		for i := range 9 {
			w, err := u.Create(fmt.Sprint("file ", i))
			if err != nil {
				break
			}
			if _, err := w.Write(make([]byte, 3<<20)); err != nil {
				break
			}
			if i%2 == 0 {
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		if _, _, err := u.Done(); err == nil {
			t.Error("done")
		}
		f.Set(storetest.Faults{})
		u.Abort()
		cancel()
	}
	if keys, err := storetest.Keys(t.Context(), f, ""); err != nil || len(keys) > 0 {
		t.Error(keys, err)
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
}
