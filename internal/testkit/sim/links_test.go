package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Class tells two kinds of traffic apart, which can be cut apart.
type Class uint8

// Those that there are.
const (
	Control Class = 1 << iota // agents, servers, coordinators, gossip
	Data                      // partitions
	All     = Control | Data
)

// String names the class.
func (c Class) String() string {
	switch c {
	case Control:
		return "control"
	case Data:
		return "data"
	}
	return "all"
}

// keepAlive is after what time a connection of partitions to a host that is not reached
// is given up, as TCP does it where keepalive is set.
const keepAlive = 10 * time.Second

// Network joins the hosts of a simulation. Connections are in memory; what is written
// arrives later, in order, and may be held back. Methods may be called from any goroutine.
//
// A lock of a connection is never taken under that of the network.
type Network struct {
	base time.Duration

	mu struct {
		sync.Mutex
		rnd       *rand.Rand
		turn      chan struct{} // closed and replaced when anything that look tells has changed
		cut       map[link]int  // how many cuts there are of it
		slow      map[[2]string]time.Duration
		lossy     map[[2]string]float64
		listeners map[string]*listener
		packets   map[string]*packets
		data      map[string]bool // addresses of the class Data
		conns     map[*conn]bool
		port      int
	}
}

// link is one way from a host to another.
type link struct {
	from, to string
	data     bool
}

// NewNetwork makes one. Delays are drawn from seed; the least is base.
func NewNetwork(seed uint64, base time.Duration) *Network {
	n := &Network{base: base}
	n.mu.rnd = rand.New(rand.NewPCG(seed, 3))
	n.mu.turn = make(chan struct{})
	n.mu.cut, n.mu.slow, n.mu.lossy = map[link]int{}, map[[2]string]time.Duration{}, map[[2]string]float64{}
	n.mu.listeners, n.mu.packets, n.mu.data, n.mu.conns = map[string]*listener{}, map[string]*packets{}, map[string]bool{}, map[*conn]bool{}
	n.mu.port = 20_000
	return n
}

// Process is what runs on a host, has connections, and may die or stand still.
type Process struct {
	net  *Network
	host string
	name string

	dead, paused bool // under net.mu
}

// NewProcess begins one.
func (n *Network) NewProcess(host, name string) *Process {
	return &Process{net: n, host: host, name: name}
}

// String is its name.
func (p *Process) String() string { return p.name }

// look is what a connection wants to know of the network.
type look struct {
	open                         bool
	fromDead, toDead, fromPaused bool
	delay                        time.Duration
	turn                         <-chan struct{}
}

func (n *Network) look(from, to *Process, data bool) look {
	n.mu.Lock()
	defer n.mu.Unlock()
	return look{
		open:     n.mu.cut[link{from.host, to.host, data}] == 0 && !to.paused,
		fromDead: from.dead, toDead: to.dead, fromPaused: from.paused,
		delay: n.delayLocked(from.host, to.host), turn: n.mu.turn,
	}
}

func (n *Network) delayLocked(from, to string) time.Duration {
	if from == to {
		return n.base / 10
	}
	d := n.base + time.Duration(n.mu.rnd.Int64N(int64(n.base)+1)) + n.mu.slow[[2]string{from, to}]
	if p := n.mu.lossy[[2]string{from, to}]; p > 0 && n.mu.rnd.Float64() < p {
		d += 200 * time.Millisecond // it is sent again
	}
	return d
}

func (n *Network) turnLocked() {
	close(n.mu.turn)
	n.mu.turn = make(chan struct{})
}

// Cut holds back what goes from one host to another, until Heal.
func (n *Network) Cut(from, to string, c Class) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, data := range []bool{false, true} {
		if data && c&Data == 0 || !data && c&Control == 0 {
			continue
		}
		l := link{from, to, data}
		if n.mu.cut[l]++; data {
			time.AfterFunc(keepAlive, func() { n.giveUp(l) })
		}
	}
	n.turnLocked()
}

