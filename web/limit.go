package web

import (
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// meters count requests for each token, or each address of those without one.
type meters struct {
	rate  rate.Limit
	burst int
	mu    struct {
		sync.Mutex
		of map[string]*meter
	}
}

type meter struct {
	*rate.Limiter
	used time.Time
}

// maxMeters bounds the addresses that are remembered. When there are more, those that have been
// quiet the longest are forgotten: they start with a full burst again.
const maxMeters = 4096

func newMeters(perSecond float64, burst int) *meters {
	m := &meters{rate: rate.Limit(perSecond), burst: burst}
	m.mu.of = map[string]*meter{}
	return m
}

// take counts one request; false if that is too many.
func (m *meters) take(key string, now time.Time) bool {
	return m.meter(key, now).AllowN(now, 1)
}

// spent reports whether one more would be too many, and counts nothing.
func (m *meters) spent(key string, now time.Time) bool {
	return m.meter(key, now).TokensAt(now) < 1
}

func (m *meters) meter(key string, now time.Time) *meter {
	m.mu.Lock()
	defer m.mu.Unlock()
	one, ok := m.mu.of[key]
	if !ok {
		if len(m.mu.of) >= maxMeters {
			m.forgetLocked()
		}
		one = &meter{Limiter: rate.NewLimiter(m.rate, m.burst)}
		m.mu.of[key] = one
	}
	one.used = now
	return one
}

// forgetLocked removes the older half, roughly: map order picks, the mean decides.
func (m *meters) forgetLocked() {
	var oldest, newest time.Time
	for _, one := range m.mu.of {
		if oldest.IsZero() || one.used.Before(oldest) {
			oldest = one.used
		}
		if one.used.After(newest) {
			newest = one.used
		}
	}
	middle := oldest.Add(newest.Sub(oldest) / 2)
	for key, one := range m.mu.of {
		if !one.used.After(middle) {
			delete(m.mu.of, key)
		}
	}
}

// places is a counted number of things that may be going on at one time.
type places chan struct{}

func (p places) take() bool {
	select {
	case p <- struct{}{}:
		return true
	default:
		return false
	}
}

func (p places) free() { <-p }

// boundedListener takes no more connections than it has places.
type boundedListener struct {
	net.Listener
	places places
	closed chan struct{}
	once   sync.Once
}

func newBoundedListener(l net.Listener, n int) *boundedListener {
	return &boundedListener{Listener: l, places: make(places, n), closed: make(chan struct{})}
}

func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		l.places.free()
		return nil, err
	}
	return &boundedConn{Conn: c, free: l.places.free}, nil
}

func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type boundedConn struct {
	net.Conn
	once sync.Once
	free func()
}

func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.free)
	return err
}
