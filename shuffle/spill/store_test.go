package spill

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
)

func TestBudget(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{Budget: 20 << 10})
	opt := Options{Partitions: 4, Memory: 1}
	if _, _, err := write(fs, s, idOf(0, 1), opt, 100, 10); err != nil {
		t.Fatal(err)
	}
	before := s.Used()
	_, _, err := write(fs, s, idOf(1, 1), opt, 2000, 10)
	if !errors.Is(err, ErrBudget) || !strings.Contains(err.Error(), "of 20480") || !strings.Contains(err.Error(), "producer 1") {
		t.Error(err)
	}
	if s.Used() != before {
		t.Errorf("%d bytes are taken, %d were before", s.Used(), before)
	}
	if _, _, err := write(fs, s, idOf(2, 1), opt, 10, 10); err != nil {
		t.Error(err)
	}
	if err := s.RemoveJob("job-1"); err != nil || s.Used() != 0 || len(s.Outputs("")) != 0 {
		t.Error(err, s.Used())
	}
	if names, err := fs.List("spill"); err != nil || len(names) != 1 {
		t.Error(names, err)
	}
}

func TestFencing(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{})
	opt := Options{Partitions: 1}
	begin := func(a flow.Attempt) *Output[order] {
		t.Helper()
		o, err := NewOutput[order](fs, s, idOf(0, a), opt)
		if err != nil {
			t.Fatal(err)
		}
		o.Senders()[0].Control(flow.Control{Kind: flow.ControlEnd})
		return o
	}
	slow := begin(1)
	fast := begin(2)
	if _, err := slow.Finish(); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	if _, err := fast.Finish(); err != nil {
		t.Fatal(err)
	}
	old, err := s.OpenRange(t.Context(), idOf(0, 2), Range{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewOutput[order](fs, s, idOf(0, 1), opt); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	if _, err := begin(3).Finish(); err != nil {
		t.Fatal(err)
	}
	if out := s.Outputs(""); len(out) != 1 || out[0].ID.Attempt != 3 {
		t.Error(out)
	}
	if _, err := s.OpenRange(t.Context(), idOf(0, 2), Range{0, 1}); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	// Who reads it already goes on.
	if _, err := io.ReadAll(old); err != nil {
		t.Error(err)
	}
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	s.Fence(idOf(0, 4))
	if _, err := s.OpenRange(t.Context(), idOf(0, 3), Range{0, 1}); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	// Its name is given before the store hears of it, and it is void then.
	late := begin(4)
	s.Fence(idOf(0, 5))
	if _, err := late.finish(); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	late.Abort()
	gone := begin(6)
	if err := s.RemoveJob("job-1"); err != nil {
		t.Error(err)
	}
	if _, err := gone.Finish(); !errors.Is(err, ErrStale) || s.Used() != 0 {
		t.Error(err, s.Used())
	}
	if names, err := fs.List("spill/job-1"); err != nil || len(names) > 0 {
		t.Error(names, err)
	}
	if err := s.Remove(idOf(0, 6)); err != nil {
		t.Error(err)
	}
	if err := s.Done(Summary{ID: idOf(0, 6)}); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
}

// TestOldAttemptsAtOpen: of two attempts on disk the newer one is kept.
func TestOldAttemptsAtOpen(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{})
	if _, _, err := write(fs, s, idOf(0, 1), Options{Partitions: 1}, 5, 5); err != nil {
		t.Fatal(err)
	}
	first := contentsOf(t, fs, s.path(idOf(0, 1)))
	if _, _, err := write(fs, s, idOf(0, 2), Options{Partitions: 1}, 5, 5); err != nil {
		t.Fatal(err)
	}
	replace(t, fs, s.path(idOf(0, 1)), first)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs, StoreOptions{})
	if out := s.Outputs(""); len(out) != 1 || out[0].ID.Attempt != 2 || len(s.Cleaned()) != 1 || s.Used() != out[0].FileBytes {
		t.Error(out, s.Cleaned())
	}
}

// TestNames: what others have chosen does not lead out of the directory.
func TestNames(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{})
	for _, name := range []string{"..", "../../etc", "/etc", "a/b", "ü.spill", ".", "a b\x00", "%2e"} {
		id := ID{Job: flow.JobID(name), Exchange: flow.EdgeID{To: flow.OperatorID(name)}, Attempt: 1}
		if got := s.path(id); strings.Count(got, "/") != 2 || strings.Contains(got, "..") || strings.ContainsRune(got, 0) {
			t.Errorf("%q: %s", name, got)
		}
		if _, _, err := write(fs, s, id, Options{Partitions: 1}, 1, 1); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := s.OpenRange(t.Context(), id, Range{0, 2}); err == nil {
			t.Error("a range beyond the end")
		}
	}
	n := len(s.Outputs(""))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s = openStore(t, fs, StoreOptions{}); len(s.Outputs("")) != n || n != 8 {
		t.Error(s.Outputs(""), s.Broken())
	}
	for _, id := range []ID{{}, {Job: "j", Attempt: 1}, {Job: "j", Exchange: flow.EdgeID{To: "o"}}, {Job: "j", Exchange: flow.EdgeID{To: "o"}, Attempt: 1, Producer: -1},
		{Job: flow.JobID(strings.Repeat("x", 300)), Exchange: flow.EdgeID{To: "o"}, Attempt: 1}} {
		if _, err := s.Begin(id); err == nil {
			t.Errorf("%s is taken", id)
		}
	}
}

// TestManyAtOnce: writers, readers, and jobs that are removed under them.
func TestManyAtOnce(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{Budget: 1 << 30})
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for round := range flow.Attempt(8) {
				id := idOf(w, round+1)
				if w%2 == 1 {
					id.Job = "job-2"
				}
				_, _, err := write(fs, s, id, Options{Partitions: 4, Memory: 1}, 60, 10)
				if err != nil {
					if id.Job == "job-1" || !errors.Is(err, ErrStale) && !isNotExist(err) {
						t.Error(err)
					}
					continue
				}
				got, _, err := read(t, s, []ID{id}, Range{0, 4}, 4, 1000)
				if _, lost := IsLost(err); err == nil && len(got) != 60 || err != nil && (id.Job == "job-1" || !lost) {
					t.Errorf("%d records, %v", len(got), err)
				}
				if w == 0 {
					if err := s.RemoveJob("job-2"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(s.RemoveJob("job-1"), s.RemoveJob("job-2")); err != nil || s.Used() != 0 {
		t.Error(err, s.Used())
	}
}
