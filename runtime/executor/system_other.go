//go:build unix && !linux

package executor

import (
	"errors"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes make a process the leader of its own group. That its agent ends it learns from
// the end of its input.
func (c *cgroup) attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// wait waits for the end of the process, and ends its group.
func (l *local) wait() (*os.ProcessState, error) {
	state, err := l.p.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.reaped = true
	killGroup(l.p.Pid)
	return state, err
}

func killGroup(pid int) { _ = unix.Kill(-pid, unix.SIGKILL) }

func noCoreDumps(int) {}

func signalName(s syscall.Signal) string {
	if n := unix.SignalName(s); n != "" {
		return n
	}
	return "signal " + strconv.Itoa(int(s))
}

// endProcesses finds nothing: here processes cannot be looked at by their environment. What
// has not left its process group was ended with it.
func endProcesses(string) int { return 0 }

func checkCgroup2(string) error { return errors.New("executor: cgroups are of Linux") }
