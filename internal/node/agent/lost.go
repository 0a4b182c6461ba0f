package agent

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/weirflow/weir/api"
)

// mostSuspects bounds the agents that are looked for at a time. Of those beyond it the leases
// tell.
const mostSuspects = 256

// suspectFor are the waits between looking for an agent whose connection has ended. An agent
// that lives reports within them; a process that ends closes connections a moment before or after
// its listener, and a host that starts again refuses what it does not listen for.
var suspectFor = []time.Duration{0, 10 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, time.Second}

// dialWithin is how long an agent's host may take to answer. One that is silent has its lease.
const dialWithin = time.Second

// Lost hears that the connection of an agent's reports has ended. It is looked whether the
// process is there: if its address refuses connections it has ended, and its executors, whose
// standard input has closed, have ended with it. So their slots need not wait for the lease.
func (l *leader) Lost(id api.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.heard[id] == nil || l.mu.looking == nil || len(l.mu.looking) >= mostSuspects || l.mu.looking[id] {
		return
	}
	v := l.raft.Registry().View()
	n := v.Node(id)
	if n == nil || n.Gone() || n.Info.RPC == "" {
		return
	}
	l.mu.looking[id] = true
	ctx, since := l.mu.ctx, l.mu.heard[id].at
	l.side.Go(func() {
		dead := l.ended(ctx, n.Info.RPC, func() bool { return l.heardSince(id, since) })
		l.mu.Lock()
		if delete(l.mu.looking, id); dead && l.mu.heard[id] != nil && ctx.Err() == nil {
			l.mu.heard[id].dead = true
		}
		l.mu.Unlock()
		if dead {
			l.log.Warn("an agent's process has ended", "node", id, "rpc", n.Info.RPC)
			l.nudge()
		}
	})
}

// heardSince reports whether an agent has reported after a time.
func (l *leader) heardSince(id api.NodeID, at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.mu.heard[id]
	return c != nil && c.at.After(at)
}

// ended dials an address until it refuses, which is true, or until it is of no use to go on.
func (l *leader) ended(ctx context.Context, addr string, heard func() bool) bool {
	for _, wait := range suspectFor {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false
		}
		if heard() {
			return false
		}
		dctx, cancel := context.WithTimeout(ctx, dialWithin)
		c, err := l.dial(dctx, addr)
		cancel()
		switch {
		case err == nil:
			_ = c.Close() // nothing was said
		case errors.Is(err, syscall.ECONNREFUSED):
			// Not an old word about an agent that has come again meanwhile.
			return !heard()
		}
	}
	return false
}

// looks begins, and the returned function ends, looking for agents: while this server leads.
func (l *leader) looks(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	l.mu.ctx, l.mu.looking = ctx, map[api.NodeID]bool{}
	l.mu.Unlock()
	return func() {
		l.mu.Lock()
		l.mu.looking = nil
		l.mu.Unlock()
		cancel()
		l.side.Wait()
	}
}

// nudge has a decision made soon.
func (l *leader) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
