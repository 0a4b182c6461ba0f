package sim

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// window is how many bytes a connection holds in one direction: who writes more waits.
const window = 256 << 10

// address is of a listener or of the end of a connection.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// half is one direction of a connection.
type half struct {
	net  *Network
	from *Process
	to   *Process
	data bool // its class

	mu struct {
		sync.Mutex
		queue   []segment
		bytes   int
		last    time.Time // nothing arrives before what was sent before it
		ended   bool      // the writer has closed it: the end of the stream, behind the queue
		left    bool      // the reader has closed it
		broken  error
		readBy  time.Time
		writeBy time.Time
		changed chan struct{} // closed and replaced with each change
	}
}

// segment is what one write has sent.
type segment struct {
	data []byte
	at   time.Time // arrives
}

func newHalf(n *Network, from, to *Process, data bool) *half {
	h := &half{net: n, from: from, to: to, data: data}
	h.mu.changed = make(chan struct{})
	return h
}

func (h *half) tellLocked() {
	close(h.mu.changed)
	h.mu.changed = make(chan struct{})
}

// breakOff ends it for both sides; what is under way is lost.
func (h *half) breakOff(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.broken == nil {
		h.mu.broken = err
		h.mu.queue, h.mu.bytes = nil, 0
		h.tellLocked()
	}
}

// await waits for one of two changes, or until the earlier of the times that are set.
func await(a, b <-chan struct{}, times ...time.Time) {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	var due <-chan time.Time
	if !first.IsZero() {
		timer := time.NewTimer(time.Until(first))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-a:
	case <-b:
	case <-due:
	}
}

func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (h *half) read(p []byte) (int, error) {
	for {
		now := h.net.look(h.from, h.to, h.data)
		h.mu.Lock()
		switch {
		case h.mu.left || now.toDead:
			h.mu.Unlock()
			return 0, net.ErrClosed
		case h.mu.broken != nil:
			defer h.mu.Unlock()
			return 0, h.mu.broken
		case past(h.mu.readBy):
			h.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		}
		var next time.Time
		if now.open && len(h.mu.queue) > 0 {
			s := &h.mu.queue[0]
			if past(s.at) {
				n := copy(p, s.data)
				if s.data = s.data[n:]; len(s.data) == 0 {
					h.mu.queue = h.mu.queue[1:]
				}
				h.mu.bytes -= n
				h.tellLocked()
				h.mu.Unlock()
				return n, nil
			}
			next = s.at
		} else if now.open && h.mu.ended {
			if past(h.mu.last) {
				h.mu.Unlock()
				return 0, io.EOF
			}
			next = h.mu.last
		}
		changed, by := h.mu.changed, h.mu.readBy
		h.mu.Unlock()
		await(changed, now.turn, next, by)
	}
}

func (h *half) write(p []byte) (done int, err error) {
	for len(p) > 0 {
		now := h.net.look(h.from, h.to, h.data)
		h.mu.Lock()
		switch {
		case h.mu.ended || now.fromDead:
			h.mu.Unlock()
			return done, net.ErrClosed
		case h.mu.broken != nil:
			defer h.mu.Unlock()
			return done, h.mu.broken
		case h.mu.left && now.open:
			h.mu.Unlock()
			return done, syscall.EPIPE
		case past(h.mu.writeBy):
			h.mu.Unlock()
			return done, os.ErrDeadlineExceeded
		}
		if n := min(len(p), window-h.mu.bytes); n > 0 && !now.fromPaused {
			at := time.Now().Add(now.delay)
			if at.Before(h.mu.last) {
				at = h.mu.last
			}
			h.mu.last = at
			h.mu.queue = append(h.mu.queue, segment{append([]byte(nil), p[:n]...), at})
			h.mu.bytes += n
			h.tellLocked()
			h.mu.Unlock()
			done, p = done+n, p[n:]
			continue
		}
		changed, by := h.mu.changed, h.mu.writeBy
		h.mu.Unlock()
		await(changed, now.turn, by)
	}
	return done, nil
}

// conn is one end of a connection.
type conn struct {
	in, out       *half
	local, remote address
	process       *Process
}

func (c *conn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *conn) LocalAddr() net.Addr         { return c.local }
func (c *conn) RemoteAddr() net.Addr        { return c.remote }

// Close ends both directions for this side. The other reads what was sent.
func (c *conn) Close() error {
	now := c.out.net.look(c.out.from, c.out.to, c.out.data)
	c.out.mu.Lock()
	c.out.mu.ended = true
	if at := time.Now().Add(now.delay); at.After(c.out.mu.last) {
		c.out.mu.last = at
	}
	c.out.tellLocked()
	c.out.mu.Unlock()
	c.in.mu.Lock()
	c.in.mu.left = true
	c.in.mu.queue, c.in.mu.bytes = nil, 0
	c.in.tellLocked()
	c.in.mu.Unlock()
	c.process.net.forget(c)
	return nil
}

// reset breaks the connection for both sides, at once.
func (c *conn) reset(err error) {
	c.in.breakOff(err)
	c.out.breakOff(err)
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.mu.readBy = t
	c.in.tellLocked()
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.mu.writeBy = t
	c.out.tellLocked()
	return nil
}
