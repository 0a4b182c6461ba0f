//go:build unix

package executor

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/weirflow/weir/api"
)

// TestFetch gives an agent what executors may have left for it, and what they must not.
func TestFetch(t *testing.T) {
	m := &Manager{o: Options{Dir: t.TempDir()}}
	m.mu.allocs = map[api.AllocID]*alloc{}
	a := api.Alloc{ID: "a-1", Job: "a"}
	x := &alloc{m: m, id: a.ID, first: api.Assignment{Alloc: a}}
	x.status.Store(&api.AllocStatus{Alloc: a.ID, State: api.AllocRunning})
	m.mu.allocs[a.ID] = x
	m.mu.allocs["lost"] = lostAlloc(m, "lost", "it never was")
	if jobs := m.Jobs(); len(jobs) != 1 || jobs["a-1"] != "a" {
		t.Errorf("%v", jobs)
	}
	dir := m.localDir(a)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "secret")
	for file, text := range map[string]string{filepath.Join(dir, "profile-1"): "samples", filepath.Join(dir, "profile-2"): "too long", outside: "secret"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for to, link := range map[string]string{outside: "profile-3", "../../../../../../etc/passwd": "profile-4", "profile-2": "profile-5"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "profile-6"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "profile-7"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := m.Fetch("a-1", "profile-1", 7)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "samples" {
		t.Errorf("%q, %v", b, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "profile-1")); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	for _, c := range []struct {
		id   api.AllocID
		name string
	}{{"a-1", "profile-1"}, {"a-1", "profile-2"}, {"a-1", "profile-3"}, {"a-1", "profile-4"}, {"a-1", "profile-5"}, {"a-1", "profile-6"}, {"a-1", "profile-7"},
		{"a-1", "../a-1/profile-1"}, {"a-1", ""}, {"../a-1", "profile-1"}, {"b", "profile-1"}, {"lost", "profile-1"}} {
		if r, err := m.Fetch(c.id, c.name, 7); err == nil {
			b, _ := io.ReadAll(r)
			t.Errorf("%s %s was read: %q", c.id, c.name, b)
			r.Close()
		}
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "secret" {
		t.Errorf("what lies outside was touched: %q, %v", b, err)
	}
}
