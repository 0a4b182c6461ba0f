package gossip

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// crowdTransport is one of a network in memory. The library's own has no queues: two that
// answer each other wait for each other, and who writes to one that is shut down waits for
// ever. So packets have a queue here, and what comes after the end is thrown away.
type crowdTransport struct {
	*memberlist.MockTransport
	addr    string
	others  map[string]crowdTransport // by address, and by name
	packets chan *memberlist.Packet
	over    chan struct{} // closed when nobody writes any more
	wg      *sync.WaitGroup
}

func (c crowdTransport) PacketCh() <-chan *memberlist.Packet { return c.packets }

func (c crowdTransport) WriteTo(b []byte, to string) (time.Time, error) {
	return c.WriteToAddress(b, memberlist.Address{Addr: to})
}

func (c crowdTransport) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	now := time.Now()
	from := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(c.addr))
	select {
	case c.others[to.Addr].packets <- &memberlist.Packet{Buf: bytes.Clone(b), From: from, Timestamp: now}:
	default: // full: it is lost, as on a network
	}
	return now, nil
}

func (c crowdTransport) Shutdown() error {
	c.wg.Go(func() {
		for {
			select {
			case <-c.packets:
			case conn := <-c.StreamCh():
				_ = conn.Close()
			case <-c.over:
				return
			}
		}
	})
	return nil
}

// TestCrowd: twenty members, in memory; five leave and five die.
func TestCrowd(t *testing.T) {
	const count = 20
	var network memberlist.MockNetwork
	over, wg := make(chan struct{}), new(sync.WaitGroup)
	t.Cleanup(func() {
		// The members were closed; what they still write ends within their timeouts.
		<-time.After(2 * time.Second)
		close(over)
		wg.Wait()
	})
	transports, others := make([]crowdTransport, count), map[string]crowdTransport{}
	for i := range transports {
		mock := network.NewTransport(fmt.Sprintf("m%02d", i))
		ip, port, err := mock.FinalAdvertiseAddr("", 0)
		if err != nil {
			t.Fatal(err)
		}
		addr := net.JoinHostPort(ip.String(), fmt.Sprint(port))
		transports[i] = crowdTransport{mock, addr, others, make(chan *memberlist.Packet, 256), over, wg}
		others[addr] = transports[i]
	}
	crowd := make([]*Gossip, count)
	for i := range crowd {
		crowd[i] = open(t, fmt.Sprintf("m%02d", i), func(o *Options) {
			o.Transport = transports[i]
			o.Probe = 200 * time.Millisecond
			if i > 0 {
				o.Seeds = []string{crowd[0].Addr()}
			}
		})
	}
	want := func(left, dead int) (s string) {
		for i := range count {
			status := Alive
			switch {
			case i >= count-left:
				status = Left
			case i >= count-left-dead:
				status = Failed
			}
			if i > 0 {
				s += ", "
			}
			s += fmt.Sprintf("m%02d %s", i, status)
		}
		return s
	}
	for _, g := range crowd {
		wait(t, g, want(0, 0))
	}
	for _, g := range crowd[count-5:] {
		if err := g.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, g := range crowd[:10] {
		wait(t, g, want(5, 0))
	}
	for _, g := range crowd[count-10 : count-5] {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, g := range crowd[:10] {
		wait(t, g, want(5, 5))
	}
}
