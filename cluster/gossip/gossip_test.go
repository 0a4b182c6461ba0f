package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/memberlist"
	"go.uber.org/goleak"

	"github.com/weirflow/weir/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waiting for what must happen.
const patience = 20 * time.Second

var key1, key2 = bytes.Repeat([]byte{1}, KeySize), bytes.Repeat([]byte{2}, KeySize)

// open starts a member on loopback.
func open(t *testing.T, id string, set func(*Options)) *Gossip {
	t.Helper()
	o := Options{
		Meta:   Meta{Node: api.Node{ID: api.NodeID(id), Name: "name-" + id, Slots: 4, RPC: "10.0.0.1:7400"}},
		Listen: "127.0.0.1:0", Cluster: "test", Keys: [][]byte{key1}, Probe: 50 * time.Millisecond, Rejoin: 100 * time.Millisecond,
	}
	if set != nil {
		set(&o)
	}
	g, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// wait reads events until what is known of members is as wanted: "a alive, b failed".
func wait(t *testing.T, g *Gossip, want string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		var got []string
		for _, m := range g.Members() {
			got = append(got, fmt.Sprintf("%s %s", m.Node.ID, m.Status))
		}
		if strings.Join(got, ", ") == want {
			return
		}
		select {
		case _, ok := <-g.Events():
			if !ok {
				t.Fatal("it is closed")
			}
		case <-deadline:
			t.Fatalf("it knows %q, and not %q", got, want)
		}
	}
}

func seeds(of ...*Gossip) func(*Options) {
	return func(o *Options) {
		for _, g := range of {
			o.Seeds = append(o.Seeds, g.Addr())
		}
	}
}

// TestMembers: they find each other, tell news, leave and fail.
func TestMembers(t *testing.T) {
	a := open(t, "a", nil)
	b := open(t, "b", func(o *Options) {
		seeds(a)(o)
		o.Meta.Raft, o.Meta.Expect = "10.0.0.1:7402", 3
		o.Meta.Node.Tags = map[string]string{"disk": "ssd & fast", "x": "="}
	})
	c := open(t, "c", seeds(a))
	for _, g := range []*Gossip{a, b, c} {
		wait(t, g, "a alive, b alive, c alive")
	}
	m := a.Members()[1]
	want := Meta{Node: api.Node{ID: "b", Name: "name-b", Slots: 4, RPC: "10.0.0.1:7400",
		Tags: map[string]string{"disk": "ssd & fast", "x": "="}}, Raft: "10.0.0.1:7402", Expect: 3, Instance: m.Instance}
	if diff := cmp.Diff(want, m.Meta); diff != "" || m.Instance == 0 || m.Addr != b.Addr() {
		t.Fatal(m.Addr, diff)
	}

	m.Node.Tags["x"] = "changed here"
	if a.Members()[1].Node.Tags["x"] != "=" {
		t.Fatal("a copy is not one")
	}
	want.Started, want.Node.Slots = true, 8
	if err := b.SetMeta(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(patience)
	for changed := false; !changed; {
		select {
		case e := <-c.Events():
			changed = e.Kind == Changed && e.Member.Node.ID == "b" && e.Member.Started && e.Member.Node.Slots == 8
		case <-deadline:
			t.Fatal("the news did not come")
		}
	}

	if err := b.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	wait(t, a, "a alive, b left, c alive")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	wait(t, a, "a alive, b left, c failed")

	// One comes back elsewhere: it is the same.
	c = open(t, "c", seeds(a))
	wait(t, a, "a alive, b left, c alive")
	if a.Members()[2].Addr != c.Addr() {
		t.Fatal("it is still at the old address")
	}
	if err := b.SetMeta(t.Context(), want); !errors.Is(err, errClosed) {
		t.Fatal(err)
	}
	for range b.Events() { // it is closed
	}
}

// TestStrangers: without the key, with another, and of another cluster.
func TestStrangers(t *testing.T) {
	a := open(t, "a", nil)
	for name, set := range map[string]func(*Options){
		"no key":          func(o *Options) { o.Keys = nil },
		"another key":     func(o *Options) { o.Keys = [][]byte{key2} },
		"another cluster": func(o *Options) { o.Cluster = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			g := open(t, "stranger", func(o *Options) {
				seeds(a)(o)
				set(o)
			})
			deadline := time.After(patience)
			for g.SeedError() == nil {
				select {
				case <-time.After(5 * time.Millisecond):
				case <-deadline:
					t.Fatal("it was not refused")
				}
			}
			if len(a.Members()) != 1 || len(g.Members()) != 1 {
				t.Fatal(a.Members(), g.Members())
			}
		})
	}
	b := open(t, "b", seeds(a))
	wait(t, b, "a alive, b alive")
}

