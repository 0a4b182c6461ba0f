//go:build linux

package executor

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/weirflow/weir/api"
)

// TestCgroupFiles looks at what is written, in a directory that is none.
func TestCgroupFiles(t *testing.T) {
	root := t.TempDir()
	c, err := openCgroups(root, "/some/agent") // writes the files that a kernel has
	if err != nil {
		t.Fatal(err)
	}
	c.memory, c.cpu = true, true // as a kernel says
	g, err := c.create(api.Assignment{Alloc: api.Alloc{ID: "a1"}, Job: api.JobSpec{Memory: 1 << 30, CPUs: 3}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.dir.Close()
	for file, want := range map[string]string{"memory.max": "1073741824", "memory.oom.group": "1", "cpu.max": "300000 100000"} {
		if b, err := os.ReadFile(filepath.Join(g.path, file)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", file, b, err)
		}
	}
	for content, want := range map[string]bool{"low 1\noom_kill 0\n": false, "oom 2\noom_kill 3\n": true, "": false} {
		if err := os.WriteFile(filepath.Join(g.path, "memory.events"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := g.outOfMemory(); got != want {
			t.Errorf("%q: %v", content, got)
		}
	}
	var none *cgroups
	if g, err := none.create(api.Assignment{}); g != nil || err != nil {
		t.Fatal(g, err)
	}
}

// TestCgroup runs an executor in a real one, where there is version 2 and it may be written
// to: what has left its session is ended all the same, and nothing stays.
func TestCgroup(t *testing.T) {
	root := ""
	for _, r := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if checkCgroup2(r) == nil {
			root = r
		}
	}
	if root == "" {
		t.Skip("there is no cgroup version 2 here")
	}
	probe := filepath.Join(root, "weir-probe-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(probe, 0o755); err != nil {
		t.Skip("cgroups may not be made here:", err)
	}
	if err := os.Remove(probe); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Options{Cgroup: root})
	r.apply(assignment("a1", "escape"))
	s := r.await("a1", func(s api.AllocStatus) bool { return s.State == api.AllocRunning && s.Job != nil })
	path := filepath.Join(r.cgroups.parent, "a1")
	b, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	if want := strconv.Itoa(s.PID) + "\n" + s.Job.Reason + "\n"; string(b) != want {
		t.Fatalf("in the cgroup: %q, want %q", b, want)
	}
	if err := r.Kill(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(s.Job.Reason)
	if err != nil {
		t.Fatal(err)
	}
	dies(t, pid)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, r.cgroups.parent} {
		if _, err := os.Stat(p); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("%s is left: %v", p, err)
		}
	}
}
