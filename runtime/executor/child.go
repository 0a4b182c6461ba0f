package executor

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/weirflow/weir/api"
)

// Command is an executor that is to be started.
type Command struct {
	Alloc api.Alloc
	Path  string
	Args  []string // the program's name first
	Env   []string
	Dir   string // where it works
}

// Child is an executor that lives.
type Child struct {
	PID int
	// Input is what it is told by. It may be closed while it is written to, which ends the write.
	Input io.WriteCloser
	// Out, Err and Events are what it says. They are read until their end, or for a little
	// while after its own.
	Out, Err, Events Output
	// Term asks it to end, and Kill ends it. They do not block, and may come after its end.
	Term, Kill func()
	// Wait returns when nothing of it is left, and says how it has ended. It is called once.
	Wait func() Ended
}

// Output is what a child says: a pipe, or something like it.
type Output interface {
	io.ReadCloser
	SetReadDeadline(time.Time) error
}

// Ended says how a child has ended.
type Ended struct {
	Code   int
	Signal string // that has ended it; empty where it has ended by itself
	Err    error  // nobody knows how
}

// local is a child that is a process of this machine.
type local struct {
	p  *os.Process
	mu struct {
		sync.Mutex
		reaped bool // the process id may be another's
	}
}

// startLocal starts a process in the cgroup.
func (m *Manager) startLocal(ctx context.Context, c Command, in *cgroup) (_ *Child, err error) {
	var child, ours [4]*os.File // stdin, stdout, stderr, events
	defer func() {
		for i := range child {
			if child[i] != nil {
				_ = child[i].Close() // the child has its own
			}
			if err != nil && ours[i] != nil {
				_ = ours[i].Close() // nobody was at the other end
			}
		}
	}()
	for i := range child {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		if child[i], ours[i] = w, r; i == 0 {
			child[i], ours[i] = r, w
		}
	}
	l := &local{}
	attr := &os.ProcAttr{Dir: c.Dir, Env: c.Env, Files: child[:], Sys: in.attributes()}
	// A program that was written a moment ago may be busy: a process that is being forked
	// elsewhere in this one holds the file until it has become another program.
	for try := 0; ; try++ {
		l.p, err = m.spawner.start(c.Path, c.Args, attr)
		if !errors.Is(err, syscall.ETXTBSY) || try == 50 {
			break
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	noCoreDumps(l.p.Pid)
	return &Child{PID: l.p.Pid, Input: ours[0], Out: ours[1], Err: ours[2], Events: ours[3], Term: l.term, Kill: l.kill, Wait: l.ended}, nil
}

// term asks the process, and not what it has started, which it may want to end in order.
func (l *local) term() { _ = l.p.Signal(syscall.SIGTERM) } // it may have ended meanwhile

// kill ends the process and its group.
func (l *local) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.reaped {
		killGroup(l.p.Pid)
		_ = l.p.Kill() // as above
	}
}

func (l *local) ended() Ended {
	state, err := l.wait()
	if err != nil {
		return Ended{Code: -1, Err: err}
	}
	e := Ended{Code: state.ExitCode()}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		e.Code, e.Signal = 128+int(ws.Signal()), signalName(ws.Signal())
	}
	return e
}
