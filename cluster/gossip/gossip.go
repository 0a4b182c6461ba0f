package gossip

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // the library takes no other
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Options say how an agent takes part.
type Options struct {
	// Meta is what it tells of itself. Its node's id is its name in gossip.
	Meta Meta
	// Listen is the IP address and port for UDP and TCP; port 0 takes a free one. Default:
	// 127.0.0.1:7401.
	Listen string
	// Advertise is the IP address and port under which others reach it. Default: that of Listen.
	Advertise string
	// Cluster is a name that members have in common: those of another are not heard.
	Cluster string
	// Keys seal what is sent, with the first. Each has 32 bytes, and there are at most two.
	Keys [][]byte
	// Open allows to listen beyond loopback without a key.
	Open bool
	// Seeds are asked first: see resolveSeeds for their forms.
	Seeds []string
	// Probe is how often a member is asked whether it is here. Default: 1 s.
	Probe time.Duration
	// Rejoin is how often seeds that are no members are asked at least. Default: 30 s.
	Rejoin time.Duration
	// Resolver looks up names. Default: net.DefaultResolver.
	Resolver Resolver
	// Transport is there instead of sockets at Listen. It is closed with the Gossip. Default: UDP and TCP.
	Transport memberlist.Transport
	// Logger is told what the library does. Default: none.
	Logger *slog.Logger

	testing struct {
		// transport comes between the library and the network.
		transport func(*memberlist.NetTransport) memberlist.Transport
	}
}

// EnsureDefaults fills in what is not set.
func (o *Options) EnsureDefaults() {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:7401"
	}
	if o.Probe == 0 {
		o.Probe = time.Second
	}
	if o.Rejoin == 0 {
		o.Rejoin = 30 * time.Second
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate refuses what cannot work, and what would be open to strangers.
func (o *Options) Validate() error {
	ip, _, err := splitAddr(o.Listen)
	if err != nil {
		return fmt.Errorf("gossip: listen: %w", err)
	}
	if !ip.IsLoopback() && len(o.Keys) == 0 && !o.Open {
		return fmt.Errorf("gossip: %s is open to strangers, who could join the cluster: "+
			"give all agents a key, or listen at 127.0.0.1, or allow it in so many words", o.Listen)
	}
	if o.Advertise != "" {
		if ip, port, err := splitAddr(o.Advertise); err != nil || ip.IsUnspecified() || port == 0 {
			return fmt.Errorf("gossip: %q cannot be advertised: it is no IP address with a port", o.Advertise)
		}
	} else if ip.IsUnspecified() {
		return fmt.Errorf("gossip: %s says not under which address others reach this host: set the address to advertise", o.Listen)
	}
	if o.Probe < 10*time.Millisecond || o.Rejoin < 10*time.Millisecond {
		return fmt.Errorf("gossip: probes each %s and seeds each %s: 10 ms is the least", o.Probe, o.Rejoin)
	}
	if len(o.Cluster) > memberlist.LabelMaxSize {
		return fmt.Errorf("gossip: the cluster's name has %d bytes, at most %d are possible", len(o.Cluster), memberlist.LabelMaxSize)
	}
	data, err := o.Meta.encode()
	if err == nil {
		_, err = decodeMeta(string(o.Meta.Node.ID), data)
	}
	return err
}

func splitAddr(s string) (net.IP, int, error) {
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return nil, 0, fmt.Errorf("%q is no IP address with a port: %w", s, err)
	}
	ip := net.ParseIP(host)
	port, err := strconv.Atoi(text)
	if ip == nil || err != nil || port < 0 || port > 65535 {
		return nil, 0, fmt.Errorf("%q is no IP address with a port", s)
	}
	return ip, port, nil
}

