package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/weirflow/weir/flow/codec"
)

// Endpoint is a process's part in exchanges with other processes: one for each process.
type Endpoint struct {
	opt      Options
	ctx      context.Context
	cancel   context.CancelFunc
	dialog   *dialog
	openings *codec.Codec[opening]
	bad      error // why it cannot work at all
	running  sync.WaitGroup

	mu struct {
		sync.Mutex
		closed   bool
		links    map[string]*link
		accepted int // connections
		// attached is what is attached here, waiting what was opened before it was
		// attached. An id is in one of them.
		attached map[PartitionID]*attachment
		waiting  map[PartitionID]*inbound
		// newest is the newest attempt that was attached of an edge. It is kept when that
		// is over: who comes late must find it.
		newest map[edgeOf]uint64
	}
}

// New makes an endpoint, and starts to accept connections where there is a listener. It is
// to be closed.
func New(opt Options) *Endpoint {
	opt.EnsureDefaults()
	e := &Endpoint{opt: opt}
	e.ctx, e.cancel = context.WithCancel(opt.Context)
	e.mu.links = map[string]*link{}
	e.mu.attached = map[PartitionID]*attachment{}
	e.mu.waiting = map[PartitionID]*inbound{}
	e.mu.newest = map[edgeOf]uint64{}
	var err error
	if e.dialog, err = newDialog(&e.opt); err != nil {
		e.bad = err
	} else if e.openings, err = codec.For[opening](); err != nil {
		e.bad = err
	}
	if opt.Listener != nil {
		context.AfterFunc(e.ctx, func() { _ = opt.Listener.Close() })
		if e.bad == nil {
			e.running.Go(e.accept)
		}
	}
	return e
}

// Addr is where others reach it; nil where nothing is received.
func (e *Endpoint) Addr() net.Addr {
	if e.opt.Listener == nil {
		return nil
	}
	return e.opt.Listener.Addr()
}

// Close breaks all connections, and returns when nothing runs any more. What is attached
// fails, unless it has ended.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	e.mu.closed = true
	e.mu.Unlock()
	e.cancel()
	if e.opt.Listener != nil {
		_ = e.opt.Listener.Close()
	}
	e.running.Wait()
	return nil
}

// Forget forgets which attempts of a job were the newest: the job is over.
func (e *Endpoint) Forget(job string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for edge := range e.mu.newest {
		if edge.job == job {
			delete(e.mu.newest, edge)
		}
	}
}

// accept takes connections until the listener is closed.
func (e *Endpoint) accept() {
	for {
		c, err := e.opt.Listener.Accept()
		if err != nil {
			if e.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of files, say: there will be some again.
			e.opt.Refused("", fmt.Errorf("shuffle/wire: accepting a connection: %w", err))
			select {
			case <-e.ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		e.mu.Lock()
		e.mu.accepted++
		n := e.mu.accepted
		e.mu.Unlock()
		if n > 2*e.opt.MaxConnections {
			// Too many even to be told why.
			_ = c.Close()
			e.left()
			continue
		}
		e.running.Go(func() {
			defer e.left()
			if err := e.serve(c, n > e.opt.MaxConnections); err != nil && e.ctx.Err() == nil {
				e.opt.Refused(c.RemoteAddr().String(), err)
			}
		})
	}
}

func (e *Endpoint) left() {
	e.mu.Lock()
	e.mu.accepted--
	e.mu.Unlock()
}

// serve is the life of an accepted connection.
func (e *Endpoint) serve(c net.Conn, full bool) error {
	defer c.Close()
	raw := c
	stop := context.AfterFunc(e.ctx, func() { _ = raw.Close() })
	defer stop()
	watch(c)
	if e.opt.ServerTLS != nil {
		s := tls.Server(c, e.opt.ServerTLS)
		ctx, cancel := context.WithTimeout(e.ctx, e.opt.HandshakeTimeout)
		err := s.HandshakeContext(ctx)
		cancel()
		if err != nil {
			return fmt.Errorf("shuffle/wire: TLS: %w", err)
		}
		c = s
	}
	name, frames, err := e.dialog.answer(c, full)
	if err != nil {
		return fmt.Errorf("shuffle/wire: a greeting: %w", err)
	}
	peer := c.RemoteAddr().String()
	if name != "" {
		peer = fmt.Sprintf("%s (%s)", name, peer)
	}
	return newAccepted(e, c, peer).run(frames)
}

// open opens a partition on the link to peer, which is made where there is none.
func (e *Endpoint) open(o *outbound, peer string, id PartitionID, schema uint64) error {
	if e.bad != nil {
		return e.bad
	}
	for {
		e.mu.Lock()
		if e.mu.closed || e.ctx.Err() != nil {
			e.mu.Unlock()
			return fmt.Errorf("shuffle/wire: %s: %w", id, ErrEndpointClosed)
		}
		l := e.mu.links[peer]
		if l == nil {
			l = newLink(e, peer)
			e.mu.links[peer] = l
			e.running.Go(func() { l.run(e.ctx) })
		}
		e.mu.Unlock()
		if ok, err := l.add(o, id, schema, e.openings); ok {
			return err
		}
		// It broke in the meantime, and is replaced by a new one.
		e.drop(l)
	}
}

// drop forgets a link.
func (e *Endpoint) drop(l *link) {
	e.mu.Lock()
	if e.mu.links[l.peer] == l {
		delete(e.mu.links, l.peer)
	}
	e.mu.Unlock()
}
