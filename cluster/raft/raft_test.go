package raft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	hraft "github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/cluster/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waiting for what must happen.
const patience = 20 * time.Second

// lead is said when a server begins to lead.
type lead struct {
	node *Node
	term uint64
}

// servers is a cluster on loopback.
type servers struct {
	t     *testing.T
	leads chan lead
	nodes map[string]*Node
	dirs  map[string]string
	addrs map[string]string
	set   func(*Options)
}

func newServers(t *testing.T, set func(*Options)) *servers {
	c := &servers{t: t, leads: make(chan lead, 100), nodes: map[string]*Node{}, dirs: map[string]string{}, addrs: map[string]string{}, set: set}
	t.Cleanup(func() {
		for id := range c.nodes {
			c.kill(id)
		}
	})
	return c
}

// open starts a server, with the directory and the address that it had.
func (c *servers) open(id string, set func(*Options)) *Node {
	c.t.Helper()
	at := c.addrs[id]
	if at == "" {
		at = "127.0.0.1:0"
		c.dirs[id] = c.t.TempDir()
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		c.t.Fatal(err)
	}
	c.addrs[id] = l.Addr().String()
	var self atomic.Pointer[Node]
	opened := make(chan struct{})
	o := Options{ID: id, Listener: l, Dir: c.dirs[id], Heartbeat: 250 * time.Millisecond}
	o.Lead = func(ctx context.Context, term uint64) {
		<-opened
		c.leads <- lead{self.Load(), term}
		<-ctx.Done()
	}
	for _, f := range []func(*Options){c.set, set} {
		if f != nil {
			f(&o)
		}
	}
	n, err := Open(o)
	if err != nil {
		c.t.Fatal(err)
	}
	self.Store(n)
	close(opened)
	c.nodes[id] = n
	return n
}

// kill ends a server without a word to the others.
func (c *servers) kill(id string) {
	c.t.Helper()
	if err := c.nodes[id].Close(); err != nil {
		c.t.Error(err)
	}
	delete(c.nodes, id)
}

// start opens and bootstraps.
func (c *servers) start(ids ...string) *Node {
	c.t.Helper()
	var seen []Seen
	for _, id := range ids {
		n := c.open(id, func(o *Options) { o.Expect = len(ids) })
		seen = append(seen, Seen{ID: id, Name: id, Addr: n.Addr(), State: Alive, Expect: len(ids)})
	}
	for _, id := range ids {
		if err := c.nodes[id].Bootstrap(c.t.Context(), seen); err != nil {
			c.t.Fatal(err)
		}
	}
	return c.leader()
}

// leader waits for the next one to lead.
func (c *servers) leader() *Node {
	c.t.Helper()
	select {
	case l := <-c.leads:
		return l.node
	case <-time.After(patience):
		c.t.Fatal("nobody leads")
		return nil
	}
}

// event decides an event on a leader, or on the one that has taken over from it: a machine
// with much to do makes leaders late. It returns its index.
func (c *servers) event(n *Node, text string) uint64 {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		r, err := n.Apply(c.t.Context(), &registry.AddEvent{Kind: "test", Text: text}, "ann")
		if err == nil {
			return r.Index
		}
		notLeader := new(NotLeader)
		if !errors.As(err, &notLeader) {
			c.t.Fatal(err)
		}
		if other := c.nodes[notLeader.ID]; other != nil {
			n = other
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			c.t.Fatal(err)
		}
	}
}

// eventually decides an event on the one of the servers that comes to lead.
func (c *servers) eventually(ids ...string) {
	c.t.Helper()
	deadline := time.After(patience)
	for i := 0; ; i++ {
		_, err := c.nodes[ids[i%len(ids)]].Apply(c.t.Context(), &registry.AddEvent{Kind: "k"}, "")
		if err == nil {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			c.t.Fatal("nobody decides:", err)
		}
	}
}

// reach waits until a server's registry has an entry.
func (c *servers) reach(n *Node, index uint64) {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		at := n.Registry().Index()
		if at >= index {
			return
		}
		select {
		case <-n.Registry().Watch(at):
		case <-deadline:
			c.t.Fatalf("server %s has entry %d and not %d", n.ID(), at, index)
		}
	}
}

func (c *servers) texts(n *Node) (list []string) {
	for _, e := range n.Registry().View().Events() {
		list = append(list, e.Text)
	}
	return list
}