// Gossip is an agent that takes part.
type Gossip struct {
	o     Options
	list  *memberlist.Memberlist
	table *table
	keys  *Keys
	words *memberlist.TransmitLimitedQueue // goodbyes that are to be passed on
	port  int
	addr  string

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu struct {
		sync.Mutex
		// encoded is the meta that the library is to send.
		encoded []byte
		// seeds is why some seed could not be asked the last time.
		seeds error
	}
	// changing is held while the library spreads a new meta, and while it is closed.
	changing sync.Mutex
	closed   bool // guarded by changing
}

// Open begins to listen, and to look for the others. Close ends it.
func Open(o Options) (*Gossip, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	keys, err := newKeys(o.Keys)
	if err != nil {
		return nil, err
	}
	o.Meta.Instance = rand.Uint32()
	g := &Gossip{o: o, keys: keys, table: newTable(time.Now)}
	g.words = &memberlist.TransmitLimitedQueue{NumNodes: g.table.count, RetransmitMult: 4}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	if err := g.setMeta(o.Meta); err != nil {
		return nil, err
	}
	config, err := g.config()
	if err != nil {
		return nil, err
	}
	if g.list, err = memberlist.Create(config); err != nil {
		_ = config.Transport.Shutdown()
		return nil, fmt.Errorf("gossip: listen at %s: %w", o.Listen, err)
	}
	self := g.list.LocalNode()
	g.addr, g.port = self.Address(), int(self.Port)
	if len(o.Seeds) > 0 {
		g.wg.Go(g.join)
	}
	return g, nil
}

func (g *Gossip) config() (*memberlist.Config, error) {
	ip, port, err := splitAddr(g.o.Listen)
	if err != nil {
		return nil, fmt.Errorf("gossip: listen: %w", err)
	}
	logger := newLogger(g.o.Logger)
	transport := g.o.Transport
	if transport == nil {
		if transport, port, err = g.listen(ip, port, logger); err != nil {
			return nil, err
		}
	}
	c := memberlist.DefaultLANConfig()
	c.Name = string(g.o.Meta.Node.ID)
	c.Label = g.o.Cluster
	c.Transport = transport
	c.BindAddr, c.BindPort = ip.String(), port
	c.AdvertiseAddr, c.AdvertisePort = ip.String(), port
	if g.o.Advertise != "" {
		ip, port, err := splitAddr(g.o.Advertise)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("gossip: advertise: %w", err), transport.Shutdown())
		}
		c.AdvertiseAddr, c.AdvertisePort = ip.String(), port
	}
	c.ProbeInterval, c.ProbeTimeout, c.GossipInterval = g.o.Probe, g.o.Probe/2, g.o.Probe/5
	c.PushPullInterval = 30 * g.o.Probe // what news by packets did not reach, it does
	c.TCPTimeout = max(2*g.o.Probe, time.Second)
	c.GossipToTheDeadTime = 30 * g.o.Probe
	c.DeadNodeReclaimTime = time.Millisecond // an id is that of a data directory: it may move with it
	if g.keys != nil {
		c.Keyring = g.keys.ring
	}
	c.Delegate, c.Events, c.Alive, c.Conflict = delegate{g}, g.table, g.table, g.table
	c.Logger = logger
	return c, nil
}

// listen opens the sockets. A free port has to be free twice, for UDP and for TCP.
func (g *Gossip) listen(ip net.IP, port int, logger *log.Logger) (memberlist.Transport, int, error) {
	for try := 0; ; try++ {
		transport, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{ip.String()}, BindPort: port, Logger: logger})
		switch {
		case err != nil && (port != 0 || try == 10):
			return nil, 0, fmt.Errorf("gossip: listen at %s: %w", g.o.Listen, err)
		case err != nil:
			continue
		case port == 0:
			port = transport.GetAutoBindPort()
		}
		if g.o.testing.transport != nil {
			return g.o.testing.transport(transport), port, nil
		}
		return transport, port, nil
	}
}

func (g *Gossip) setMeta(m Meta) error {
	data, err := m.encode()
	if err == nil {
		_, err = decodeMeta(string(g.o.Meta.Node.ID), data)
	}
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.encoded = data
	return nil
}

