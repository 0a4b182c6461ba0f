package shuffletest

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
)

// Record is what the suite sends.
type Record struct {
	From, Seq int
	Text      string
}

// Options are those of an exchange.
type Options struct {
	Credit    int        // bytes for each channel
	BatchSize int        // records
	Hashes    bool       // counts have sums
	Rand      *rand.Rand // chooses the channel to read; nil leaves it to the gate
}

// Transport makes the ends of an exchange with n producers, and frees what they
// need with t.Cleanup.
type Transport func(t testing.TB, n int, o Options) (shuffle.Gate, []shuffle.Sender[Record])

// patience is how long the suite waits for what must come.
const patience = 30 * time.Second

// consumer reads a gate as a task does: until there is nothing, and then not
// before it was notified.
type consumer struct {
	testing.TB
	shuffle.Gate
	ctx  context.Context
	wake chan struct{}
	// batch handles what is received; the batch is lent.
	batch func(channel int, b *flow.Batch[Record]) error
	now   *flow.Batch[Record]
}

func newConsumer(t testing.TB, g shuffle.Gate) *consumer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	c := &consumer{TB: t, Gate: g, ctx: ctx, wake: make(chan struct{}, 1)}
	if err := g.Attach(c); err != nil {
		t.Fatal(err)
	}
	g.Notify(func() {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	})
	return c
}

// Receive is called by the gate.
func (c *consumer) Receive(b *flow.Batch[Record]) error { c.now = b; return c.handle(-1) }

// handle is apart since the channel is told only by the event that follows: what
// has to know it looks into the records.
func (c *consumer) handle(channel int) error {
	if c.batch == nil {
		return nil
	}
	return c.batch(channel, c.now)
}

// next is the next event; it waits for one. ok is false when the context ended.
func (c *consumer) next() (e shuffle.Event, ok bool) {
	for {
		e, ok, err := c.Next()
		if err != nil {
			c.Errorf("Next: %v", err)
			return e, false
		}
		if ok {
			return e, true
		}
		if c.Ready() {
			continue
		}
		select {
		case <-c.wake:
		case <-c.ctx.Done():
			return e, false
		}
	}
}

// must is the next event, which has to come.
func (c *consumer) must() shuffle.Event {
	c.Helper()
	e, ok := c.next()
	if !ok {
		c.Fatal("nothing came")
	}
	return e
}

// drain takes what there is now, and gives back its memory and credit.
func (c *consumer) drain() (events []shuffle.Event) {
	c.Helper()
	for {
		e, ok, err := c.Next()
		if err != nil {
			c.Fatal(err)
		}
		if !ok {
			return events
		}
		events = append(events, e)
	}
}

// fill makes a batch of n records that begins with number seq.
func fill(s shuffle.Sender[Record], from, seq, n int) *flow.Batch[Record] {
	b := s.Buffer()
	for i := range n {
		b.Append(Record{From: from, Seq: seq + i, Text: "record"}, flow.Time(seq+i))
	}
	return b
}

// send sends a batch that must not block for ever.
func send(t testing.TB, s shuffle.Sender[Record], b *flow.Batch[Record], bytes int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Send(ctx, b, bytes); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never: %s", what)
		}
	}
}
