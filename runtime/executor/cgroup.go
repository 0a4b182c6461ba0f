package executor

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
)

// cgroups is where those of executors are made: root/weir/AGENT. Nothing runs in AGENT
// itself, since a cgroup that gives controllers to others may have no processes. Where
// nothing can be limited, they still tell which processes are to be ended. A nil cgroups
// makes none.
type cgroups struct {
	parent      string
	memory, cpu bool // are there to limit
}

// cgroup is that of one executor. All methods take a nil one.
type cgroup struct {
	path string
	dir  *os.File
}

// cgroupPeriod is that of cpu.max, in microseconds.
const cgroupPeriod = 100_000

// openCgroups makes the parent below root, which must be of version 2, and removes what an earlier agent in the same directory has
// left in it.
func openCgroups(root, dir string) (*cgroups, error) {
	sum := sha256.Sum256([]byte(dir))
	weir := filepath.Join(root, "weir")
	c := &cgroups{parent: filepath.Join(weir, fmt.Sprintf("agent-%x", sum[:6]))}
	if err := os.MkdirAll(c.parent, 0o755); err != nil {
		return nil, fmt.Errorf("executor: make a cgroup: %w", err)
	}
	for _, up := range []string{root, weir, c.parent} {
		for _, controller := range []string{"memory", "cpu"} {
			// Where it cannot be had, the next level does not have it, which is looked at below.
			_ = os.WriteFile(filepath.Join(up, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
		}
	}
	has, err := os.ReadFile(filepath.Join(c.parent, "cgroup.subtree_control"))
	if err != nil {
		return nil, fmt.Errorf("executor: look for controllers: %w", err)
	}
	controllers := strings.Fields(string(has))
	c.memory, c.cpu = slices.Contains(controllers, "memory"), slices.Contains(controllers, "cpu")
	left, err := os.ReadDir(c.parent)
	if err != nil {
		return nil, fmt.Errorf("executor: look for cgroups: %w", err)
	}
	for _, e := range left {
		if e.IsDir() {
			old := &cgroup{path: filepath.Join(c.parent, e.Name())}
			old.remove()
		}
	}
	return c, nil
}

// close removes the parent, and the one of all agents if it was the last.
func (c *cgroups) close() {
	if c != nil {
		_ = os.Remove(c.parent) // an empty one that stays does no harm
		_ = os.Remove(filepath.Dir(c.parent))
	}
}

// create makes the cgroup of an executor, with the limits of its job.
func (c *cgroups) create(a api.Assignment) (*cgroup, error) {
	if c == nil {
		return nil, nil
	}
	g := &cgroup{path: filepath.Join(c.parent, string(a.Alloc.ID))}
	if err := os.Mkdir(g.path, 0o755); err != nil {
		return nil, fmt.Errorf("executor: make a cgroup: %w", err)
	}
	var errs []error
	set := func(file, value string) {
		errs = append(errs, os.WriteFile(filepath.Join(g.path, file), []byte(value), 0o644))
	}
	if c.memory && a.Job.Memory > 0 {
		set("memory.max", strconv.FormatInt(a.Job.Memory, 10))
		set("memory.oom.group", "1") // an executor without its children, or they without it, is of no use
	}
	if c.cpu && a.Job.CPUs > 0 {
		set("cpu.max", fmt.Sprintf("%d %d", a.Job.CPUs*cgroupPeriod, cgroupPeriod))
	}
	var err error
	if g.dir, err = os.Open(g.path); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		g.remove()
		return nil, fmt.Errorf("executor: set the limits of a cgroup: %w", err)
	}
	return g, nil
}

// kill ends all processes in it.
func (g *cgroup) kill() {
	if g != nil {
		_ = os.WriteFile(filepath.Join(g.path, "cgroup.kill"), []byte("1"), 0o644) // kernels before 5.14 have none
	}
}

// outOfMemory reports whether the kernel has killed a process for want of memory.
func (g *cgroup) outOfMemory() bool {
	if g == nil {
		return false
	}
	b, err := os.ReadFile(filepath.Join(g.path, "memory.events"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok && n != "0" {
			return true
		}
	}
	return false
}

// remove ends what is in it and removes it. What was killed is in it for a moment more.
func (g *cgroup) remove() {
	if g == nil {
		return
	}
	g.kill()
	if g.dir != nil {
		_ = g.dir.Close() // it was opened for its descriptor only
	}
	for range 100 {
		if err := os.Remove(g.path); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
