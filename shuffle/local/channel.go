package local

import (
	"context"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
)

// channel is one partition; it implements shuffle.Sender.
type channel[T any] struct {
	gate  *Gate[T]
	index int
	// used is the bytes queued. It is changed under the gate's lock and read
	// without it.
	used atomic.Int64

	// guarded by gate.mu:
	queue   queue[T]
	free    []*flow.Batch[T]
	listed  bool // is in gate.mu.ready
	blocked bool
	starved bool // the producer found no credit and wants to be notified
	notify  func()
	credit  *sync.Cond
	// taken and gone are called without the lock where a transport feeds the channel:
	// see shuffle.Inlet.
	taken, gone func()
}

type item[T any] struct {
	batch   *flow.Batch[T] // nil for a control record
	bytes   int
	control flow.Control
}

// Buffer returns an empty batch.
func (c *channel[T]) Buffer() *flow.Batch[T] {
	g := c.gate
	g.mu.Lock()
	var b *flow.Batch[T]
	if n := len(c.free); n > 0 {
		b, c.free[n-1] = c.free[n-1], nil
		c.free = c.free[:n-1]
	}
	g.mu.Unlock()
	if b == nil {
		b = &flow.Batch[T]{Values: make([]T, 0, g.opt.BatchSize)}
	}
	return b
}

// Send queues the batch, when there is credit.
func (c *channel[T]) Send(ctx context.Context, b *flow.Batch[T], bytes int) error {
	g := c.gate
	bytes = max(bytes, memory(b), 1)
	g.mu.Lock()
	if len(b.Values) == 0 {
		c.free = append(c.free, b)
		g.mu.Unlock()
		return nil
	}
	if !g.mu.closed && c.used.Load() >= int64(g.opt.Credit) {
		if err := c.waitLocked(ctx); err != nil {
			g.mu.Unlock()
			return err
		}
	}
	return c.put(b, bytes)
}

// Push queues the batch, credit or not.
func (c *channel[T]) Push(b *flow.Batch[T], bytes int) error {
	bytes = max(bytes, memory(b), 1)
	c.gate.mu.Lock()
	if len(b.Values) == 0 {
		c.free = append(c.free, b)
		c.gate.mu.Unlock()
		return nil
	}
	return c.put(b, bytes)
}

// put queues the batch and unlocks the gate.
func (c *channel[T]) put(b *flow.Batch[T], bytes int) error {
	g := c.gate
	if g.mu.closed {
		g.mu.Unlock()
		return shuffle.ErrClosed
	}
	c.used.Add(int64(bytes))
	notify := c.pushLocked(item[T]{batch: b, bytes: bytes})
	g.mu.Unlock()
	if notify != nil {
		notify()
	}
	return nil
}

// memory is what a batch takes without what its values point to. A batch that was
// sent before it was full takes as much as a full one.
func memory[T any](b *flow.Batch[T]) int {
	var v T
	return cap(b.Values)*int(unsafe.Sizeof(v)) + 8*(cap(b.Times)+cap(b.Hashes))
}

// waitLocked waits for credit, for the end of ctx, or for Close.
func (c *channel[T]) waitLocked(ctx context.Context) error {
	g := c.gate
	stop := context.AfterFunc(ctx, func() {
		g.mu.Lock()
		c.credit.Broadcast()
		g.mu.Unlock()
	})
	defer stop()
	for !g.mu.closed && c.used.Load() >= int64(g.opt.Credit) {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.credit.Wait()
	}
	return nil
}

// Control queues a control record.
func (c *channel[T]) Control(ctl flow.Control) {
	g := c.gate
	g.mu.Lock()
	var notify func()
	if !g.mu.closed {
		notify = c.pushLocked(item[T]{control: ctl})
	}
	g.mu.Unlock()
	if notify != nil {
		notify()
	}
}

// pushLocked queues it and returns what must be called, without the lock, when the
// gate was empty or it is a barrier.
func (c *channel[T]) pushLocked(it item[T]) func() {
	// Between two batches or barriers no more than one watermark and one idleness
	// wait: so the number of control records is bounded by what bounds those. What
	// a newer watermark makes void is what a faster reader would have read before it.
	if it.batch == nil {
		switch it.control.Kind {
		case flow.ControlIdle:
			if c.queue.lastIs(flow.ControlIdle) {
				return nil
			}
		case flow.ControlWatermark:
			if c.queue.lastIs(flow.ControlIdle) {
				c.queue.dropLast()
			}
			if c.queue.lastIs(flow.ControlWatermark) {
				it.control.Time = max(it.control.Time, c.queue.dropLast().control.Time)
			}
		}
	}
	c.queue.push(it)
	if it.batch == nil && it.control.Kind == flow.ControlBarrier {
		c.gate.listLocked(c)
		c.gate.arrivedLocked(c.index, it.control.Barrier)
		return c.gate.mu.notify
	}
	if c.gate.listLocked(c) {
		return c.gate.mu.notify
	}
	return nil
}

// Available reports whether there is credit. Where there is none, the producer is
// notified when it comes back.
func (c *channel[T]) Available() bool {
	if c.used.Load() < int64(c.gate.opt.Credit) {
		return true
	}
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.closed || c.used.Load() < int64(g.opt.Credit) {
		return true
	}
	c.starved = true
	return false
}

// Notify sets what is called when credit comes back.
func (c *channel[T]) Notify(f func()) {
	c.gate.mu.Lock()
	c.notify = f
	c.gate.mu.Unlock()
}

// Watch sets what is called when a batch's bytes are free again, and when the gate is
// closed.
func (c *channel[T]) Watch(taken, closed func()) {
	c.gate.mu.Lock()
	c.taken, c.gone = taken, closed
	c.gate.mu.Unlock()
}

// Fail makes the gate's Next return err, the first one that is told.
func (c *channel[T]) Fail(err error) {
	g := c.gate
	g.mu.Lock()
	if g.mu.closed || g.mu.err != nil {
		g.mu.Unlock()
		return
	}
	g.mu.err = err
	g.readable.Add(1) // for good: Next has something to tell
	notify := g.mu.notify
	g.mu.Unlock()
	if notify != nil {
		notify()
	}
}
