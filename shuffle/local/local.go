// Package local joins the two ends of an exchange within one process: a batch is
// handed over as the typed slice that it is.
//
// A [Gate] owns the queues of all its channels under one lock, which is taken once
// a batch by each side. Batches that were received go back to the channel they
// came from and are filled again by its producer.
//
// Invariants: those of package shuffle. A channel holds at most its credit and
// one batch more; its list of free batches holds no more bytes than that either.
package local

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/invariants"
	"github.com/weirflow/weir/shuffle"
)

// Options configure a Gate; the zero value works.
type Options struct {
	// Credit is the number of bytes that each channel may hold. Default
	// shuffle.DefaultCredit.
	Credit int
	// BatchSize is the capacity of a new batch, in records. Default
	// shuffle.DefaultBatchSize.
	BatchSize int
	// Pointers says that the records hold pointers, and that batches are cleared
	// before they are filled again.
	Pointers bool
	// Rand, where set, chooses the channel to read from next: tests explore orders
	// with it. Default: in the order in which channels got something.
	Rand *rand.Rand
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	if o.Credit <= 0 {
		o.Credit = shuffle.DefaultCredit
	}
	if o.BatchSize <= 0 {
		o.BatchSize = shuffle.DefaultBatchSize
	}
}

// Gate is the consumer's end; it implements shuffle.Gate.
type Gate[T any] struct {
	opt      Options
	channels []*channel[T]
	receiver shuffle.Receiver[T]
	// taken is the batch that the receiver was given last. It goes back to its
	// channel with the next call, under the lock that is taken then anyhow.
	taken     *flow.Batch[T]
	takenFrom *channel[T]
	takenSize int
	// readable is the number of channels in ready, for a look without the lock.
	readable atomic.Int32

	mu struct {
		sync.Mutex
		ready  []int32 // channels that have something and are not blocked, each once
		notify func()
		closed bool
	}
}

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
}

type item[T any] struct {
	batch   *flow.Batch[T] // nil for a control record
	bytes   int
	control flow.Control
}

// NewGate makes a gate with n channels, and returns with it the senders that feed
// them.
func NewGate[T any](n int, opt Options) (*Gate[T], []shuffle.Sender[T]) {
	opt.EnsureDefaults()
	g := &Gate[T]{opt: opt}
	senders := make([]shuffle.Sender[T], n)
	for i := range n {
		c := &channel[T]{gate: g, index: i}
		c.credit = sync.NewCond(&g.mu.Mutex)
		g.channels = append(g.channels, c)
		senders[i] = c
	}
	return g, senders
}

// Attach sets the receiver.
func (g *Gate[T]) Attach(receiver any) error {
	r, ok := receiver.(shuffle.Receiver[T])
	if !ok {
		return fmt.Errorf("shuffle/local: gate of %T cannot feed %T", *new(T), receiver)
	}
	g.receiver = r
	return nil
}

// Channels is the number of channels.
func (g *Gate[T]) Channels() int { return len(g.channels) }

// Ready reports whether Next would find something.
func (g *Gate[T]) Ready() bool { return g.readable.Load() > 0 }

// Notify sets what is called when an empty gate gets something.
func (g *Gate[T]) Notify(f func()) {
	g.mu.Lock()
	g.mu.notify = f
	g.mu.Unlock()
}

// Next hands the next batch to the receiver, or returns the next control record.
func (g *Gate[T]) Next() (shuffle.Event, bool, error) {
	g.mu.Lock()
	starved := g.giveBackLocked()
	c := g.nextLocked()
	if c == nil {
		g.mu.Unlock()
		if starved != nil {
			starved()
		}
		return shuffle.Event{}, false, nil
	}
	it := c.queue.pop()
	if c.queue.len() > 0 {
		g.listLocked(c)
	}
	if it.batch != nil {
		g.taken, g.takenFrom, g.takenSize = it.batch, c, it.bytes
	}
	g.mu.Unlock()
	if starved != nil {
		starved()
	}
	e := shuffle.Event{Channel: c.index, Control: it.control}
	if it.batch == nil {
		return e, true, nil
	}
	e.Records = len(it.batch.Values)
	if err := g.receiver.Receive(it.batch); err != nil {
		// The batch stays as it is: the message about the failure shows its record.
		return e, true, err
	}
	if g.opt.Pointers {
		it.batch.Reset()
	} else {
		it.batch.Truncate()
	}
	mangle(it.batch)
	return e, true, nil
}

