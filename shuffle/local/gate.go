package local

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

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
	// Hashes says that Counts have sums.
	Hashes bool
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
	// counts is what was handed over, by channel. It belongs to the consumer.
	counts []shuffle.Count
	summer *shuffle.Summer[T]     // nil where only records are counted
	err    error                  // why there is no summer though there should be
	logs   []*shuffle.Recorder[T] // by channel, nil where nothing is logged
	// arrived is the number of barriers in mu.arrived.
	arrived atomic.Int32
	// readable is the number of channels in ready, for a look without the lock.
	readable atomic.Int32

	mu struct {
		sync.Mutex
		ready  []int32 // channels that have something and are not blocked, each once
		notify func()
		// arrived are barriers that are queued and have not been told of.
		arrived []shuffle.Arrival
		err     error // why a channel will bring nothing more
		closed  bool
	}
}

// NewGate makes a gate with n channels, and returns with it the senders that feed
// them.
func NewGate[T any](n int, opt Options) (*Gate[T], []shuffle.Sender[T]) {
	opt.EnsureDefaults()
	g := &Gate[T]{opt: opt, counts: make([]shuffle.Count, n), logs: make([]*shuffle.Recorder[T], n)}
	if opt.Hashes {
		g.summer, g.err = shuffle.NewSummer[T]()
	}
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
	if g.err != nil {
		return g.err
	}
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
	if c == nil || g.mu.err != nil {
		err := g.mu.err
		g.mu.Unlock()
		if starved != nil {
			starved()
		}
		return shuffle.Event{}, false, err
	}
	it := c.queue.pop()
	if c.queue.len() > 0 {
		g.listLocked(c)
	}
	switch {
	case it.batch != nil:
		g.taken, g.takenFrom, g.takenSize = it.batch, c, it.bytes
	case it.control.Kind == flow.ControlBarrier:
		g.readLocked(c.index, it.control.Barrier)
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
	if err := g.count(c.index, it.batch); err != nil {
		return e, true, err
	}
	if log := g.logs[c.index]; log != nil {
		log.Add(it.batch)
	}
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

// count enters a batch that is handed over into the books.
func (g *Gate[T]) count(channel int, b *flow.Batch[T]) (err error) {
	n := shuffle.Count{Records: int64(len(b.Values))}
	if g.summer != nil {
		if n, err = g.summer.Batch(b); err != nil {
			return err
		}
	}
	g.counts[channel].Add(n)
	return nil
}

// Counts appends what was handed over so far.
func (g *Gate[T]) Counts(dst []shuffle.Count) []shuffle.Count { return append(dst, g.counts...) }

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
	notify = c.taken
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
	g.mu.err = nil
	var notify []func()
	for _, c := range g.channels {
		if c.gone != nil {
			notify = append(notify, c.gone)
			c.gone = nil
		}
		c.queue = queue[T]{}
		c.free = nil
		c.listed, c.starved = false, false
		c.used.Store(0)
		c.credit.Broadcast()
		if c.notify != nil {
			notify = append(notify, c.notify)
		}
	}
	g.mu.ready, g.mu.arrived = nil, nil
	g.readable.Store(0)
	g.arrived.Store(0)
	g.taken, g.takenFrom = nil, nil
	g.mu.Unlock()
	for _, f := range notify {
		f()
	}
}
