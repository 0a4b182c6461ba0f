package raft

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
)

const (
	// maxInbound bounds the connections that others have open: each holds buffers of
	// half a megabyte. Servers need a few each.
	maxInbound = 64
	// handshakeTime bounds a TLS handshake.
	handshakeTime = 5 * time.Second
)

var errStreamClosed = errors.New("raft: the server is closed")

// stream is raft's way to other servers. It knows every connection, so that closing it
// ends them all: the library leaves those it has accepted open until the peer ends them.
type stream struct {
	listener       net.Listener
	advertise      address
	server, client *tls.Config

	dial     func(ctx context.Context, addr string) (net.Conn, error)
	wrap     func(net.Conn) net.Conn // of tests; nil: none
	ctx      context.Context
	cancel   context.CancelFunc
	accepted chan net.Conn
	wg       sync.WaitGroup

	mu struct {
		sync.Mutex
		closed  bool
		conns   map[*conn]struct{}
		inbound int
	}
}

// address is a host:port that need not be a number.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// newStream starts to accept connections.
func newStream(o *Options) *stream {
	s := &stream{
		listener: o.Listener, advertise: address(o.Advertise), server: o.ServerTLS, client: o.ClientTLS,
		accepted: make(chan net.Conn), dial: o.Dial, wrap: o.testing.wrap,
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.conns = map[*conn]struct{}{}
	s.wg.Go(s.listen)
	return s
}

func (s *stream) listen() {
	pause := time.Millisecond
	for s.ctx.Err() == nil {
		c, err := s.listener.Accept()
		if err != nil {
			pause = min(2*pause, time.Second)
			select {
			case <-s.ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		pause = time.Millisecond
		if t := s.track(c, true); t != nil {
			s.wg.Go(func() { s.welcome(t) })
		}
	}
}

// welcome shakes hands, each connection by itself: a silent one keeps nobody waiting.
func (s *stream) welcome(c *conn) {
	if s.server != nil {
		t := tls.Server(c.Conn, s.server)
		ctx, cancel := context.WithTimeout(s.ctx, handshakeTime)
		err := t.HandshakeContext(ctx)
		cancel()
		if err != nil {
			_ = c.Close()
			return
		}
		c.Conn = t
	}
	select {
	case s.accepted <- c:
	case <-s.ctx.Done():
		_ = c.Close()
	}
}

// track takes a connection into the books; nil if it may not stay, and is closed.
func (s *stream) track(c net.Conn, inbound bool) *conn {
	if s.wrap != nil {
		c = s.wrap(c)
	}
	t := &conn{Conn: c, raw: c, stream: s, inbound: inbound}
	s.mu.Lock()
	refuse := s.mu.closed || inbound && s.mu.inbound >= maxInbound
	if !refuse {
		s.mu.conns[t] = struct{}{}
		if inbound {
			s.mu.inbound++
		}
	}
	s.mu.Unlock()
	if refuse {
		_ = c.Close()
		return nil
	}
	return t
}

// conn is a connection in the books.
type conn struct {
	net.Conn
	raw     net.Conn // below TLS
	stream  *stream
	inbound bool
}

// Close also takes it out of the books. It does not wait to say goodbye in TLS.
func (c *conn) Close() error {
	s := c.stream
	s.mu.Lock()
	_, known := s.mu.conns[c]
	if known {
		delete(s.mu.conns, c)
		if c.inbound {
			s.mu.inbound--
		}
	}
	s.mu.Unlock()
	return c.raw.Close()
}

// Accept returns connections whose peers have proved who they are.
func (s *stream) Accept() (net.Conn, error) {
	select {
	case c := <-s.accepted:
		return c, nil
	case <-s.ctx.Done():
		return nil, errStreamClosed
	}
}

// Addr is the advertised address.
func (s *stream) Addr() net.Addr { return s.advertise }

// Dial connects to another server.
func (s *stream) Dial(to hraft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	raw, err := s.dial(ctx, string(to))
	if err != nil {
		return nil, fmt.Errorf("raft: connect to server %s: %w", to, err)
	}
	c := s.track(raw, false)
	if c == nil {
		return nil, errStreamClosed
	}
	if s.client == nil {
		return c, nil
	}
	config := s.client
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(string(to))
		if err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("raft: connect to server %s: %w", to, err)
		}
		config = config.Clone()
		config.ServerName = host
	}
	t := tls.Client(c.raw, config)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("raft: connect to server %s: %w", to, err)
	}
	c.Conn = t
	return c, nil
}

// Close ends all connections and waits for the goroutines here.
func (s *stream) Close() error {
	s.mu.Lock()
	was := s.mu.closed
	s.mu.closed = true
	var open []net.Conn
	for c := range s.mu.conns {
		open = append(open, c.raw)
	}
	s.mu.Unlock()
	if was {
		return nil
	}
	s.cancel()
	err := s.listener.Close()
	for _, c := range open {
		_ = c.Close()
	}
	s.wg.Wait()
	return err
}
