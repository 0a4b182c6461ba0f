package shuffletest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/invariants"
	"github.com/weirflow/weir/shuffle"
)

// Run runs the suite.
func Run(t *testing.T, make Transport) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Transport)
	}{
		{"order", order},
		{"everything arrives once", everything},
		{"credit bounds a channel", credit},
		{"one larger than the credit", larger},
		{"a blocked sender ends with its context", blockedContext},
		{"a blocked sender ends with the gate", blockedClose},
		{"a closed gate refuses", closed},
		{"credit comes back with a word", notified},
		{"a blocked channel waits alone", blockedChannel},
		{"watermarks may be merged", watermarks},
		{"control needs no credit", controlNeedsNoCredit},
		{"batches come back", recycled},
		{"an empty batch is none", empty},
		{"a push goes beyond the credit", pushed},
		{"counts", counts},
		{"barriers are told of", barriersTold},
		{"an epoch overtakes", overtakes},
		{"replay", replayed},
		{"everything overtaken is kept once", overtaken},
		{"the receiver's error", receiverError},
		{"a receiver of another type", otherType},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, make) })
	}
}

func order(t *testing.T, make Transport) {
	g, s := make(t, 1, Options{Credit: 1 << 20, BatchSize: 4})
	c := newConsumer(t, g)
	var got []string
	c.batch = func(_ int, b *flow.Batch[Record]) error {
		for i, r := range b.Values {
			got = append(got, fmt.Sprintf("%d@%d", r.Seq, b.Times[i]))
		}
		return nil
	}
	send(t, s[0], fill(s[0], 0, 0, 2), 100)
	s[0].Control(flow.Watermark(1))
	send(t, s[0], fill(s[0], 0, 2, 1), 100)
	s[0].Control(flow.BarrierControl(flow.Barrier{Epoch: 7, Kind: flow.BarrierSavepoint}))
	s[0].Control(flow.Control{Kind: flow.ControlIdle})
	s[0].Control(flow.Watermark(flow.MaxTime))
	s[0].Control(flow.Control{Kind: flow.ControlEnd})
	s[0].Control(flow.BarrierControl(flow.Barrier{Epoch: 8, Kind: flow.BarrierFinal}))
	for last := false; !last; {
		e := c.must()
		if e.Records == 0 && e.Control.Kind != flow.ControlIdle {
			got = append(got, e.Control.String())
		}
		last = e.Control.Barrier.Epoch == 8
	}
	want := []string{"0@0", "1@1", flow.Watermark(1).String(), "2@2", "savepoint 7", "watermark max", "end", "final 8"}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func credit(t *testing.T, make Transport) {
	const bound = 10_000
	g, s := make(t, 2, Options{Credit: bound, BatchSize: 4})
	c := newConsumer(t, g)
	n := 0
	for ; s[0].Available(); n++ {
		if n > 10 {
			t.Fatalf("%d batches of 1000 bytes fit into %d bytes", n, bound)
		}
		send(t, s[0], fill(s[0], 0, n, 1), 1000)
	}
	if n != 10 {
		t.Errorf("%d batches of 1000 bytes fit into %d bytes", n, bound)
	}
	if !s[1].Available() {
		t.Error("the other channel has no credit either")
	}
	eventually(t, "10000 bytes are queued", func() bool { return g.Queued() == bound })
	if e := c.must(); e.Records != 1 || e.Channel != 0 {
		t.Fatalf("%+v", e)
	}
	for range 9 {
		c.must()
	}
	c.drain()
	eventually(t, "the credit is back", func() bool { return s[0].Available() && g.Queued() == 0 })
}

func larger(t *testing.T, make Transport) {
	g, s := make(t, 1, Options{Credit: 1000, BatchSize: 4})
	c := newConsumer(t, g)
	for i := range 3 {
		send(t, s[0], fill(s[0], 0, i, 1), 50_000)
		if s[0].Available() {
			t.Fatal("50 times the credit is sent and there is still some")
		}
		if e := c.must(); e.Records != 1 {
			t.Fatalf("%+v", e)
		}
		c.drain()
		eventually(t, "the credit is back", s[0].Available)
	}
}

// blockedSend sends on a channel without credit, on a goroutine of its own.
func blockedSend(t *testing.T, ctx context.Context, make Transport) (shuffle.Gate, shuffle.Sender[Record], <-chan error) {
	g, s := make(t, 1, Options{Credit: 1000, BatchSize: 4})
	newConsumer(t, g)
	send(t, s[0], fill(s[0], 0, 0, 1), 1000)
	if s[0].Available() {
		t.Fatal("there is credit")
	}
	done, begun := chanOf[error](), chanOf[struct{}]()
	go func() {
		b := fill(s[0], 0, 1, 1)
		close(begun)
		done <- s[0].Send(ctx, b, 1000)
	}()
	<-begun
	return g, s[0], done
}

func chanOf[T any]() chan T { return make(chan T, 1) }

func blockedContext(t *testing.T, make Transport) {
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		g, s, done := blockedSend(t, ctx, make)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if s.Available() {
			t.Fatal("there is credit though nothing was read")
		}
		g.Close()
	}
}

