package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/weirflow/weir/api/client"
	"github.com/weirflow/weir/web/token"
)

// Options are those of a cluster.
type Options struct {
	// Binary is the path of weir; see Build.
	Binary string
	// Dir is where everything goes. It is made if it is not there, and stays.
	Dir string
	// Servers and Workers are how many there are. Default: 1 server.
	Servers, Workers int
	// Slots are those of each node that runs tasks. Default: 2.
	Slots int
	// ServerSlots are those of servers. Default: none, so that servers run no tasks; Slots where
	// there are no workers.
	ServerSlots int
	// Secure has TLS by a CA of its own, tokens and encrypted gossip. Without it nodes have to
	// listen on loopback.
	Secure bool
	// Host is the address that a node listens at, which is counted from 0, servers first. Its
	// ports are then those of every agent, so each node needs an address of its own. Default:
	// 127.0.0.1 for all, with ports that are free.
	Host func(node int) string
	// Wrap is a command in front of the agent's, such as "ip netns exec NAME". It must become
	// the agent, and not start it. Default: none.
	Wrap func(node int) []string
	// Configure has the last word on what a node is told, before its first start.
	Configure func(node int, c map[string]any)
	// Env is added to the environment of all nodes.
	Env []string
	// Log is told what happens, in a line each. Default: nobody.
	Log io.Writer
}

// EnsureDefaults fills in what is not set.
func (o *Options) EnsureDefaults() {
	if o.Servers == 0 {
		o.Servers = 1
	}
	if o.Slots == 0 {
		o.Slots = 2
	}
	if o.ServerSlots == 0 && o.Workers == 0 {
		o.ServerSlots = o.Slots
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
}

// Validate refuses what cannot be a cluster.
func (o *Options) Validate() error {
	switch {
	case o.Binary == "":
		return errors.New("rig: name the path of weir (rig.Build makes one)")
	case o.Dir == "":
		return errors.New("rig: name a directory")
	case !slices.Contains([]int{1, 3, 5}, o.Servers):
		return fmt.Errorf("rig: %d servers: it must be 1, 3 or 5", o.Servers)
	case o.Workers < 0 || o.Slots < 0 || o.ServerSlots < 0:
		return errors.New("rig: workers and slots cannot be negative")
	}
	return nil
}

// Cluster is one that runs.
type Cluster struct {
	o       Options
	dir     string
	nodes   []*Node
	servers int
	tokens  map[token.Role]string
	held    []net.Listener // a port of each node's
	spawner *spawner

	mu struct {
		sync.Mutex
		clients map[asked]*client.Client
		closed  bool
	}
	log sync.Mutex
}

// Build builds weir, or another package of this module, into the directory, with the go
// command, and returns the path of the program.
func Build(ctx context.Context, dir, pkg string) (string, error) {
	out := filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, "github.com/weirflow/weir/"+pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("rig: build %s: %w\n%s", pkg, err, text)
	}
	return out, nil
}

// Start starts a cluster, and returns when somebody leads and all nodes are ready. If that is
// not so before ctx ends, nothing is left running.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	c := &Cluster{o: o, servers: o.Servers, tokens: map[token.Role]string{}}
	c.mu.clients = map[asked]*client.Client{}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("rig: %w", err)
	}
	// Processes are known by this path, so it must be the only one.
	if c.dir, err = filepath.Abs(o.Dir); err == nil {
		c.dir, err = filepath.EvalSymlinks(c.dir)
	}
	if err == nil {
		c.o.Binary, err = filepath.Abs(o.Binary)
	}
	if err != nil {
		return nil, fmt.Errorf("rig: %w", err)
	}
	c.spawner = newSpawner()
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := c.write(); err != nil {
		return nil, err
	}
	for _, n := range c.nodes {
		if err := n.Start(ctx); err != nil {
			return nil, err
		}
	}
	return c, c.Ready(ctx)
}

// Dir is where everything is.
func (c *Cluster) Dir() string { return c.dir }

// Nodes are all, servers first.
func (c *Cluster) Nodes() []*Node { return slices.Clone(c.nodes) }

// Servers are the nodes that take part in raft.
func (c *Cluster) Servers() []*Node { return slices.Clone(c.nodes[:c.servers]) }

// Workers are the others.
func (c *Cluster) Workers() []*Node { return slices.Clone(c.nodes[c.servers:]) }

// Node is the one of that name; nil if there is none.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Contexts is the file for the command line: WEIR_CONFIG. Its contexts are called admin, submit
// and read, by their roles.
func (c *Cluster) Contexts() string { return filepath.Join(c.dir, "contexts.yaml") }

// TokenFile holds the token of the role.
func (c *Cluster) TokenFile(role token.Role) string {
	return filepath.Join(c.dir, string(role)+".token")
}

func (c *Cluster) closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.closed
}

// say tells a line.
func (c *Cluster) say(format string, args ...any) {
	c.log.Lock()
	defer c.log.Unlock()
	fmt.Fprintf(c.o.Log, format+"\n", args...)
}

// endWithin is how long the kernel may take to end what was killed, on a host that is busy.
const endWithin = 30 * time.Second

// Close kills all processes, and returns when they are gone. It is an error if one is left that
// an agent has started and that has not died with it; it is killed then. Files stay. Close may be
// called again.
func (c *Cluster) Close() error {
	c.mu.Lock()
	closed := c.mu.closed
	c.mu.closed = true
	for _, cl := range c.mu.clients {
		cl.CloseIdle()
	}
	c.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Kill())
	}
	c.spawner.close()
	errs = append(errs, endLeft(c.dir, endWithin))
	for _, l := range c.held {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Left lists processes that belong to the cluster and run: those of its nodes, and all that they
// have started.
func (c *Cluster) Left() []string {
	var all []string
	for pid, what := range left(c.dir) {
		all = append(all, cmp.Or(what, "?")+" (process "+strconv.Itoa(pid)+")")
	}
	slices.Sort(all)
	return all
}

// endLeft waits until nothing is left, and kills and names what does not go by itself.
func endLeft(dir string, within time.Duration) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(within)
	for {
		all := left(dir)
		if len(all) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-late:
			var errs []error
			for pid, what := range all {
				errs = append(errs, fmt.Errorf("rig: process %d is left, and was killed: %s", pid, what))
				if p, err := os.FindProcess(pid); err == nil {
					_ = p.Kill() // it may have ended meanwhile
				}
			}
			return errors.Join(errs...)
		}
	}
}