// TestLeaderDies is the default configuration: another leads within two seconds, unless
// votes are split, and nothing that was acknowledged is lost; the dead one comes back with its disk.
func TestLeaderDies(t *testing.T) {
	c := newServers(t, func(o *Options) { o.Heartbeat = 0 })
	leader := c.start("a", "b", "c")
	for i := range 20 {
		c.event(leader, fmt.Sprint(i))
	}
	for _, n := range c.nodes {
		if n == leader {
			continue
		}
		_, err := n.Apply(t.Context(), &registry.AddEvent{Kind: "k"}, "")
		if notLeader := new(NotLeader); !errors.As(err, &notLeader) || notLeader.Addr != leader.Addr() || notLeader.ID != leader.ID() {
			t.Fatal(err)
		}
	}
	before, _ := leader.Leading()
	killed := time.Now()
	c.kill(leader.ID())
	next := c.leader()
	// It takes one to two heartbeats and a vote; a vote that is split costs as much again.
	t.Logf("another leads after %s", time.Since(killed))
	if term, ok := next.Leading(); !ok || term <= before {
		t.Fatalf("it leads in term %d, after %d", term, before)
	}
	if got := c.texts(next); len(got) != 20 || got[19] != "19" {
		t.Fatal(got)
	}
	last := c.event(next, "after")
	back := c.open(leader.ID(), nil)
	c.reach(back, last)
	if got := c.texts(back); len(got) != 21 {
		t.Fatal(got)
	}
	if _, err := leader.Apply(t.Context(), &registry.AddEvent{Kind: "k"}, ""); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// TestRestart: one server, and all of a cluster, come back with what they had.
func TestRestart(t *testing.T) {
	c := newServers(t, func(o *Options) { o.SnapshotEvery = 8 })
	n := c.start("a")
	for i := range 30 {
		c.event(n, fmt.Sprint(i))
	}
	if err := n.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.event(n, "behind the snapshot")
	before := n.Registry().Applied()
	if _, err := openDir(c.dirs["a"]); err == nil {
		t.Fatal("two servers have opened one directory")
	}
	c.kill("a")
	c.open("a", nil)
	n = c.leader()
	if got := c.texts(n); len(got) != 31 || n.Registry().Applied() < before {
		t.Fatal(got)
	}
	if !n.Started() || n.Bootstrap(t.Context(), nil) != nil {
		t.Fatal("it has a configuration")
	}
	if s := n.Stats(); s.State != "Leader" || s.Applied < before {
		t.Fatalf("%+v", s)
	}
}

func openDir(dir string) (*Node, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return Open(Options{ID: "x", Listener: l, Dir: dir})
}

// TestSnapshotInstalled: a new server gets a snapshot, since the log no longer begins
// at the beginning; and a server that moves is followed.
func TestSnapshotInstalled(t *testing.T) {
	c := newServers(t, func(o *Options) {
		o.SnapshotEvery = 8
		o.testing.trailing = 1
	})
	leader := c.start("a")
	for i := range 50 {
		c.event(leader, fmt.Sprint(i))
	}
	if err := leader.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := c.event(leader, "after")
	for _, id := range []string{"b", "c"} {
		n := c.open(id, nil)
		seen := []Seen{{ID: "a", Name: "a", Addr: leader.Addr(), State: Alive, Started: true}, {ID: id, Name: id, Addr: n.Addr(), State: Alive}}
		if err := n.Bootstrap(t.Context(), seen); err != nil || n.Started() {
			t.Fatal("it has made a cluster of its own:", err)
		}
		if err := leader.Repair(t.Context(), seen); err != nil {
			t.Fatal(err)
		}
		c.reach(n, last)
		if got := c.texts(n); len(got) != 51 {
			t.Fatal(len(got))
		}
	}
	if got := leader.Servers(); len(got) != 3 {
		t.Fatal(got)
	}
	// Gossip says that b has left.
	if err := leader.Repair(t.Context(), []Seen{{ID: "b", State: Left}, {ID: "c", State: Alive, Addr: c.addrs["c"]}}); err != nil {
		t.Fatal(err)
	}
	if got := leader.Servers(); len(got) != 2 || got[1].ID != "c" {
		t.Fatal(got)
	}
}

// TestLeave: who leaves hands on first, and is alone at last.
func TestLeave(t *testing.T) {
	c := newServers(t, func(o *Options) { o.Dir = "" })
	leader := c.start("a", "b", "c")
	if err := leader.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := c.leader()
	if next == leader {
		t.Fatal("it leads still")
	}
	if err := leader.Leave(t.Context()); err != nil {
		t.Fatal("a follower that leaves:", err)
	}
	if err := next.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := next.Remove(t.Context(), leader.ID()); err != nil {
		t.Fatal(err)
	}
	if got := next.Servers(); len(got) != 2 {
		t.Fatal(got)
	}
}

// TestMinority: a leader that is alone decides nothing, and says so.
func TestMinority(t *testing.T) {
	c := newServers(t, nil)
	leader := c.start("a", "b", "c")
	for id, n := range c.nodes {
		if n != leader {
			c.kill(id)
		}
	}
	_, err := leader.Apply(t.Context(), &registry.AddEvent{Kind: "k"}, "")
	if !errors.Is(err, ErrUncertain) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := leader.Apply(ctx, &registry.AddEvent{Kind: "k"}, ""); err == nil {
		t.Fatal("it has decided alone")
	}
	if len(c.texts(leader)) != 0 {
		t.Fatal("it has applied alone")
	}
}

// brokenLogs is a disk that may be full.
type brokenLogs struct {
	hraft.LogStore
	full atomic.Bool
	hits atomic.Int64
}

func (b *brokenLogs) StoreLogs(logs []*hraft.Log) error {
	if b.full.Load() {
		b.hits.Add(1)
		return fmt.Errorf("store: %w", syscall.ENOSPC)
	}
	return b.LogStore.StoreLogs(logs)
}

func (b *brokenLogs) StoreLog(l *hraft.Log) error { return b.StoreLogs([]*hraft.Log{l}) }

// TestDiskFull: a leader whose disk is full gives up, and follows when it has room again.
func TestDiskFull(t *testing.T) {
	disks := map[string]*brokenLogs{}
	c := newServers(t, func(o *Options) {
		o.testing.logs = func(s hraft.LogStore) hraft.LogStore {
			disks[o.ID] = &brokenLogs{LogStore: s}
			return disks[o.ID]
		}
	})
	leader := c.start("a", "b", "c")
	c.event(leader, "before")
	disk := disks[leader.ID()]
	disk.full.Store(true)
	if _, err := leader.Apply(t.Context(), &registry.AddEvent{Kind: "k", Text: "lost"}, ""); !errors.Is(err, ErrUncertain) || !strings.Contains(err.Error(), "no space left") {
		t.Fatal(err)
	}
	next := c.leader()
	for next == leader {
		next = c.leader() // it may win once more, and cannot store its first entry
	}
	last := c.event(next, "after")
	disk.full.Store(false)
	c.reach(leader, last)
	if got := c.texts(leader); fmt.Sprint(got) != "[before after]" || disk.hits.Load() == 0 {
		t.Fatal(got, disk.hits.Load())
	}
}

// brokenStable cannot store terms.
type brokenStable struct {
	hraft.StableStore
	broken atomic.Bool
	hit    chan struct{}
	once   sync.Once
}

func (b *brokenStable) SetUint64(key []byte, v uint64) error {
	if b.broken.Load() {
		b.once.Do(func() { close(b.hit) })
		return syscall.EIO
	}
	return b.StableStore.SetUint64(key, v)
}

// TestTermNotStored: the library would end the process. The server waits, others go on, and
// it can be closed.
func TestTermNotStored(t *testing.T) {
	stables := map[string]*brokenStable{}
	c := newServers(t, func(o *Options) {
		o.testing.stable = func(s hraft.StableStore) hraft.StableStore {
			stables[o.ID] = &brokenStable{StableStore: s, hit: make(chan struct{})}
			return stables[o.ID]
		}
	})
	leader := c.start("a", "b", "c")
	c.event(leader, "before")
	ids := []string{}
	for id := range c.nodes {
		if id != leader.ID() {
			ids = append(ids, id)
		}
	}
	stables[ids[0]].broken.Store(true)
	// Whoever is to lead now asks for a vote in a new term, or has to store it itself.
	if err := leader.Leave(t.Context()); err != nil {
		t.Log("leadership stays:", err)
	}
	select {
	case <-stables[ids[0]].hit:
	case <-time.After(patience):
		t.Fatal("the broken disk was not touched")
	}
	c.eventually(leader.ID(), ids[1])
	c.kill(ids[0])
}

// TestTLS: servers know each other by their certificates; strangers stay outside.
func TestTLS(t *testing.T) {
	now := time.Now()
	ca, pem, err := certs.NewAuthority("test", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c := newServers(t, func(o *Options) {
		pair, err := ca.Issue(certs.Wanted{Role: certs.Server, Name: o.ID, Hosts: []string{"127.0.0.1"}, TTL: time.Hour}, now)
		if err != nil {
			t.Fatal(err)
		}
		id, err := certs.FromPEM(pem.Cert, pair.Cert, pair.Key, certs.Options{})
		if err != nil {
			t.Fatal(err)
		}
		o.Dir, o.ServerTLS, o.ClientTLS = "", id.ServerConfig(certs.Server), id.ClientConfig(certs.Server)
	})
	leader := c.start("a", "b", "c")
	last := c.event(leader, "x")
	for _, n := range c.nodes {
		c.reach(n, last)
		rudely(t, n.Addr())
	}
	c.event(leader, "y")
}

// TestGarbage: bytes that are no calls end their connection, and nothing else.
func TestGarbage(t *testing.T) {
	c := newServers(t, func(o *Options) { o.Dir = "" })
	leader := c.start("a")
	for range 20 {
		rudely(t, leader.Addr())
	}
	c.event(leader, "x")
}

// rudely writes what nobody understands, and wants to be cut off.
func rudely(t *testing.T, addr string) {
	t.Helper()
	for _, garbage := range [][]byte{{0xff}, bytes.Repeat([]byte{0xc1}, 5000), {0, 0xdf, 0xff, 0xff, 0xff, 0xff, 0xc6, 0xff, 0xff, 0xff, 0xff, 0xff},
		{2, 0x81, 0xa4, 'S', 'i', 'z', 'e', 0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc1}} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(garbage); err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("% x was not refused", garbage[:min(len(garbage), 12)])
		}
		_ = conn.Close()
	}
}

