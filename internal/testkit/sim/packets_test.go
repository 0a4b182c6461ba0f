package sim

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// packets is the gossip of one agent.
type packets struct {
	process *Process
	addr    string
	l       net.Listener
	in      chan *memberlist.Packet
	streams chan net.Conn
	over    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
}

// Packets is a transport for gossip at an address of the process's host.
func (p *Process) Packets(addr string) (memberlist.Transport, error) {
	l, err := p.Listen(addr)
	if err != nil {
		return nil, err
	}
	t := &packets{process: p, addr: addr, l: l, in: make(chan *memberlist.Packet, 256), streams: make(chan net.Conn), over: make(chan struct{})}
	p.net.mu.Lock()
	p.net.mu.packets[addr] = t
	p.net.mu.Unlock()
	t.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			select {
			case t.streams <- c:
			case <-t.over:
				_ = c.Close()
				return
			}
		}
	})
	return t, nil
}

func (t *packets) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	return net.ParseIP(ip), port, nil
}

func (t *packets) PacketCh() <-chan *memberlist.Packet { return t.in }

func (t *packets) StreamCh() <-chan net.Conn { return t.streams }

func (t *packets) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.process.Dial(ctx, addr)
}

// WriteTo sends a packet, which may be lost.
func (t *packets) WriteTo(b []byte, addr string) (time.Time, error) {
	now, n := time.Now(), t.process.net
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return now, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	to := n.mu.packets[addr]
	way := [2]string{t.process.host, host}
	if to == nil || t.process.dead || t.process.paused || n.darkLocked(host) || n.mu.cut[link{way[0], way[1], false}] > 0 || n.mu.rnd.Float64() < n.mu.lossy[way] {
		return now, nil
	}
	from, err := netip.ParseAddrPort(t.addr)
	if err != nil {
		return now, err
	}
	p := &memberlist.Packet{Buf: bytes.Clone(b), From: net.UDPAddrFromAddrPort(from)}
	time.AfterFunc(n.delayLocked(way[0], way[1]), func() { to.deliver(p) })
	return now, nil
}

func (t *packets) deliver(p *memberlist.Packet) {
	n := t.process.net
	n.mu.Lock()
	lost := t.process.dead || t.process.paused
	n.mu.Unlock()
	if lost {
		return
	}
	p.Timestamp = time.Now()
	select {
	case t.in <- p:
	default: // full
	}
}

// Shutdown ends it.
func (t *packets) Shutdown() error {
	t.once.Do(func() {
		close(t.over)
		_ = t.l.Close() // a process that was killed has closed it
		n := t.process.net
		n.mu.Lock()
		if n.mu.packets[t.addr] == t {
			delete(n.mu.packets, t.addr)
		}
		n.mu.Unlock()
		t.wg.Wait()
	})
	return nil
}

// hostOf is the address of the agent with a number, from 1.
func hostOf(n int) string { return "127.0.1." + strconv.Itoa(n) }