// Heal takes back one Cut.
func (n *Network) Heal(from, to string, c Class) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c&Control != 0 {
		n.mu.cut[link{from, to, false}]--
	}
	if c&Data != 0 {
		n.mu.cut[link{from, to, true}]--
	}
	n.turnLocked()
}

// giveUp breaks the connections over a link, if it is cut.
func (n *Network) giveUp(l link) {
	n.mu.Lock()
	var broken []*conn
	for c := range n.mu.conns {
		if n.mu.cut[l] > 0 && c.out.data == l.data && c.out.from.host == l.from && c.out.to.host == l.to {
			broken = append(broken, c)
		}
	}
	n.mu.Unlock()
	for _, c := range broken {
		c.reset(syscall.ETIMEDOUT)
	}
}

// Slow delays what goes from one host to another; 0 ends it.
func (n *Network) Slow(from, to string, by time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.slow[[2]string{from, to}] = by
}

// Lose has some of what goes from one host to another lost: packets are gone, and what is
// written to connections comes late.
func (n *Network) Lose(from, to string, share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.lossy[[2]string{from, to}] = share
}

// Reset breaks all connections between two hosts.
func (n *Network) Reset(a, b string, c Class) {
	n.each(func(x *conn) bool {
		return (x.out.from.host == a && x.out.to.host == b) && (x.out.data && c&Data != 0 || !x.out.data && c&Control != 0)
	}, syscall.ECONNRESET)
}

func (n *Network) each(which func(*conn) bool, err error) {
	n.mu.Lock()
	var all []*conn
	for c := range n.mu.conns {
		if which(c) {
			all = append(all, c)
		}
	}
	n.mu.Unlock()
	for _, c := range all {
		c.reset(err)
	}
}

// Pause stops a process from hearing and being heard, or lets it go on.
func (p *Process) Pause(on bool) {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.paused = on
	p.net.turnLocked()
}

// Kill ends what the process has to do with others. Where it is silent, as of a host that
// loses its power, others are not told: Bury does that.
func (p *Process) Kill(silent bool) {
	n := p.net
	n.mu.Lock()
	p.dead, p.paused = true, false
	n.turnLocked()
	for addr, l := range n.mu.listeners {
		if l.process == p {
			delete(n.mu.listeners, addr)
			l.closeLocked()
		}
	}
	n.mu.Unlock()
	if silent {
		time.AfterFunc(keepAlive, func() {
			n.each(func(c *conn) bool { return c.out.data && (c.out.from == p || c.out.to == p) }, syscall.ETIMEDOUT)
		})
		return
	}
	p.Bury()
}

// Bury breaks the connections of a process that was killed.
func (p *Process) Bury() {
	p.net.each(func(c *conn) bool { return c.out.from == p || c.out.to == p }, syscall.ECONNRESET)
}

// Dead reports whether it was killed.
func (p *Process) Dead() bool {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	return p.dead
}

// errDead ends what a dead process does.
var errDead = errors.New("sim: the process was killed")

// Pass returns when the process may do something: at once, when it goes on, or with an
// error when it is dead. Whoever acts on the outside asks here right before.
func (p *Process) Pass(ctx context.Context) error {
	for {
		p.net.mu.Lock()
		dead, paused, turn := p.dead, p.paused, p.net.mu.turn
		p.net.mu.Unlock()
		switch {
		case dead:
			return errDead
		case !paused:
			return nil
		}
		select {
		case <-turn:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// MarkData says that an address is one of partitions.
func (n *Network) MarkData(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.data[addr] = true
}

// listener is a port that is listened at.
type listener struct {
	process *Process
	addr    address
	room    chan *conn // those that wait to be taken
	closed  chan struct{}
	over    bool // under net.mu
}

// Listen takes a port of the process's host.
func (p *Process) Listen(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n := p.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if host != p.host {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: address(addr), Err: syscall.EADDRNOTAVAIL}
	}
	if port == "0" {
		n.mu.port++
		addr = net.JoinHostPort(host, strconv.Itoa(n.mu.port))
	}
	if n.mu.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: address(addr), Err: syscall.EADDRINUSE}
	}
	l := &listener{process: p, addr: address(addr), room: make(chan *conn, 128), closed: make(chan struct{})}
	if p.dead {
		l.closeLocked()
		return l, nil
	}
	n.mu.listeners[addr] = l
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		l.process.net.mu.Lock()
		paused, turn := l.process.paused, l.process.net.mu.turn
		l.process.net.mu.Unlock()
		room := l.room
		if paused {
			room = nil
		}
		select {
		case c := <-room:
			return c, nil
		case <-turn:
		case <-l.closed:
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
		}
	}
}

