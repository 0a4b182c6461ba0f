package store_test

import (
	"io"
	"regexp"
	"slices"
	"testing"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
)

// TestKeys holds fast where things are in storage: a newer release must find what an
// older one has put there.
func TestKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	st, err := store.Open(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	j := store.OpenJob(st, "orders / eu", store.JobOptions{})
	if _, err := j.Identity(ctx); err != nil {
		t.Fatal(err)
	}
	at, _, err := j.Claim(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	u := j.Task(flow.TaskID{Chain: "sum/2", Subtask: 3}, at, nil).Begin(ctx, 1)
	w, err := u.Create("STATES")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "states"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files, _, err := u.Done()
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Commit(ctx, &checkpoint.Manifest{Job: "orders / eu", Attempt: uint64(at), Epoch: 1,
		Tasks: []checkpoint.TaskSnapshot{{Chain: "sum/2", Subtask: 3, Parallelism: 4, Keyed: &checkpoint.Keyed{Form: 2, Files: files}}}}); err != nil {
		t.Fatal(err)
	}
	random := regexp.MustCompile(`-[0-9a-z]+-(\d+)-STATES$`)
	var keys []string
	for i, err := range st.List(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, random.ReplaceAllString(i.Key, "-RANDOM-$1-STATES"))
	}
	slices.Sort(keys)
	if want := []string{
		"jobs/orders%20%2F%20eu/blobs/00000001/0000000001-sum%2F2-3-RANDOM-1-STATES",
		"jobs/orders%20%2F%20eu/identity",
		"jobs/orders%20%2F%20eu/log/00000000000000000001",
		"jobs/orders%20%2F%20eu/log/00000000000000000002",
	}; !slices.Equal(keys, want) {
		t.Errorf("the keys are now\n%q\nand were\n%q", keys, want)
	}
}
