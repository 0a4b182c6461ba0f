package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/shuffle"
)

// link is the producer's side of a connection to one process: it dials, writes what its
// senders queue, and reads the credit that comes back. It is made with its first sender and
// lives until the connection breaks.
type link struct {
	e    *Endpoint
	peer string // where it is dialled, and what it is called in errors

	mu struct {
		sync.Mutex
		senders map[uint32]*outbound
		last    uint32 // number given
		dirty   []*outbound
		wake    *sync.Cond
		err     error // why it is no more
		name    string
	}
}

func newLink(e *Endpoint, peer string) *link {
	l := &link{e: e, peer: peer}
	l.mu.senders = map[uint32]*outbound{}
	l.mu.wake = sync.NewCond(&l.mu.Mutex)
	return l
}

// add opens a partition on the link. It reports false when the link is no more.
func (l *link) add(o *outbound, id PartitionID, schema uint64, openings *codec.Codec[opening]) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.err != nil {
		return false, nil
	}
	if n := len(l.mu.senders); n >= l.e.opt.MaxPartitions {
		return true, fmt.Errorf("shuffle/wire: %s: %d partitions are open already on the connection with %s", id, n, l.peer)
	}
	o.init(l, id)
	l.mu.last++
	o.number = l.mu.last
	body := id.opening(schema)
	o.open = appendFrame(nil, header{kind: kindOpen, partition: o.number}, openings.AppendNamed(nil, &body))
	if n := len(o.open) - headSize; n > maxHello {
		return true, fmt.Errorf("shuffle/wire: %s: its names have %d bytes; no more than %d can be sent", id, n, maxHello)
	}
	l.mu.senders[o.number] = o
	l.listLocked(o)
	return true, nil
}

// listLocked notes that o may have something for the writer.
func (l *link) listLocked(o *outbound) {
	if o.listed || l.mu.err != nil {
		return
	}
	if o.open == nil && !o.done && (!o.granted || len(o.queue) == 0) {
		return
	}
	o.listed = true
	l.mu.dirty = append(l.mu.dirty, o)
	l.mu.wake.Signal()
}

// run is the link's life. It returns when the connection is closed.
func (l *link) run(ctx context.Context) {
	err := l.connected(ctx)
	if ctx.Err() != nil {
		err = ErrEndpointClosed
	}
	l.e.drop(l)
	l.fail(err)
}

func (l *link) connected(ctx context.Context) error {
	c, frames, err := l.dial(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	var done sync.WaitGroup
	done.Go(func() {
		if err := l.write(c); err != nil {
			l.fail(err)
		}
		_ = c.Close() // the reader ends with it
	})
	err = l.read(frames)
	l.fail(err) // the first error is the one that counts
	_ = c.Close()
	done.Wait()
	return err
}

// dial makes the connection and greets the other side.
func (l *link) dial(ctx context.Context) (net.Conn, *frames, error) {
	ctx, cancel := context.WithTimeout(ctx, l.e.opt.HandshakeTimeout)
	defer cancel()
	c, err := l.e.opt.Dial(ctx, l.peer)
	if err != nil {
		return nil, nil, err
	}
	watch(c)
	raw := c
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	if t := l.e.opt.ClientTLS; t != nil {
		if t.ServerName == "" && !t.InsecureSkipVerify {
			t = t.Clone()
			if t.ServerName, _, err = net.SplitHostPort(l.peer); err != nil {
				_ = c.Close()
				return nil, nil, err
			}
		}
		s := tls.Client(c, t)
		if err := s.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return nil, nil, fmt.Errorf("TLS: %w", err)
		}
		c = s
	}
	name, f, err := l.e.dialog.ask(c)
	if err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	l.mu.Lock()
	l.mu.name = name
	l.mu.Unlock()
	return c, f, nil
}

// keepAlive finds out that a host is gone without a word within some seconds, where nothing
// is under way to it.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

// patience is how long a host may be silent.
func patience() time.Duration {
	return keepAlive.Idle + time.Duration(keepAlive.Count)*keepAlive.Interval
}

// watch has the system end a connection whose other side is gone. One that it cannot watch works
// too.
func watch(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	_ = t.SetKeepAliveConfig(keepAlive)
	if raw, err := t.SyscallConn(); err == nil {
		_ = unanswered(raw)
	}
}

// fail ends all senders.
func (l *link) fail(err error) {
	l.mu.Lock()
	if l.mu.err != nil {
		l.mu.Unlock()
		return
	}
	l.mu.err = err
	var notify []func()
	for _, o := range l.mu.senders {
		if f := o.endLocked(broken(o.id, l.calledLocked(), err)); f != nil {
			notify = append(notify, f)
		}
	}
	l.mu.senders, l.mu.dirty = nil, nil
	l.mu.wake.Broadcast()
	l.mu.Unlock()
	for _, f := range notify {
		f()
	}
}

func (l *link) calledLocked() string {
	if l.mu.name == "" || l.mu.name == l.peer {
		return l.peer
	}
	return fmt.Sprintf("%s (%s)", l.peer, l.mu.name)
}

// write writes what is queued, until the link fails.
func (l *link) write(c net.Conn) error {
	var w gather
	for {
		l.mu.Lock()
		for len(l.mu.dirty) == 0 && l.mu.err == nil {
			l.mu.wake.Wait()
		}
		if l.mu.err != nil {
			l.mu.Unlock()
			return nil
		}
		w.reset()
		for _, o := range l.mu.dirty {
			o.listed = false
			w.takeLocked(o)
		}
		clear(l.mu.dirty)
		l.mu.dirty = l.mu.dirty[:0]
		l.mu.Unlock()
		err := w.flush(c)
		w.release()
		if err != nil {
			return err
		}
	}
}

// takeLocked takes all that o has for the writer.
func (w *gather) takeLocked(o *outbound) {
	if o.open != nil {
		if o.done {
			delete(o.link.mu.senders, o.number) // nobody has heard of it
			return
		}
		w.small(o.open)
		o.open = nil
	}
	if o.granted {
		for _, it := range o.queue {
			w.item(o.number, it)
		}
		clear(o.queue) // the shares are the writer's now
		o.queue = o.queue[:0]
	}
	if o.done {
		w.small(appendFrame(nil, header{kind: kindDone, partition: o.number}, nil))
		delete(o.link.mu.senders, o.number)
	}
}

// read reads credit, until the connection ends.
func (l *link) read(f *frames) error {
	for {
		h, body, err := f.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("it was closed by the other side")
			}
			return err
		}
		if h.kind != kindGrant && h.kind != kindClosed && h.kind != kindBad {
			return protocol("a %s comes to a producer", h.kind)
		}
		l.mu.Lock()
		if h.partition == 0 || h.partition > l.mu.last {
			l.mu.Unlock()
			return protocol("a %s for partition %d, which was never opened", h.kind, h.partition)
		}
		var notify func()
		// One that is not there any more has been given up in the meantime.
		if o := l.mu.senders[h.partition]; o != nil {
			switch h.kind {
			case kindGrant:
				notify = o.grantLocked(h.credit)
			case kindClosed:
				notify = o.endLocked(shuffle.ErrClosed)
			case kindBad:
				notify = o.endLocked(refused(o.id, l.calledLocked(), string(body)))
			}
		}
		l.mu.Unlock()
		if notify != nil {
			notify()
		}
	}
}