func (l *listener) closeLocked() {
	if !l.over {
		l.over = true
		close(l.closed)
	}
}

// Close ends it. Connections that nobody has taken are broken.
func (l *listener) Close() error {
	n := l.process.net
	n.mu.Lock()
	was := l.over
	l.closeLocked()
	if n.mu.listeners[string(l.addr)] == l {
		delete(n.mu.listeners, string(l.addr))
	}
	n.mu.Unlock()
	for {
		select {
		case c := <-l.room:
			c.reset(syscall.ECONNRESET)
			_ = c.Close()
			continue
		default:
		}
		break
	}
	if was {
		return net.ErrClosed
	}
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }

// Dial connects to an address.
func (p *Process) Dial(ctx context.Context, addr string) (net.Conn, error) {
	n := p.net
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: address(addr), Err: err}
	}
	began := false
	for {
		n.mu.Lock()
		data := n.mu.data[addr]
		reaches := n.mu.cut[link{p.host, host, data}] == 0 && n.mu.cut[link{host, p.host, data}] == 0
		there, known := n.mu.listeners[addr], !n.darkLocked(host)
		turn, trip := n.mu.turn, n.delayLocked(p.host, host)+n.delayLocked(host, p.host)
		dead, paused := p.dead, p.paused
		if dead {
			n.mu.Unlock()
			return fail(errDead)
		}
		if reaches && known && !paused && began {
			if there == nil {
				n.mu.Unlock()
				return fail(syscall.ECONNREFUSED)
			}
			c, err := n.connectLocked(p, there, data)
			n.mu.Unlock()
			if err != nil {
				return fail(err)
			}
			return c, nil
		}
		n.mu.Unlock()
		var due <-chan time.Time
		if !began && reaches && known && !paused {
			timer := time.NewTimer(trip)
			defer timer.Stop()
			due, turn = timer.C, nil
		}
		select {
		case <-due:
			began = true
		case <-turn:
		case <-ctx.Done():
			return fail(context.Cause(ctx))
		}
	}
}

// darkHosts are those without power: nothing answers there.
func (n *Network) darkLocked(host string) bool { return n.mu.cut[link{host, host, false}] > 0 }

// Dark takes a host's power, or gives it back.
func (n *Network) Dark(host string, on bool) {
	if on {
		n.Cut(host, host, Control)
	} else {
		n.Heal(host, host, Control)
	}
}

func (n *Network) connectLocked(p *Process, l *listener, data bool) (net.Conn, error) {
	n.mu.port++
	mine := address(net.JoinHostPort(p.host, strconv.Itoa(n.mu.port)))
	there, back := newHalf(n, p, l.process, data), newHalf(n, l.process, p, data)
	here := &conn{in: back, out: there, local: mine, remote: l.addr, process: p}
	far := &conn{in: there, out: back, local: l.addr, remote: mine, process: l.process}
	select {
	case l.room <- far:
	default:
		return nil, fmt.Errorf("%w: nobody takes connections", syscall.ETIMEDOUT)
	}
	n.mu.conns[here], n.mu.conns[far] = true, true
	return here, nil
}

func (n *Network) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.mu.conns, c)
}

// Open counts the connections that were not closed by both sides.
func (n *Network) Open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.mu.conns)
}
