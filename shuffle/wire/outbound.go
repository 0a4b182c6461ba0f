package wire

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
)

// outItem waits for the writer: a batch, or a control record.
type outItem struct {
	batch   *encoded
	pushed  bool
	control flow.Control
}

// outbound is the untyped part of a Sender. Its fields are guarded by the link's lock, but
// for credit.
type outbound struct {
	link   *link
	id     PartitionID
	number uint32
	open   []byte // the frame that opens it; nil when it was taken by the writer
	// credit is what is left; there is some while it is above 0. It is changed under the
	// lock and read without it. What has ended has it for good, for nobody must wait.
	credit atomic.Int64

	queue   []outItem
	listed  bool  // is in link.mu.dirty
	granted bool  // the consumer has attached it
	ended   error // why nothing is sent any more
	done    bool  // Close was called
	final   bool  // the final barrier was sent: what happens later does not matter
	starved bool  // the producer found no credit and wants to be notified
	notify  func()
	wait    *sync.Cond
}

// unbounded is the credit of what has ended.
const unbounded = 1 << 40

// mostCredit bounds what a consumer can grant.
const mostCredit = 1 << 31

// acquire waits until there is credit, until ctx ends, or the partition does.
func (o *outbound) acquire(ctx context.Context) error {
	if o.credit.Load() > 0 {
		return nil
	}
	l := o.link
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		o.wait.Broadcast()
		l.mu.Unlock()
	})
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for o.ended == nil && o.credit.Load() <= 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		o.wait.Wait()
	}
	return o.ended
}

// put queues a batch, of which it takes a share, and its charge off the credit.
func (o *outbound) put(e *encoded, pushed bool) error {
	l := o.link
	l.mu.Lock()
	if err := o.ended; err != nil {
		l.mu.Unlock()
		e.Release()
		return err
	}
	// The consumer counts as we do: what goes beyond its credit has to say so.
	pushed = pushed && o.credit.Load() <= 0
	o.credit.Add(-int64(e.charge))
	o.queue = append(o.queue, outItem{batch: e, pushed: pushed})
	l.listLocked(o)
	l.mu.Unlock()
	return nil
}

// Control queues a control record.
func (o *outbound) Control(c flow.Control) {
	l := o.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.ended != nil {
		return
	}
	// Merged as in a local channel, and for the same reason: the number of those that
	// wait is bounded by what is between them.
	switch c.Kind {
	case flow.ControlIdle:
		if o.lastIsLocked(flow.ControlIdle) {
			return
		}
	case flow.ControlWatermark:
		if o.lastIsLocked(flow.ControlIdle) {
			o.queue = o.queue[:len(o.queue)-1]
		}
		if o.lastIsLocked(flow.ControlWatermark) {
			last := &o.queue[len(o.queue)-1].control
			last.Time = max(last.Time, c.Time)
			l.listLocked(o)
			return
		}
	case flow.ControlBarrier:
		o.final = o.final || c.Barrier.Kind == flow.BarrierFinal
	}
	o.queue = append(o.queue, outItem{control: c})
	l.listLocked(o)
}

func (o *outbound) lastIsLocked(k flow.ControlKind) bool {
	n := len(o.queue)
	return n > 0 && o.queue[n-1].batch == nil && o.queue[n-1].control.Kind == k
}

// Available reports whether there is credit. Where there is none, the producer is notified
// when it comes.
func (o *outbound) Available() bool {
	if o.credit.Load() > 0 {
		return true
	}
	o.link.mu.Lock()
	defer o.link.mu.Unlock()
	if o.credit.Load() > 0 {
		return true
	}
	o.starved = true
	return false
}

// Notify sets what is called when credit comes, and when the partition ends.
func (o *outbound) Notify(f func()) {
	o.link.mu.Lock()
	o.notify = f
	o.link.mu.Unlock()
}

// Fault is why nothing can be sent, other than that the consumer is gone.
func (o *outbound) Fault() error {
	if o.credit.Load() < unbounded/2 {
		return nil
	}
	o.link.mu.Lock()
	defer o.link.mu.Unlock()
	if o.final || o.ended == shuffle.ErrClosed { //nolint:errorlint // it is never wrapped here
		return nil
	}
	return o.ended
}

// grantLocked adds credit, and returns what must be called without the lock.
func (o *outbound) grantLocked(n uint32) (notify func()) {
	if o.ended != nil {
		return nil
	}
	before := o.credit.Load()
	after := min(before+int64(n), mostCredit)
	o.credit.Store(after)
	if !o.granted {
		o.granted = true
		o.link.listLocked(o)
	}
	if before > 0 || after <= 0 {
		return nil
	}
	o.wait.Broadcast()
	if !o.starved {
		return nil
	}
	o.starved = false
	return o.notify
}

// endLocked ends the partition: nothing is sent any more. It returns what must be called
// without the lock.
func (o *outbound) endLocked(err error) (notify func()) {
	if o.ended != nil {
		return nil
	}
	o.ended = err
	o.dropLocked()
	o.credit.Store(unbounded)
	o.wait.Broadcast()
	return o.notify
}

// dropLocked forgets what is queued.
func (o *outbound) dropLocked() {
	for _, it := range o.queue {
		if it.batch != nil {
			it.batch.Release()
		}
	}
	clear(o.queue)
	o.queue = o.queue[:0]
}

// Close gives the partition up, once what was sent is written. It may be called on any
// goroutine, after the last call of others.
func (o *outbound) Close() {
	l := o.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.done {
		return
	}
	o.done, o.notify = true, nil
	if !o.granted || o.ended != nil {
		o.dropLocked() // there is nobody who takes it
	}
	if o.ended == nil {
		o.ended = shuffle.ErrClosed
	}
	o.credit.Store(unbounded)
	o.wait.Broadcast()
	l.listLocked(o)
}
