package executor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attributes make a process the leader of its own group that dies with its agent, in its
// cgroup from its first instruction on.
func (c *cgroup) attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if c != nil {
		a.UseCgroupFD, a.CgroupFD = true, int(c.dir.Fd())
	}
	return a
}

// wait waits for the end of the process, and ends its group while the process id is still its
// own: nobody can have it before the process was waited for.
func (l *local) wait() (*os.ProcessState, error) {
	for {
		err := unix.Waitid(unix.P_PID, l.p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break // any other error comes again below
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	killGroup(l.p.Pid)
	l.mu.reaped = true
	return l.p.Wait()
}

// killGroup kills a process group, which may have no members.
func killGroup(pid int) { _ = unix.Kill(-pid, unix.SIGKILL) }

// noCoreDumps keeps a process that crashes from filling the disk with what it had in memory,
// secrets among it. If it has ended already, there is nothing to limit.
func noCoreDumps(pid int) { _ = unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil) }

func signalName(s syscall.Signal) string {
	if n := unix.SignalName(s); n != "" {
		return n
	}
	return "signal " + strconv.Itoa(int(s))
}

// sweeps bounds how often endProcesses looks again: processes start others until they die.
const sweeps = 100

// endProcesses kills all processes that were started as executors in dir or below it,
// or by such ones, and returns how many it found. They are known by their environment,
// so that one that has left its process group is found too. Who may not be looked at
// is nobody's that this agent has started.
func endProcesses(dir string) (found int) {
	mark := []byte(DirEnv + "=" + dir)
	seen := map[int]bool{}
	for range sweeps {
		left := false
		for _, pid := range processes() {
			if pid == os.Getpid() || !marked(pid, mark) {
				continue
			}
			p, err := os.FindProcess(pid) // from here on the same process, or none
			if err != nil {
				continue
			}
			if marked(pid, mark) {
				left = true
				seen[pid] = true
				_ = p.Kill() // it may have ended meanwhile
			}
			_ = p.Release() // it is not our child
		}
		if !left {
			break
		}
		time.Sleep(5 * time.Millisecond) // until they are gone
	}
	return len(seen)
}

func processes() (pids []int) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil
	}
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// marked reports whether a process has the mark in its environment, alone or with a path
// below it. One that has ended has no environment.
func marked(pid int, mark []byte) bool {
	env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if rest, ok := bytes.CutPrefix(v, mark); ok && (len(rest) == 0 || strings.HasPrefix(string(rest), "/")) {
			return true
		}
	}
	return false
}

// checkCgroup2 wants root to be of cgroup version 2.
func checkCgroup2(root string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return fmt.Errorf("executor: look at %s: %w", root, err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return fmt.Errorf("executor: %s is not cgroup version 2", root)
	}
	return nil
}