// mangle makes whoever kept a lent batch read what nobody wrote.
func mangle[T any](b *flow.Batch[T]) {
	if invariants.Enabled {
		var none T
		invariants.Values(b.Values, none)
		invariants.Values(b.Times, poison)
		invariants.Values(b.Hashes, poison)
	}
}

// poison is a time and a hash that no record has.
const poison = 0x0ddba11_0ddba11

// nextLocked takes the channel to read from off the ready list.
func (g *Gate[T]) nextLocked() *channel[T] {
	n := len(g.mu.ready)
	if n == 0 {
		return nil
	}
	at := 0
	if g.opt.Rand != nil {
		at = g.opt.Rand.IntN(n)
	}
	c := g.channels[g.mu.ready[at]]
	copy(g.mu.ready[at:], g.mu.ready[at+1:])
	g.mu.ready = g.mu.ready[:n-1]
	g.readable.Add(-1)
	c.listed = false
	return c
}

// giveBackLocked returns the memory and the credit of the batch taken last. It
// returns what must be called, without the lock, where the producer waits for it.
func (g *Gate[T]) giveBackLocked() (notify func()) {
	if g.taken == nil {
		return nil
	}
	c := g.takenFrom
	if len(c.free)*g.takenSize <= g.opt.Credit {
		c.free = append(c.free, g.taken)
	}
	g.taken, g.takenFrom = nil, nil
	before := c.used.Load()
	after := before - int64(g.takenSize)
	c.used.Store(after)
	limit := int64(g.opt.Credit)
	if before >= limit && after < limit {
		c.credit.Broadcast()
		if c.starved {
			c.starved = false
			notify = c.notify
		}
	}
	return notify
}

// listLocked notes that c has something to read.
func (g *Gate[T]) listLocked(c *channel[T]) (wasEmpty bool) {
	if c.listed || c.blocked {
		return false
	}
	c.listed = true
	g.mu.ready = append(g.mu.ready, int32(c.index))
	return g.readable.Add(1) == 1
}

// Block stops and resumes taking from a channel.
func (g *Gate[T]) Block(i int, blocked bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.channels[i]
	c.blocked = blocked
	switch {
	case blocked && c.listed:
		for at, ci := range g.mu.ready {
			if int(ci) == i {
				g.mu.ready = append(g.mu.ready[:at], g.mu.ready[at+1:]...)
				break
			}
		}
		c.listed = false
		g.readable.Add(-1)
	case !blocked && c.queue.len() > 0:
		g.listLocked(c)
	}
}

// Queued is the number of bytes that wait.
func (g *Gate[T]) Queued() int {
	n := 0
	for _, c := range g.channels {
		n += int(c.used.Load())
	}
	return n
}

// Close makes senders fail and drops what is queued.
func (g *Gate[T]) Close() {
	g.mu.Lock()
	g.mu.closed = true
	var notify []func()
	for _, c := range g.channels {
		c.queue = queue[T]{}
		c.free = nil
		c.listed, c.starved = false, false
		c.used.Store(0)
		c.credit.Broadcast()
		if c.notify != nil {
			notify = append(notify, c.notify)
		}
	}
	g.mu.ready = nil
	g.readable.Store(0)
	g.taken, g.takenFrom = nil, nil
	g.mu.Unlock()
	for _, f := range notify {
		f()
	}
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
// gate was empty.
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

// queue is a ring that grows; its length is bounded by the credit.
type queue[T any] struct {
	ring  []item[T]
	head  int
	count int
}

func (q *queue[T]) len() int { return q.count }

func (q *queue[T]) push(it item[T]) {
	if q.count == len(q.ring) {
		ring := make([]item[T], max(8, 2*len(q.ring)))
		for i := range q.count {
			ring[i] = q.ring[(q.head+i)%len(q.ring)]
		}
		q.ring, q.head = ring, 0
	}
	q.ring[(q.head+q.count)%len(q.ring)] = it
	q.count++
}

func (q *queue[T]) pop() item[T] {
	it := q.ring[q.head]
	q.ring[q.head] = item[T]{}
	q.head = (q.head + 1) % len(q.ring)
	q.count--
	return it
}

// lastIs reports whether the last item is a control record of the kind.
func (q *queue[T]) lastIs(k flow.ControlKind) bool {
	if q.count == 0 {
		return false
	}
	it := &q.ring[(q.head+q.count-1)%len(q.ring)]
	return it.batch == nil && it.control.Kind == k
}

// dropLast takes off the last item, which is a control record.
func (q *queue[T]) dropLast() item[T] {
	q.count--
	return q.ring[(q.head+q.count)%len(q.ring)]
}
