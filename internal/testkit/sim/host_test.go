package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/internal/node/agent"
	"github.com/weirflow/weir/internal/node/config"
)

// servers is how many of the hosts are.
const servers = 3

// host is a machine with an agent.
type host struct {
	w    *world
	n    int // from 1
	ip   string
	name string
	slow atomic.Int64 // what an operation on storage takes, in nanoseconds

	// Under w.mu:
	dir    string // the disk
	lives  int    // agents so far
	agent  *agent.Agent
	proc   *Process
	cancel context.CancelFunc
	over   chan struct{} // closed when the agent has ended
	frozen time.Duration // what the clock of leases shows while it stands, from 1
	jumped time.Duration // what was added to it
	// excused says that the agent stands still: its executors may outlive its lease.
	excused bool
}

func (h *host) isServer() bool { return h.n <= servers }

// clock is that of leases. It shows the time since the world began.
func (h *host) clock() time.Duration {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if h.frozen > 0 {
		return h.frozen
	}
	return time.Since(h.w.began) + time.Hour + h.jumped
}

// freeze stops the clock of leases, or lets it show again what time it is.
func (h *host) freeze(on bool) {
	now := h.clock()
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if h.frozen = 0; on {
		h.frozen = now
	}
}

// boot starts the agent on the host's disk.
func (h *host) boot() error {
	w := h.w
	h.lives++
	p := w.net.NewProcess(h.ip, fmt.Sprintf("agent %s, life %d", h.name, h.lives))
	c := config.Default()
	c.Name, c.DataDir, c.Slots = h.name, h.dir, w.slots
	c.Listen = config.Listen{HTTP: h.ip + ":7470", Gossip: h.ip + ":7471", RPC: h.ip + ":7472", Executors: h.ip}
	for n := 1; n <= servers; n++ {
		c.Join = append(c.Join, hostOf(n)+":7471")
	}
	if h.isServer() {
		c.Server.Enabled, c.Server.BootstrapExpect = true, servers
	}
	packets, err := p.Packets(c.Listen.Gossip)
	if err != nil {
		return err
	}
	o := agent.Options{Config: c, Version: "0.1.0", Program: "/sim/program", Log: w.log.With("agent", h.name, "life", h.lives)}
	o.Host.Listen, o.Host.Dial, o.Host.Gossip, o.Host.Clock, o.Host.Start = p.Listen, p.Dial, packets, h.clock, h.start
	a, err := agent.Open(o)
	if err != nil {
		return errors.Join(fmt.Errorf("agent %s: %w", h.name, err), packets.Shutdown())
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	w.mu.Lock()
	h.agent, h.proc, h.cancel, h.over = a, p, cancel, over
	w.mu.Unlock()
	dir := h.dir
	w.side.Go(func() {
		defer close(over)
		if err := a.Run(ctx); err != nil {
			w.log.Info("an agent has ended", "name", p.name, "err", err)
		}
		w.mu.Lock()
		again := h.dir == dir && !p.Dead()
		w.mu.Unlock()
		if !again {
			_ = os.RemoveAll(dir) // it is of a dead agent, and the next one has a copy
		} else {
			p.Kill(false)
		}
	})
	return nil
}

// crash ends the agent, and its executors, at once. What was on its disk then is what the
// next one finds.
func (h *host) crash(silent bool) error {
	w := h.w
	w.mu.Lock()
	p, cancel, from := h.proc, h.cancel, h.dir
	w.mu.Unlock()
	w.settle() // nothing is being written
	to := filepath.Join(w.dir, h.name+"-"+strconv.Itoa(h.lives+1))
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("sim: copy a disk: %w", err)
	}
	p.Kill(silent)
	for _, c := range w.childrenOf(h) {
		if silent {
			c.Process.Kill(true)
		}
		c.die(silent)
	}
	w.mu.Lock()
	h.dir = to
	w.mu.Unlock()
	cancel()
	return nil
}

// leads reports whether the host's agent is the leader, as far as it knows.
func (h *host) leads() bool {
	h.w.mu.Lock()
	a := h.agent
	h.w.mu.Unlock()
	if a == nil || !h.isServer() || h.down() {
		return false
	}
	return a.Leads()
}

// down reports whether no agent runs.
func (h *host) down() bool {
	h.w.mu.Lock()
	p := h.proc
	h.w.mu.Unlock()
	return p == nil || p.Dead()
}

// id is the agent's.
func (h *host) id() api.NodeID {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.agent.Node().ID
}
