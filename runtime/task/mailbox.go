package task

import (
	"slices"
	"sync"
	"sync/atomic"
)

// mailbox is a queue of functions to run on the task's goroutine.
type mailbox struct {
	count atomic.Int32
	mu    struct {
		sync.Mutex
		queue  []func() error
		next   int // queue[:next] is taken
		closed bool
	}
}

func (m *mailbox) pending() bool { return m.count.Load() > 0 }

func (m *mailbox) put(f func() error) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return false
	}
	if m.mu.next > 64 && 2*m.mu.next > len(m.mu.queue) {
		m.mu.queue = slices.Delete(m.mu.queue, 0, m.mu.next)
		m.mu.next = 0
	}
	m.mu.queue = append(m.mu.queue, f)
	m.count.Store(int32(len(m.mu.queue) - m.mu.next))
	return true
}

// take takes out the oldest, nil if there is none.
func (m *mailbox) take() func() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.next == len(m.mu.queue) {
		return nil
	}
	f := m.mu.queue[m.mu.next]
	m.mu.queue[m.mu.next] = nil
	if m.mu.next++; m.mu.next == len(m.mu.queue) {
		m.mu.queue, m.mu.next = m.mu.queue[:0], 0
	}
	m.count.Store(int32(len(m.mu.queue) - m.mu.next))
	return f
}

func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.closed = true
	m.mu.queue, m.mu.next = nil, 0
	m.count.Store(0)
}