// SetMeta tells others something new of this agent. Its id stays. With an error about time it
// is told nevertheless, later.
func (g *Gossip) SetMeta(ctx context.Context, m Meta) error {
	m.Node.ID, m.Instance = g.o.Meta.Node.ID, g.o.Meta.Instance
	g.changing.Lock()
	defer g.changing.Unlock()
	if g.closed {
		return errClosed
	}
	if err := g.setMeta(m); err != nil {
		return err
	}
	if err := g.list.UpdateNode(timeLeft(ctx)); err != nil {
		return fmt.Errorf("gossip: tell of this agent: %w", err)
	}
	return nil
}

var errClosed = errors.New("gossip: it is closed")

// timeLeft is what the library can wait, which knows no contexts.
func timeLeft(ctx context.Context) time.Duration {
	left := 5 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline))
	}
	return max(left, time.Millisecond)
}

// Members are all that are known, this agent included, by id; those that failed or left
// too, for as long as there is room.
func (g *Gossip) Members() []Member { return g.table.list() }

// Events tells of changes, of this agent's own too. There is one channel, for one reader; it is
// closed with the Gossip.
func (g *Gossip) Events() <-chan Event { return g.table.events }

// Keys is the ring of keys; nil if there are none.
func (g *Gossip) Keys() *Keys { return g.keys }

// Addr is where others reach this agent.
func (g *Gossip) Addr() string { return g.addr }

// SeedError is why some seeds could not be asked the last time; nil if all went well.
func (g *Gossip) SeedError() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.seeds
}

// join asks seeds that are no members, first often and then rarely.
func (g *Gossip) join() {
	wait := min(100*time.Millisecond, g.o.Rejoin)
	for {
		joined, err := g.askSeeds()
		g.mu.Lock()
		g.mu.seeds = err
		g.mu.Unlock()
		if err != nil {
			g.o.Logger.Warn("gossip: some seeds could not be asked", "error", err)
		}
		if joined {
			wait = g.o.Rejoin
		}
		select {
		case <-g.ctx.Done():
			return
		case <-time.After(wait/2 + rand.N(wait/2+1)): // not all agents at once
		}
		wait = min(2*wait, g.o.Rejoin)
	}
}

// askSeeds reports whether this agent is not alone.
func (g *Gossip) askSeeds() (joined bool, err error) {
	ctx, cancel := context.WithTimeout(g.ctx, 10*time.Second)
	defer cancel()
	addrs, err := resolveSeeds(ctx, g.o.Seeds, g.port, g.o.Resolver)
	errs := []error{err}
	for _, addr := range addrs {
		if g.ctx.Err() != nil {
			return true, nil
		}
		if slices.ContainsFunc(g.Members(), func(m Member) bool { return m.Status == Alive && m.Addr == addr }) {
			continue
		}
		if _, err := g.list.Join([]string{addr}); err != nil {
			errs = append(errs, fmt.Errorf("gossip: seed %s: %w", addr, err))
		}
	}
	return g.table.count() > 1, errors.Join(errs...)
}

// Leave says goodbye: others then know that this agent is not coming back. Close follows.
func (g *Gossip) Leave(ctx context.Context) error {
	g.changing.Lock()
	defer g.changing.Unlock()
	if g.closed {
		return errClosed
	}
	told := g.sayGoodbye(ctx)
	if err := g.list.Leave(timeLeft(ctx)); err != nil {
		told = errors.Join(told, fmt.Errorf("gossip: leave: %w", err))
	}
	return told
}

// Close ends it without a word to others. It may be called again.
func (g *Gossip) Close() error {
	g.cancel()
	g.wg.Wait()
	g.changing.Lock()
	defer g.changing.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	err := g.list.Shutdown()
	g.table.end()
	if err != nil {
		return fmt.Errorf("gossip: close: %w", err)
	}
	return nil
}