// TestRotation changes the key of a running cluster.
func TestRotation(t *testing.T) {
	a := open(t, "a", nil)
	b := open(t, "b", seeds(a))
	wait(t, b, "a alive, b alive")
	for _, step := range []func(*Keys) error{
		func(k *Keys) error { return k.Add(key2) },
		func(k *Keys) error { return k.Add(key2) },
		func(k *Keys) error { return k.Use(key2) },
		func(k *Keys) error { return k.Remove(key1) },
	} {
		for _, g := range []*Gossip{a, b} {
			if err := step(g.Keys()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := a.Keys().List(); len(got) != 1 || got[0] != KeyName(key2) {
		t.Fatal(got)
	}
	c := open(t, "c", func(o *Options) {
		seeds(a)(o)
		o.Keys = [][]byte{key2}
	})
	wait(t, c, "a alive, b alive, c alive")
	wait(t, b, "a alive, b alive, c alive")

	k := a.Keys()
	if err := errors.Join(k.Add(key1)); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"a third key":       k.Add(NewKey()),
		"a short key":       k.Add([]byte("short")),
		"an unknown key":    k.Use(NewKey()),
		"the key in use":    k.Remove(key2),
		"a ring that's not": (*Keys)(nil).Add(key1),
	} {
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// cutTransport is a network that can be cut.
type cutTransport struct {
	*memberlist.NetTransport
	cut *atomic.Bool
}

func (c cutTransport) WriteTo(b []byte, to string) (time.Time, error) {
	return c.WriteToAddress(b, memberlist.Address{Addr: to})
}

func (c cutTransport) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	if c.cut.Load() {
		return time.Now(), nil // it is lost
	}
	return c.NetTransport.WriteToAddress(b, to)
}

func (c cutTransport) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	return c.DialAddressTimeout(memberlist.Address{Addr: to}, timeout)
}

func (c cutTransport) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if c.cut.Load() {
		return nil, errors.New("the network is cut")
	}
	return c.NetTransport.DialAddressTimeout(to, timeout)
}

// TestHealing: halves that took each other for dead find each other by their seeds.
func TestHealing(t *testing.T) {
	var cut atomic.Bool
	cutting := func(o *Options) {
		o.testing.transport = func(n *memberlist.NetTransport) memberlist.Transport { return cutTransport{n, &cut} }
	}
	a := open(t, "a", cutting)
	b := open(t, "b", func(o *Options) {
		cutting(o)
		seeds(a)(o)
	})
	wait(t, a, "a alive, b alive")
	wait(t, b, "a alive, b alive")
	cut.Store(true)
	wait(t, a, "a alive, b failed")
	wait(t, b, "a failed, b alive")
	cut.Store(false)
	wait(t, a, "a alive, b alive")
	wait(t, b, "a alive, b alive")
}

// TestGarbage: bytes that are nothing, on both ports; sealed and not.
func TestGarbage(t *testing.T) {
	for _, keys := range [][][]byte{nil, {key1}} {
		a := open(t, "a", func(o *Options) { o.Keys, o.Cluster = keys, "" })
		for i := range 256 {
			for _, network := range []string{"udp", "tcp"} {
				c, err := net.Dial(network, a.Addr())
				if err != nil {
					t.Fatal(err)
				}
				garbage := append([]byte{byte(i)}, bytes.Repeat([]byte{0xdf, 0xff}, i)...)
				_, _ = c.Write(garbage)
				_ = c.Close()
			}
		}
		b := open(t, "b", func(o *Options) {
			seeds(a)(o)
			o.Keys, o.Cluster = keys, ""
		})
		wait(t, b, "a alive, b alive")
		if len(a.Members()) > 2 {
			t.Fatal(a.Members())
		}
	}
}

func TestExposure(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*Options)
		want string // in the error; empty: none
	}{
		"loopback":          {func(o *Options) { o.Keys = nil }, ""},
		"everywhere":        {func(o *Options) { o.Listen, o.Advertise, o.Keys = "0.0.0.0:0", "127.0.0.1:9", nil }, "open to strangers"},
		"everywhere, a key": {func(o *Options) { o.Listen, o.Advertise = "0.0.0.0:0", "127.0.0.1:9" }, ""},
		"in so many words":  {func(o *Options) { o.Listen, o.Advertise, o.Keys, o.Open = "0.0.0.0:0", "127.0.0.1:9", nil, true }, ""},
		"no address":        {func(o *Options) { o.Listen = "0.0.0.0:0" }, "set the address to advertise"},
		"nobody's address":  {func(o *Options) { o.Advertise = "0.0.0.0:1" }, "cannot be advertised"},
		"a name":            {func(o *Options) { o.Listen = "localhost:1" }, "no IP address"},
		"a short key":       {func(o *Options) { o.Keys = [][]byte{{1}} }, "1 bytes and not 32"},
		"three keys":        {func(o *Options) { o.Keys = [][]byte{key1, key2, NewKey()} }, "at most 2"},
		"no id":             {func(o *Options) { o.Meta.Node.ID = "" }, "0 bytes"},
		"no name":           {func(o *Options) { o.Meta.Node.Name = "" }, "cannot be"},
		"too much to tell":  {func(o *Options) { o.Meta.Node.Tags = map[string]string{"k": strings.Repeat("x", 600)} }, "shorten the tags (602 bytes)"},
		"a long cluster":    {func(o *Options) { o.Cluster = strings.Repeat("x", 300) }, "255"},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Meta: Meta{Node: api.Node{ID: "a", Name: "a"}}, Listen: "127.0.0.1:0", Keys: [][]byte{key1}}
			c.set(&o)
			g, err := Open(o)
			if err == nil {
				_ = g.Close()
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatal(err)
			}
		})
	}
}

