package raft

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirflow/weir/cluster/registry"
)

// cable is a server's network. While it is cut, what is written is lost without a word.
type cable struct {
	cut   atomic.Bool
	bytes atomic.Int64
}

func (c *cable) plug(to net.Conn) net.Conn { return &plugged{Conn: to, cable: c} }

type plugged struct {
	net.Conn
	cable *cable
	torn  atomic.Bool // something was lost: it is of no use any more
}

var errTorn = errors.New("the connection was cut")

func (p *plugged) Write(b []byte) (int, error) {
	if p.cable.cut.Load() {
		p.torn.Store(true)
		return len(b), nil
	}
	if p.torn.Load() {
		return 0, errTorn
	}
	p.cable.bytes.Add(int64(len(b)))
	return p.Conn.Write(b)
}

func (p *plugged) Read(b []byte) (int, error) {
	for {
		n, err := p.Conn.Read(b)
		if !p.cable.cut.Load() {
			if p.torn.Load() {
				return 0, errTorn
			}
			return n, err
		}
		p.torn.Store(true)
		if err != nil {
			return 0, err
		}
	}
}

// TestCutOff: a leader that is cut off, without noticing anything on its connections, ends
// to lead by itself; what it could not spread is gone; and it follows when it is back.
func TestCutOff(t *testing.T) {
	cables := map[string]*cable{}
	ended := make(chan string, 100)
	c := newServers(t, nil)
	c.set = func(o *Options) {
		cables[o.ID] = &cable{}
		o.testing.wrap = cables[o.ID].plug
		lead := o.Lead
		o.Lead = func(ctx context.Context, term uint64) {
			lead(ctx, term)
			ended <- o.ID
		}
	}
	leader := c.start("a", "b", "c")
	c.event(leader, "before")
	cables[leader.ID()].cut.Store(true)
	_, err := leader.Apply(t.Context(), &registry.AddEvent{Kind: "k", Text: "alone"}, "")
	if !errors.Is(err, ErrUncertain) {
		t.Fatal(err)
	}
	select {
	case id := <-ended:
		if id != leader.ID() {
			t.Fatalf("%s ended to lead", id)
		}
	case <-time.After(patience):
		t.Fatal("it leads for ever")
	}
	if term, leads := leader.Leading(); leads {
		t.Fatal("it says that it leads in term", term)
	}
	next := c.leader()
	if next == leader {
		t.Fatal("it was elected by nobody")
	}
	last := c.event(next, "after")
	cables[leader.ID()].cut.Store(false)
	c.reach(leader, last)
	if got := c.texts(leader); len(got) != 2 || got[0] != "before" || got[1] != "after" {
		t.Fatal(got)
	}
}

// TestIdleTraffic logs what servers say to each other while nothing happens.
func TestIdleTraffic(t *testing.T) {
	all := &cable{}
	c := newServers(t, func(o *Options) {
		o.Dir, o.Heartbeat = "", 500*time.Millisecond
		o.testing.wrap = all.plug
	})
	leader := c.start("a", "b", "c")
	last := c.event(leader, "x")
	for _, n := range c.nodes {
		c.reach(n, last)
	}
	before, began := all.bytes.Load(), time.Now()
	<-time.After(time.Second)
	rate := float64(all.bytes.Load()-before) / time.Since(began).Seconds()
	t.Logf("%.0f bytes/s among 3 idle servers", rate)
	if rate > 100_000 {
		t.Error("that is too much")
	}
}