func blockedClose(t *testing.T, make Transport) {
	for range 20 {
		g, _, done := blockedSend(t, t.Context(), make)
		g.Close()
		if err := <-done; !errors.Is(err, shuffle.ErrClosed) {
			t.Fatal(err)
		}
	}
}

func closed(t *testing.T, make Transport) {
	g, s := make(t, 2, Options{Credit: 1000, BatchSize: 4})
	c := newConsumer(t, g)
	woken := chanOf[struct{}]()
	s[0].Notify(func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	send(t, s[0], fill(s[0], 0, 0, 1), 1000)
	if s[0].Available() {
		t.Fatal("there is credit")
	}
	g.Block(1, true)
	g.Close()
	<-woken
	g.Close()
	for _, s := range s {
		eventually(t, "a sender whose gate is closed does not wait", s.Available)
		var err error
		eventually(t, "a sender meets the closed gate", func() bool {
			err = s.Send(t.Context(), fill(s, 0, 1, 1), 10)
			return err != nil
		})
		if !errors.Is(err, shuffle.ErrClosed) {
			t.Fatalf("got %v, want ErrClosed", err)
		}
		s.Control(flow.Watermark(1))
	}
	g.Block(0, true)
	g.Block(0, false)
	g.Block(1, false)
	if got := c.drain(); len(got) > 0 || g.Ready() || g.Queued() != 0 {
		t.Fatalf("a closed gate has %v, %d bytes", got, g.Queued())
	}
}

func notified(t *testing.T, make Transport) {
	g, s := make(t, 1, Options{Credit: 1000, BatchSize: 4})
	c := newConsumer(t, g)
	back := chanOf[struct{}]()
	s[0].Notify(func() {
		select {
		case back <- struct{}{}:
		default:
		}
	})
	for i := range 100 {
		sent := 0
		for ; s[0].Available(); sent++ {
			send(t, s[0], fill(s[0], 0, i, 1), 600)
		}
		// As a task does: it has seen that there is no credit, and sleeps.
		done := chanOf[struct{}]()
		go func() {
			defer close(done)
			for range sent {
				c.must()
			}
			c.drain()
		}()
		select {
		case <-back:
		case <-c.ctx.Done():
			t.Fatal("credit came back without a word")
		}
		<-done
	}
}

func blockedChannel(t *testing.T, make Transport) {
	g, s := make(t, 2, Options{Credit: 1000, BatchSize: 4})
	c := newConsumer(t, g)
	barrier := flow.BarrierControl(flow.Barrier{Epoch: 1})
	s[0].Control(barrier)
	if e := c.must(); e.Channel != 0 || e.Control != barrier {
		t.Fatalf("%+v", e)
	}
	g.Block(0, true)
	send(t, s[0], fill(s[0], 0, 0, 1), 600)
	send(t, s[0], fill(s[0], 0, 1, 1), 600)
	if s[0].Available() {
		t.Fatal("what waits behind a blocked channel takes no credit")
	}
	eventually(t, "both batches are queued", func() bool { return g.Queued() == 1200 })
	for i := range 20 {
		send(t, s[1], fill(s[1], 1, i, 1), 600)
		if e := c.must(); e.Channel != 1 || e.Records != 1 {
			t.Fatalf("%+v", e)
		}
	}
	if got := c.drain(); len(got) > 0 || g.Ready() {
		t.Fatalf("the blocked channel gave %v, ready is %t", got, g.Ready())
	}
	g.Block(0, true) // a repeat
	g.Block(0, false)
	g.Block(0, false)
	if !g.Ready() {
		t.Fatal("unblocked, and not ready")
	}
	for range 2 {
		if e := c.must(); e.Channel != 0 || e.Records != 1 {
			t.Fatalf("%+v", e)
		}
	}
	// A channel that is blocked while it has something, and emptied by nobody.
	send(t, s[1], fill(s[1], 1, 0, 1), 1)
	eventually(t, "it is there", g.Ready)
	g.Block(1, true)
	if got := c.drain(); len(got) > 0 || g.Ready() {
		t.Fatalf("the blocked channel gave %v, ready is %t", got, g.Ready())
	}
	g.Block(1, false)
	if e := c.must(); e.Channel != 1 {
		t.Fatalf("%+v", e)
	}
}

func watermarks(t *testing.T, make Transport) {
	g, s := make(t, 1, Options{Credit: 1000, BatchSize: 4})
	c := newConsumer(t, g)
	idle := flow.Control{Kind: flow.ControlIdle}
	s[0].Control(flow.Watermark(7))
	for i := range 1000 {
		s[0].Control(idle)
		s[0].Control(flow.Watermark(flow.Time(i)))
	}
	s[0].Control(idle)
	s[0].Control(idle)
	s[0].Control(flow.BarrierControl(flow.Barrier{Epoch: 1}))
	f := flow.NewFrontier(1)
	for {
		e := c.must()
		switch e.Control.Kind {
		case flow.ControlWatermark:
			f.Watermark(0, e.Control.Time)
			continue
		case flow.ControlIdle:
			f.SetIdle(0)
			continue
		}
		break
	}
	if f.Time() != 999 || !f.Idle() {
		t.Fatal(f.Describe())
	}
}

func controlNeedsNoCredit(t *testing.T, make Transport) {
	g, s := make(t, 1, Options{Credit: 1000, BatchSize: 4})
	c := newConsumer(t, g)
	send(t, s[0], fill(s[0], 0, 0, 1), 5000)
	for e := range flow.Epoch(100) {
		s[0].Control(flow.BarrierControl(flow.Barrier{Epoch: e + 1}))
	}
	c.must()
	for e := range flow.Epoch(100) {
		if got := c.must().Control.Barrier.Epoch; got != e+1 {
			t.Fatalf("barrier %d instead of %d", got, e+1)
		}
	}
}

func recycled(t *testing.T, make Transport) {
	g, s := make(t, 1, Options{Credit: 1 << 16, BatchSize: 4})
	c := newConsumer(t, g)
	var kept []Record
	var times []flow.Time
	c.batch = func(_ int, b *flow.Batch[Record]) error {
		kept, times = b.Values, b.Times
		return nil
	}
	for i := range 50 {
		b := s[0].Buffer()
		if b.Len() != 0 || len(b.Times) != 0 || len(b.Hashes) != 0 {
			t.Fatalf("Buffer gave %+v", b)
		}
		if i%2 == 0 { // those without columns must not inherit any
			b.Append(Record{Seq: i, Text: "text"}, 5)
			b.Hashes = append(b.Hashes, 77)
		} else {
			b.Values = append(b.Values, Record{Seq: i, Text: "text"})
		}
		send(t, s[0], b, 10)
		c.must()
		if invariants.Enabled && (kept[0].Text == "text" || len(times) > 0 && times[0] == 5) {
			t.Fatal("a lent batch can be read after the call")
		}
	}
}

func empty(t *testing.T, make Transport) {
	g, s := make(t, 1, Options{Credit: 1000, BatchSize: 4})
	c := newConsumer(t, g)
	send(t, s[0], s[0].Buffer(), 0)
	send(t, s[0], fill(s[0], 0, 0, 2), 10)
	if e := c.must(); e.Records != 2 {
		t.Fatalf("%+v", e)
	}
}

func receiverError(t *testing.T, make Transport) {
	g, s := make(t, 2, Options{Credit: 1000, BatchSize: 4})
	c := newConsumer(t, g)
	wrong := errors.New("wrong")
	var kept *flow.Batch[Record]
	c.batch = func(_ int, b *flow.Batch[Record]) error { kept = b; return wrong }
	send(t, s[1], fill(s[1], 1, 3, 1), 10)
	eventually(t, "it is there", g.Ready)
	if _, ok, err := g.Next(); !ok || !errors.Is(err, wrong) {
		t.Fatal(ok, err)
	}
	// The failure's message is still to be made of it.
	if kept.Len() != 1 || kept.Values[0].Seq != 3 {
		t.Fatalf("%+v", kept)
	}
	g.Close()
}

func otherType(t *testing.T, make Transport) {
	g, _ := make(t, 3, Options{Credit: 1000, BatchSize: 4})
	if err := g.Attach(t); err == nil {
		t.Error("a test is a receiver")
	}
	if g.Channels() != 3 {
		t.Error(g.Channels())
	}
}

// everything has several producers and one consumer that blocks and unblocks
// channels as alignment does, and checks each channel's line.
func everything(t *testing.T, make Transport) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { scramble(t, make, seed) })
	}
}

