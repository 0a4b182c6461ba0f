package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/web/token"
)

// asked is who asks whom: a node, or any server for "".
type asked struct {
	role token.Role
	node string
}

// Client asks any server, with a token of the role.
func (c *Cluster) Client(role token.Role) *client.Client {
	var all []string
	for _, n := range c.Servers() {
		all = append(all, n.HTTP)
	}
	return c.client(asked{role: role}, all)
}

// Client asks this node, with a token of the role.
func (n *Node) Client(role token.Role) *client.Client {
	return n.c.client(asked{role, n.Name}, []string{n.HTTP})
}

func (c *Cluster) client(a asked, addresses []string) *client.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl := c.mu.clients[a]; cl != nil {
		return cl
	}
	config := client.Config{Addresses: addresses, Token: c.tokens[a.role]}
	if a.node != "" {
		config.Rounds = 1
	}
	if c.o.Secure {
		id, err := certs.Load(c.Files("user"), certs.Options{})
		if err != nil {
			panic("rig: certificates that this package has made: " + err.Error())
		}
		config.TLS = id.ClientConfig(certs.Server, certs.Agent)
	}
	cl, err := client.New(config)
	if err != nil {
		panic("rig: addresses that this package has made: " + err.Error())
	}
	c.mu.clients[a] = cl
	return cl
}

// Files are the certificate and key of a node, by its name, or of "user".
func (c *Cluster) Files(name string) certs.Files {
	pki := filepath.Join(c.dir, "pki")
	return certs.Files{CA: filepath.Join(pki, "ca.pem"), Cert: filepath.Join(pki, name+".pem"), Key: filepath.Join(pki, name+"-key.pem")}
}

// environment is that of all processes: their own, and the mark that they are known by. What this
// process is told of clusters and agents is not for them.
func (c *Cluster) environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WEIR_") {
			env = append(env, v)
		}
	}
	return append(env, markEnv+"="+c.dir)
}

// CLI is weir with a context for this cluster, with the role admin.
func (c *Cluster) CLI(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.o.Binary, args...)
	cmd.Env = append(c.environment(), "WEIR_CONFIG="+c.Contexts())
	return cmd
}

// Run runs weir as CLI does and returns what it has printed. An error has what it has said.
func (c *Cluster) Run(ctx context.Context, args ...string) (string, error) {
	cmd := c.CLI(ctx, args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("weir %s: %w\n%s%s", strings.Join(args, " "), err, out.Bytes(), said.Bytes())
	}
	return out.String(), nil
}

// Bounds of waiting. Who is asked may be stopped, and then does not answer.
const (
	lookEvery  = 25 * time.Millisecond
	askingTime = 2 * time.Second
)

// until looks until look says nil. If ctx ends before, or a node that ran has ended, the error
// says what it was that was missing.
func (c *Cluster) until(ctx context.Context, look func(context.Context) error) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		asking, done := context.WithTimeout(ctx, askingTime)
		err := look(asking)
		done()
		if err == nil {
			return nil
		}
		for _, n := range c.nodes {
			// Who was killed is meant to be dead; who ended by itself has failed.
			if l := n.life(); l != nil && l.over() && l.cmd.ProcessState.Exited() && !l.cmd.ProcessState.Success() {
				return fmt.Errorf("rig: %s has ended: %s\n%s", n.Name, l.cmd.ProcessState, n.Tail(20))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("rig: %w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Leader waits until one server says that it leads.
func (c *Cluster) Leader(ctx context.Context) (*Node, error) {
	var leader *Node
	err := c.until(ctx, func(ctx context.Context) error {
		for _, n := range c.Servers() {
			if !n.Running() {
				continue
			}
			if l, err := n.Client(token.Read).Leader(ctx); err == nil && l.Self {
				leader = n
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return leader, err
}

// Ready waits until somebody leads, all servers that run know who, and the leader has heard from
// all nodes that run since they were started.
func (c *Cluster) Ready(ctx context.Context) error {
	var running []*Node
	for _, n := range c.nodes {
		if n.Running() {
			running = append(running, n)
		}
	}
	said := map[string]bool{}
	return c.until(ctx, func(ctx context.Context) error {
		for _, n := range running {
			if !n.Server {
				continue
			}
			if h, err := n.Client(token.Read).Health(ctx); err != nil || h.Status != "ok" {
				return fmt.Errorf("%s is not ready: %q %w", n.Name, h.Status, err)
			}
		}
		known, err := client.All(func(p client.Page) ([]api.NodeInfo, string, error) {
			l, err := c.Client(token.Read).Nodes(ctx, p, client.Wait{})
			return l.Items, l.Next, err
		})
		if err != nil {
			return err
		}
		ready := map[string]int64{}
		for _, k := range known {
			if k.Status == api.NodeReady {
				ready[k.Node.Name] = max(ready[k.Node.Name], k.Seen)
			}
		}
		for _, n := range running {
			if ready[n.Name] < n.life().began.UnixMicro() {
				return fmt.Errorf("the leader has not heard from %s", n.Name)
			}
			if !said[n.Name] {
				said[n.Name] = true
				c.say("%s is ready", n.Name)
			}
		}
		return nil
	})
}
