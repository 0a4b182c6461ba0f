package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
)

// benchTree is n files of a tree.
func benchTree(b *testing.B, n, size int) (dir string, paths []string) {
	b.Helper()
	dir = b.TempDir()
	data := make([]byte, size)
	for i := range n {
		p := filepath.Join(dir, fmt.Sprintf("%06d.sst", i))
		if err := os.WriteFile(p, data, 0o666); err != nil {
			b.Fatal(err)
		}
		paths = append(paths, p)
	}
	return dir, paths
}

func benchJob(b *testing.B, dir string) *store.Job {
	b.Helper()
	st, err := store.OpenDir(vfs.Default, filepath.Join(dir, "state"))
	if err != nil {
		b.Fatal(err)
	}
	return store.OpenJob(st, "job", store.JobOptions{})
}

// BenchmarkOpen fetches a snapshot of 1 GiB in 16 files: with a manifest that says that
// the files are as they were, and without.
func BenchmarkOpen(b *testing.B) {
	const n, size = 16, 64 << 20
	dir, paths := benchTree(b, n, size)
	j := benchJob(b, dir)
	at, _, err := j.Claim(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	u := j.Task(flow.TaskID{Chain: "c"}, at, nil).Begin(b.Context(), 1)
	for _, p := range paths {
		if err := u.Link(filepath.Base(p), p); err != nil {
			b.Fatal(err)
		}
	}
	files, _, err := u.Done()
	if err != nil {
		b.Fatal(err)
	}
	open := func(b *testing.B) {
		b.SetBytes(n * size)
		for i := 0; b.Loop(); i++ {
			f := j.Files(files)
			for _, name := range f.Names() {
				to := filepath.Join(dir, fmt.Sprint(b.Name()[len("BenchmarkOpen/"):], i, name))
				if err := f.Fetch(b.Context(), name, to); err != nil {
					b.Fatal(err)
				}
				if err := os.Remove(to); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("summed", open)
	m := &checkpoint.Manifest{Job: "job", Attempt: uint64(at), Epoch: 1, Created: 1 << 60}
	if err := j.Commit(b.Context(), m); err != nil {
		b.Fatal(err)
	}
	b.Run("trusted", open)
}

// BenchmarkEpoch is an epoch that adds one file of 1 MiB to the hundred that are there, and
// its commit and collection.
func BenchmarkEpoch(b *testing.B) {
	dir, paths := benchTree(b, 100, 1<<20)
	j := benchJob(b, dir)
	at, _, err := j.Claim(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	task := j.Task(flow.TaskID{Chain: "c"}, at, nil)
	data := make([]byte, 1<<20)
	for e := 1; b.Loop(); e++ {
		p := filepath.Join(dir, fmt.Sprintf("%06d.sst", 1000+e))
		if err := os.WriteFile(p, data, 0o666); err != nil {
			b.Fatal(err)
		}
		paths = append(paths[1:], p)
		u := task.Begin(b.Context(), flow.Epoch(e))
		for _, p := range paths {
			if err := u.Link(filepath.Base(p), p); err != nil {
				b.Fatal(err)
			}
		}
		files, _, err := u.Done()
		if err != nil {
			b.Fatal(err)
		}
		if err := j.Commit(b.Context(), &checkpoint.Manifest{Job: "job", Attempt: uint64(at), Epoch: uint64(e),
			Tasks: []checkpoint.TaskSnapshot{{Chain: "c", Keyed: &checkpoint.Keyed{Form: 2, Files: files}}}}); err != nil {
			b.Fatal(err)
		}
		if _, err := j.Collect(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
