package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Node is an agent of a cluster.
type Node struct {
	Name   string
	Server bool
	// Host is the address that it listens at; HTTP is the URL of its API, RPC, Raft and Gossip are
	// host:port. Raft is empty for one that is no server.
	Host                    string
	HTTP, RPC, Raft, Gossip string

	c     *Cluster
	index int
	dir   string

	mu struct {
		sync.Mutex
		life *life // nil: it has never run
	}
}

// life is one process of a node's.
type life struct {
	cmd   *exec.Cmd
	began time.Time
	ended chan struct{}
	err   error // once it has ended
}

// Index counts nodes from 0, servers first.
func (n *Node) Index() int { return n.index }

// Dir is where all of the node's is.
func (n *Node) Dir() string { return n.dir }

// Data is its data directory.
func (n *Node) Data() string { return filepath.Join(n.dir, "data") }

// ConfigPath is the file that it is told by.
func (n *Node) ConfigPath() string { return filepath.Join(n.dir, "agent.yaml") }

// LogPath is what its processes have said.
func (n *Node) LogPath() string { return filepath.Join(n.dir, "agent.log") }

// Start starts its process, and returns when that is made; Cluster.Ready waits until it is of
// use. A node that runs is left alone.
func (n *Node) Start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("rig: start %s: %w", n.Name, err)
	}
	if n.c.closed() {
		return fmt.Errorf("rig: start %s: the cluster is closed", n.Name)
	}
	if l := n.mu.life; l != nil && !l.over() {
		return nil
	}
	log, err := os.OpenFile(n.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("rig: start %s: %w", n.Name, err)
	}
	defer log.Close()
	argv := []string{n.c.o.Binary, "agent", "--config", n.ConfigPath()}
	if n.c.o.Wrap != nil {
		argv = append(n.c.o.Wrap(n.index), argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.dir, log, log
	cmd.Env = append(n.c.environment(), n.c.o.Env...)
	cmd.SysProcAttr = attributes()
	l := &life{cmd: cmd, began: time.Now(), ended: make(chan struct{})}
	if err := n.c.spawner.start(cmd); err != nil {
		return fmt.Errorf("rig: start %s: %w", n.Name, err)
	}
	n.mu.life = l
	go func() {
		l.err = cmd.Wait()
		close(l.ended)
	}()
	n.c.say("%s runs at %s, process %d", n.Name, n.RPC, cmd.Process.Pid)
	return nil
}

func (l *life) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

func (n *Node) life() *life {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.life
}

// Running says whether its process has not ended.
func (n *Node) Running() bool { l := n.life(); return l != nil && !l.over() }

// PID is that of its process, or of the last one; 0 if there was none.
func (n *Node) PID() int {
	if l := n.life(); l != nil {
		return l.cmd.Process.Pid
	}
	return 0
}

// errNotRunning is why nothing can be done to a node.
var errNotRunning = errors.New("it does not run")

// Signal sends one to its process, and to nothing that this has started.
func (n *Node) Signal(s os.Signal) error {
	l := n.life()
	if l == nil || l.over() {
		return fmt.Errorf("rig: %s to %s: %w", s, n.Name, errNotRunning)
	}
	if err := l.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("rig: %s to %s: %w", s, n.Name, err)
	}
	return nil
}

// Kill ends its process by SIGKILL, and waits for it. One that does not run is no error.
func (n *Node) Kill() error {
	l := n.life()
	if l == nil || l.over() {
		return nil
	}
	if err := l.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("rig: kill %s: %w", n.Name, err)
	}
	<-l.ended
	n.c.say("%s was killed", n.Name)
	return nil
}

// Stop asks its process to end, and waits for that. It returns an error if it did not end well.
func (n *Node) Stop(ctx context.Context) error {
	if err := n.Signal(os.Interrupt); err != nil {
		return err
	}
	l := n.life()
	select {
	case <-l.ended:
		n.c.say("%s has left", n.Name)
		if l.err != nil {
			return fmt.Errorf("rig: stop %s: %w\n%s", n.Name, l.err, n.Tail(20))
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("rig: stop %s: %w\n%s", n.Name, ctx.Err(), n.Tail(20))
	}
}

// Ended is closed when the process that runs now has ended; nil, which blocks for ever, if none
// ran.
func (n *Node) Ended() <-chan struct{} {
	if l := n.life(); l != nil {
		return l.ended
	}
	return nil
}

// maxTail is how much of a log is looked at.
const maxTail = 64 << 10

// Tail is the last lines of its log, or why they can't be read.
func (n *Node) Tail(lines int) string {
	f, err := os.Open(n.LogPath())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, err = f.Seek(max(0, size-maxTail), io.SeekStart)
		if err != nil {
			return err.Error()
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxTail))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