// line is what a producer has sent, or a consumer has seen, of one channel.
type line struct {
	seq       int
	watermark flow.Time
	barriers  flow.Epoch
	ended     bool
}

func scramble(t *testing.T, make Transport, seed uint64) {
	const epochs, most = 15, 40
	rng := source(seed)
	n := 1 + rng.IntN(4)
	o := Options{Credit: 1 + rng.IntN(4000), BatchSize: 1 + rng.IntN(8)}
	if seed%2 == 1 {
		o.Rand = source(seed + 1000)
	}
	g, senders := make(t, n, o)
	c := newConsumer(t, g)
	seen := makeLines(n)
	c.batch = func(_ int, b *flow.Batch[Record]) error {
		l := &seen[b.Values[0].From]
		for i, r := range b.Values {
			if r.Seq != l.seq || r.Text != "record" || b.Time(i) != flow.Time(r.Seq) || b.Time(i) <= l.watermark {
				return fmt.Errorf("record %+v at %v, after %+v", r, b.Time(i), *l)
			}
			l.seq++
		}
		return nil
	}
	sent := makeLines(n)
	var queuedMost atomic.Int64
	var wg sync.WaitGroup
	for i, s := range senders {
		rng := source(seed<<8 + uint64(i))
		wg.Go(func() { sent[i] = produce(c.ctx, t, s, i, epochs, most, o, rng) })
	}
	aligned, waiting := flow.Epoch(0), 0
	for ended := 0; ended < n; {
		e, ok := c.next()
		if !ok {
			t.Errorf("stuck: seen %+v, aligned %d, %d bytes queued", seen, aligned, g.Queued())
			break
		}
		queuedMost.Store(max(queuedMost.Load(), int64(g.Queued())))
		l := &seen[e.Channel]
		switch {
		case e.Records > 0:
		case e.Control.Kind == flow.ControlWatermark:
			if e.Control.Time < l.watermark || int(e.Control.Time) >= l.seq {
				t.Errorf("%s on channel %d after %+v", e.Control, e.Channel, *l)
			}
			l.watermark = e.Control.Time
		case e.Control.Kind == flow.ControlBarrier:
			if e.Control.Barrier.Epoch != aligned+1 {
				t.Errorf("%s on channel %d while %d is next", e.Control, e.Channel, aligned+1)
			}
			l.barriers++
			g.Block(e.Channel, true)
			if waiting++; waiting == n {
				aligned, waiting = aligned+1, 0
				for i := range n {
					g.Block(i, false)
				}
			}
		case e.Control.Kind == flow.ControlEnd:
			l.ended = true
			ended++
		}
	}
	g.Close()
	wg.Wait()
	for i, c := range g.Counts(nil) {
		if !t.Failed() && c.Records != int64(sent[i].seq) {
			t.Errorf("channel %d: %d records were sent and %d counted", i, sent[i].seq, c.Records)
		}
	}
	for i := range n {
		if !t.Failed() && seen[i] != sent[i] {
			t.Errorf("channel %d: sent %+v, seen %+v", i, sent[i], seen[i])
		}
	}
	if limit := int64(n * (o.Credit + 1<<12)); queuedMost.Load() > limit {
		t.Errorf("%d bytes were queued in %d channels of %d", queuedMost.Load(), n, o.Credit)
	}
}

func makeLines(n int) []line {
	l := make([]line, n)
	for i := range l {
		l[i].watermark = flow.MinTime
	}
	return l
}
