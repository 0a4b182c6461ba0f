package scheduler

import "sync"

// inbox holds what is to run on a loop's goroutine. post may be called on any.
type inbox struct {
	mu    sync.Mutex
	queue []func()
	wake  chan struct{} // something was posted
}

func newInbox() inbox { return inbox{wake: make(chan struct{}, 1)} }

func (i *inbox) post(f func()) {
	i.mu.Lock()
	i.queue = append(i.queue, f)
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// take returns what was posted since the last call, in order.
func (i *inbox) take() []func() {
	i.mu.Lock()
	defer i.mu.Unlock()
	q := i.queue
	i.queue = nil
	return q
}
