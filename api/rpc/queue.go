package rpc

import (
	"fmt"
	"sync"
)

// queue is what waits to be sent to a peer. put never blocks; one goroutine takes.
type queue struct {
	most int // bytes
	wake chan struct{}
	mu   struct {
		sync.Mutex
		items [][]byte
		bytes int
	}
}

func newQueue(most int) *queue { return &queue{most: most, wake: make(chan struct{}, 1)} }

// put adds a message, which the queue owns from then on. A message larger than the
// bound fits while nothing else waits: that its size is allowed was looked at before.
func (q *queue) put(b []byte) error {
	q.mu.Lock()
	if n := q.mu.bytes; n > 0 && n+len(b) > q.most {
		q.mu.Unlock()
		return fmt.Errorf("%w: %d bytes wait to be sent, and %d more are too many", ErrBehind, n, len(b))
	}
	q.mu.items = append(q.mu.items, b)
	q.mu.bytes += len(b)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// take waits for messages and takes all; nil where done was closed.
func (q *queue) take(done <-chan struct{}) [][]byte {
	for {
		q.mu.Lock()
		items := q.mu.items
		q.mu.items = nil
		q.mu.Unlock()
		if len(items) > 0 {
			return items
		}
		select {
		case <-q.wake:
		case <-done:
			return nil
		}
	}
}

// sent makes room again.
func (q *queue) sent(n int) {
	q.mu.Lock()
	q.mu.bytes -= n
	q.mu.Unlock()
}
