package store_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
)

// TestOneEpoch takes one epoch the whole way, on a real disk.
func TestOneEpoch(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	st, err := store.OpenDir(vfs.Default, filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	j := store.OpenJob(st, "orders / eu", store.JobOptions{})
	at, m, err := j.Claim(ctx, 0)
	if err != nil || at != 1 || m != nil {
		t.Fatal(at, m, err)
	}
	local := filepath.Join(dir, "000007.sst")
	if err := os.WriteFile(local, []byte("a table"), 0o666); err != nil {
		t.Fatal(err)
	}
	task := j.Task(flow.TaskID{Chain: "c"}, at, nil)
	u := task.Begin(ctx, 1)
	if err := u.Link("000007.sst", local); err != nil {
		t.Fatal(err)
	}
	w, err := u.Create("meta")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "meta data"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files, bytes, err := u.Done()
	if err != nil || bytes != 16 || len(files) != 2 {
		t.Fatal(files, bytes, err)
	}
	if err := os.Remove(local); err != nil {
		t.Fatal(err)
	}
	m = &checkpoint.Manifest{Job: "orders / eu", Attempt: 1, Epoch: 1, Tasks: []checkpoint.TaskSnapshot{{Chain: "c", Parallelism: 1,
		Keyed: &checkpoint.Keyed{Form: 2, Files: files}}}}
	if err := j.Commit(ctx, m); err != nil {
		t.Fatal(err)
	}

	again := store.OpenJob(st, "orders / eu", store.JobOptions{})
	at, m, err = again.Claim(ctx, 0)
	if err != nil || at != 2 || m == nil || m.Epoch != 1 || again.LastEpoch() != 1 {
		t.Fatal(at, m, err)
	}
	got := again.Files(m.Tasks[0].Keyed.Files)
	back := filepath.Join(dir, "back")
	if err := got.Fetch(ctx, "000007.sst", back); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(back); err != nil || string(b) != "a table" {
		t.Fatalf("%q, %v", b, err)
	}
	task = again.Task(flow.TaskID{Chain: "c"}, at, m.Tasks[0].Keyed.Files)
	u = task.Begin(ctx, 2)
	if err := u.Link("000007.sst", back); err != nil {
		t.Fatal(err)
	}
	if files, bytes, err := u.Done(); err != nil || bytes != 0 || files[0].Blob != m.Tasks[0].Keyed.Files[0].Blob {
		t.Fatal(files, bytes, err)
	}
	if jobs, err := store.Jobs(ctx, st); err != nil || len(jobs) != 1 || jobs[0] != "orders / eu" {
		t.Fatal(jobs, err)
	}
}