// TestMissed: a reader who is late hears so, and the library is never held up.
func TestMissed(t *testing.T) {
	now := time.Unix(0, 0)
	tab := newTable(func() time.Time { now = now.Add(time.Second); return now })
	node := func(i int) *memberlist.Node {
		meta := Meta{Node: api.Node{Name: "n"}}
		data, err := meta.encode()
		if err != nil {
			t.Fatal(err)
		}
		return &memberlist.Node{Name: fmt.Sprint("n", i), Meta: data, Addr: net.IPv4(127, 0, 0, 1)}
	}
	for i := range maxGone + 50 {
		tab.NotifyJoin(node(i))
		tab.NotifyLeave(node(i))
	}
	if got := len(tab.list()); got != maxGone {
		t.Fatal(got)
	}
	for range maxEvents {
		if e := <-tab.events; e.Kind == Missed {
			t.Fatal("too early")
		}
	}
	tab.NotifyConflict(nil, node(0))
	if e := <-tab.events; e.Kind != Missed {
		t.Fatal(e)
	}
	if e := <-tab.events; e.Kind != Conflict {
		t.Fatal(e)
	}
	tab.end()
	tab.end()
	tab.NotifyJoin(node(1)) // after the end it is dropped
	if _, ok := <-tab.events; ok {
		t.Fatal("it is not closed")
	}
	if err := tab.NotifyAlive(&memberlist.Node{Name: "x", Meta: []byte{0xc1}}); !errors.Is(err, ErrMeta) {
		t.Fatal(err)
	}
}

// TestCloseAtOnce: closing does not wait for seeds that do not answer.
func TestCloseAtOnce(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	g := open(t, "a", func(o *Options) { o.Seeds = []string{silent.Addr().String(), "no.such.name.invalid"} })
	conn, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Fatal(took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Leave(ctx); err == nil {
		t.Fatal("it says goodbye after its end")
	}
}