// TestManyConnections: those above the bound are closed, and the server goes on.
func TestManyConnections(t *testing.T) {
	c := newServers(t, func(o *Options) { o.Dir = "" })
	leader := c.start("a")
	var conns []net.Conn
	for range maxInbound {
		conn, err := net.Dial("tcp", leader.Addr())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	extra, err := net.Dial("tcp", leader.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = extra.SetReadDeadline(time.Now().Add(patience))
	if _, err := extra.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("there is no bound")
	}
	c.event(leader, "x")
	for _, conn := range append(conns, extra) {
		_ = conn.Close()
	}
}

// TestBehind: a server that met a command of a newer release does not lead again.
func TestBehind(t *testing.T) {
	c := newServers(t, nil)
	leader := c.start("a")
	newer := []byte("\x85\xa5level\x01\xa4kind\xa4sing\xa4time\x01\xa2by\xa0\xa4body\x80")
	if _, err := leader.ApplyEntry(t.Context(), newer); !errors.Is(err, registry.ErrNewer) {
		t.Fatal(err)
	}
	// A leader of a newer release has put it into the log.
	if err := leader.raft.Apply(newer, rpcTime).Error(); err != nil {
		t.Fatal(err)
	}
	if _, err := leader.Apply(t.Context(), &registry.AddEvent{Kind: "k"}, ""); !errors.Is(err, registry.ErrNewer) {
		t.Fatal(err)
	}
	if err := leader.Snapshot(t.Context()); !errors.Is(err, registry.ErrNewer) {
		t.Fatal(err)
	}
}

func TestOptions(t *testing.T) {
	for _, set := range []func(*Options){
		func(o *Options) { o.ID = "" },
		func(o *Options) { o.Expect = 2 },
		func(o *Options) { o.Advertise = "0.0.0.0:7400" },
		func(o *Options) { o.Advertise = "host" },
		func(o *Options) { o.Heartbeat = time.Millisecond },
		func(o *Options) { o.Dir = "/dev/null/x" },
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		o := Options{ID: "a", Listener: l}
		set(&o)
		if n, err := Open(o); err == nil {
			t.Errorf("%+v is taken", o)
			_ = n.Close()
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Error("the listener is open")
		}
	}
}

// TestLoad logs what one decision costs on disk.
func TestLoad(t *testing.T) {
	c := newServers(t, nil)
	leader := c.start("a", "b", "c")
	began := time.Now()
	const count = 100
	for i := range count {
		_, err := leader.Apply(t.Context(), &registry.RegisterNode{Node: api.Node{ID: "n", Name: "n", Slots: i}}, "")
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s for a decision, one after the other, 3 servers on one disk", time.Since(began)/count)
}
