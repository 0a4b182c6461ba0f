package wire_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/local"
	"github.com/weirflow/weir/shuffle/wire"
)

// keep is a receiver that keeps what it gets.
type keep struct{ got []int64 }

func (k *keep) Receive(b *flow.Batch[int64]) error { k.got = append(k.got, b.Values...); return nil }

// consumer is a gate with one channel.
type consumer struct {
	shuffle.Gate
	keep
	inlet shuffle.Sender[int64]
}

func newConsumer(t testing.TB, credit int) *consumer {
	t.Helper()
	g, in := local.NewGate[int64](1, local.Options{Credit: credit, BatchSize: 4})
	c := &consumer{Gate: g, inlet: in[0]}
	if err := g.Attach(&c.keep); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return c
}

func (c *consumer) attach(t testing.TB, e *wire.Endpoint, id wire.PartitionID, credit int) (detach func()) {
	t.Helper()
	detach, err := wire.Attach(e, id, c.inlet, wire.AttachOptions{Credit: credit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(detach)
	return detach
}

// all takes what there is.
func (c *consumer) all() []int64 {
	for {
		if _, ok, err := c.Next(); !ok || err != nil {
			return c.got
		}
	}
}

func newSender(t testing.TB, e *wire.Endpoint, peer string, id wire.PartitionID) *wire.Sender[int64] {
	t.Helper()
	s, err := wire.NewSender[int64](e, peer, id, wire.SenderOptions{BatchSize: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func send(ctx context.Context, s shuffle.Sender[int64], v int64) error {
	b := s.Buffer()
	b.Values = append(b.Values, v)
	return s.Send(ctx, b, 100)
}

// external checks that err is the failure of a partition that another attempt may mend.
func external(t *testing.T, err error, words ...string) {
	t.Helper()
	f := flow.FailureOf(err)
	if f == nil || f.Domain != flow.DomainExternal || !f.Retryable {
		t.Fatalf("%#v", f)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

// TestConsumerComesLater: a sender has no credit until its partition is attached, and
// keeps its control records; a few of them, however many there were.
func TestConsumerComesLater(t *testing.T) {
	at, from := endpoint(t, wire.Options{}), endpoint(t, wire.Options{})
	s := newSender(t, from, at.Addr().String(), partition(1, 0, 0))
	if s.Available() {
		t.Fatal("nobody has granted any credit")
	}
	for i := range 1000 {
		s.Control(flow.Watermark(flow.Time(i)))
		s.Control(flow.Control{Kind: flow.ControlIdle})
	}
	s.Control(flow.BarrierControl(flow.Barrier{Epoch: 1}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := send(ctx, s, 1); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	c := newConsumer(t, 100)
	c.attach(t, at, partition(1, 0, 0), 100)
	if err := send(t.Context(), s, 7); err != nil {
		t.Fatal(err)
	}
	var controls []string
	eventually(t, "all is there", func() bool {
		e, ok, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if ok && e.Records == 0 {
			controls = append(controls, e.Control.String())
		}
		return len(c.got) == 1
	})
	if want := []string{flow.Watermark(999).String(), "idle", "checkpoint 1"}; !slices.Equal(controls, want) {
		t.Errorf("%q", controls)
	}
}

// TestSlowConsumer: one that takes nothing does not hold up others on the connection, also
// those of other tasks.
func TestSlowConsumer(t *testing.T) {
	at, from := endpoint(t, wire.Options{}), endpoint(t, wire.Options{})
	slow, fast := newConsumer(t, 1000), newConsumer(t, 1000)
	slow.attach(t, at, partition(1, 0, 0), 1000)
	fast.attach(t, at, partition(1, 0, 1), 1000)
	to, other := newSender(t, from, at.Addr().String(), partition(1, 0, 0)), newSender(t, from, at.Addr().String(), partition(1, 0, 1))
	sent := 0
	eventually(t, "there is no credit left", func() bool {
		if !to.Available() {
			return sent > 0
		}
		sent++
		return send(t.Context(), to, 1) != nil
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range int64(1000) {
			if err := send(t.Context(), other, i); err != nil {
				t.Error(err)
				return
			}
		}
	})
	eventually(t, "all is there", func() bool { return len(fast.all()) == 1000 })
	wg.Wait()
	if to.Available() || sent > 10 {
		t.Errorf("the slow one was sent %d batches", sent)
	}
	eventually(t, "what was sent is there", func() bool { return len(slow.all()) == sent })
	eventually(t, "credit comes back", to.Available)
}

// TestOlderAttempts: they are closed by a newer one, whoever comes first.
func TestOlderAttempts(t *testing.T) {
	at, from := endpoint(t, wire.Options{}), endpoint(t, wire.Options{})
	peer := at.Addr().String()
	old := newConsumer(t, 1000)
	old.attach(t, at, partition(1, 0, 0), 1000)
	attached, waits := newSender(t, from, peer, partition(1, 0, 0)), newSender(t, from, peer, partition(1, 1, 0))
	eventually(t, "there is credit", attached.Available)
	c := newConsumer(t, 1000)
	c.attach(t, at, partition(2, 0, 0), 1000)
	late := newSender(t, from, peer, partition(1, 2, 0))
	for _, s := range []*wire.Sender[int64]{attached, waits, late} {
		var err error
		eventually(t, "a stale sender is closed", func() bool {
			if s.Available() {
				err = send(t.Context(), s, 1)
			}
			return err != nil
		})
		if !errors.Is(err, shuffle.ErrClosed) || s.Fault() != nil {
			t.Error(err, s.Fault())
		}
	}
	if _, err := wire.Attach(at, partition(1, 3, 0), c.inlet, wire.AttachOptions{}); err == nil || !strings.Contains(err.Error(), "attempt 2 is attached already") {
		t.Error(err)
	}
	if _, err := wire.Attach(at, partition(2, 0, 0), c.inlet, wire.AttachOptions{}); err == nil || !strings.Contains(err.Error(), "is attached already") {
		t.Error(err)
	}
	s := newSender(t, from, peer, partition(2, 0, 0))
	if err := send(t.Context(), s, 5); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new attempt works", func() bool { return len(c.all()) == 1 })
	// A second sender of the same partition is a mistake, and is told.
	twin := newSender(t, from, peer, partition(2, 0, 0))
	if err := send(t.Context(), twin, 5); err == nil || !strings.Contains(err.Error(), "it is open already") {
		t.Error(err)
	}
	at.Forget("job")
	newConsumer(t, 1).attach(t, at, partition(1, 3, 0), 1)
}

// TestDetached: senders find a partition closed that was given up.
func TestDetached(t *testing.T) {
	at, from := endpoint(t, wire.Options{}), endpoint(t, wire.Options{})
	c := newConsumer(t, 1000)
	detach := c.attach(t, at, partition(1, 0, 0), 1000)
	s := newSender(t, from, at.Addr().String(), partition(1, 0, 0))
	eventually(t, "there is credit", s.Available)
	detach()
	detach()
	eventually(t, "it is closed", func() bool { return errors.Is(send(t.Context(), s, 1), shuffle.ErrClosed) })
	// The gate is as it was.
	if err := send(t.Context(), c.inlet, 3); err != nil || len(c.all()) == 0 {
		t.Error(err)
	}
}

func TestOtherSchema(t *testing.T) {
	at, from := endpoint(t, wire.Options{}), endpoint(t, wire.Options{})
	c := newConsumer(t, 1000)
	c.attach(t, at, partition(1, 0, 0), 1000)
	s, err := wire.NewSender[string](from, at.Addr().String(), partition(1, 0, 0), wire.SenderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Send(t.Context(), &flow.Batch[string]{Values: []string{"x"}}, 1)
	if f := flow.FailureOf(err); f == nil || f.Retryable || !strings.Contains(err.Error(), "another schema") {
		t.Error(err)
	}
	eventually(t, "the gate fails", func() bool { _, _, err = c.Next(); return err != nil })
	if !strings.Contains(err.Error(), "another schema") || !c.Ready() {
		t.Error(err)
	}
}

// TestBroken: both sides learn of a connection that broke, and name partition and peer.
func TestBroken(t *testing.T) {
	for _, closes := range []string{"consumer", "producer"} {
		t.Run(closes, func(t *testing.T) {
			at, from := endpoint(t, wire.Options{Name: "there"}), endpoint(t, wire.Options{Name: "here"})
			c := newConsumer(t, 100)
			c.attach(t, at, partition(1, 0, 0), 100)
			s, last := newSender(t, from, at.Addr().String(), partition(1, 0, 0)), newSender(t, from, at.Addr().String(), partition(1, 1, 0))
			last.Control(flow.BarrierControl(flow.Barrier{Epoch: 3, Kind: flow.BarrierFinal}))
			woken := make(chan struct{}, 1)
			s.Notify(func() {
				select {
				case woken <- struct{}{}:
				default:
				}
			})
			if err := send(t.Context(), s, 1); err != nil {
				t.Fatal(err)
			}
			blocked := make(chan error, 1)
			go func() { blocked <- send(t.Context(), s, 2) }()
			e := at
			if closes == "producer" {
				e = from
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			external(t, <-blocked, partition(1, 0, 0).String(), at.Addr().String())
			<-woken
			if !s.Available() {
				t.Error("a sender that has failed waits")
			}
			external(t, s.Fault())
			external(t, s.Push(&flow.Batch[int64]{Values: []int64{1}}, 1))
			s.Control(flow.Watermark(1))
			if err := last.Fault(); err != nil {
				t.Errorf("all was sent, and there is a fault: %v", err)
			}
			var err error
			eventually(t, "the gate fails", func() bool { _, _, err = c.Next(); return err != nil })
			external(t, err, partition(1, 0, 0).String(), "here")
		})
	}
}

// TestEndIsNoFault: when all has come, the connection may go.
func TestEndIsNoFault(t *testing.T) {
	at, from := endpoint(t, wire.Options{}), endpoint(t, wire.Options{})
	c := newConsumer(t, 100)
	c.attach(t, at, partition(1, 0, 0), 100)
	done, sentinel := newConsumer(t, 100), newSender(t, from, at.Addr().String(), partition(1, 1, 1))
	done.attach(t, at, partition(1, 1, 1), 100)
	s := newSender(t, from, at.Addr().String(), partition(1, 0, 0))
	s.Control(flow.BarrierControl(flow.Barrier{Epoch: 3, Kind: flow.BarrierFinal}))
	eventually(t, "there is credit", func() bool { return s.Available() && sentinel.Available() })
	var e shuffle.Event
	eventually(t, "the last barrier", func() bool { e, _, _ = c.Next(); return e.Control.Barrier.Epoch == 3 })
	if err := from.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other fails", func() bool { _, _, err := done.Next(); return err != nil })
	if _, _, err := c.Next(); err != nil {
		t.Error(err)
	}
}

// TestNobodyThere: a peer that is not there fails what is sent to it, and the next attempt
// dials again.
func TestNobodyThere(t *testing.T) {
	l := listen(t)
	peer := l.Addr().String()
	_ = l.Close()
	from := endpoint(t, wire.Options{})
	external(t, send(t.Context(), newSender(t, from, peer, partition(1, 0, 0)), 1), peer)
	again, err := net.Listen("tcp", peer)
	if err != nil {
		t.Skip(err) // somebody else has got the port
	}
	at := endpoint(t, wire.Options{Listener: again})
	c := newConsumer(t, 100)
	c.attach(t, at, partition(2, 0, 0), 100)
	if err := send(t.Context(), newSender(t, from, peer, partition(2, 0, 0)), 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is there", func() bool { return len(c.all()) == 1 })
}

func TestRefusedConnections(t *testing.T) {
	server, client := certificates(t)
	_, stranger := certificates(t)
	stranger.RootCAs = client.RootCAs
	for _, c := range []struct {
		name     string
		at, from wire.Options
		want     string
	}{
		{"another job", wire.Options{Job: "a"}, wire.Options{Job: "b"}, `this process is of job "a" and not of "b"`},
		{"no TLS", wire.Options{ServerTLS: server}, wire.Options{}, ""},
		{"TLS where there is none", wire.Options{}, wire.Options{ClientTLS: client}, ""},
		{"a stranger's certificate", wire.Options{ServerTLS: server}, wire.Options{ClientTLS: stranger}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			told := make(chan error, 1)
			c.at.Refused = func(_ string, err error) {
				select {
				case told <- err:
				default:
				}
			}
			at, from := endpoint(t, c.at), endpoint(t, c.from)
			err := send(t.Context(), newSender(t, from, at.Addr().String(), partition(1, 0, 0)), 1)
			external(t, err, at.Addr().String(), c.want)
			if err := <-told; err == nil {
				t.Error("nobody is told")
			}
		})
	}
}

func TestTooManyConnections(t *testing.T) {
	at := endpoint(t, wire.Options{MaxConnections: 1})
	first, second := endpoint(t, wire.Options{}), endpoint(t, wire.Options{})
	c := newConsumer(t, 100)
	c.attach(t, at, partition(1, 0, 0), 100)
	s := newSender(t, first, at.Addr().String(), partition(1, 0, 0))
	eventually(t, "there is credit", s.Available)
	external(t, send(t.Context(), newSender(t, second, at.Addr().String(), partition(1, 1, 0)), 1), "there are 1 connections already")
	if err := send(t.Context(), s, 1); err != nil {
		t.Error(err)
	}
}

func TestLargeBatches(t *testing.T) {
	at, from := endpoint(t, wire.Options{}), endpoint(t, wire.Options{MaxFrame: 5 << 20})
	g, in := local.NewGate[string](1, local.Options{})
	defer g.Close()
	var got []string
	if err := g.Attach(receive(func(b *flow.Batch[string]) error { got = append(got, b.Values...); return nil })); err != nil {
		t.Fatal(err)
	}
	detach, err := wire.Attach(at, partition(1, 0, 0), in[0], wire.AttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer detach()
	s, err := wire.NewSender[string](from, at.Addr().String(), partition(1, 0, 0), wire.SenderOptions{BatchSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	large := strings.Repeat("0123456789", 450_000)
	for range 3 {
		if err := s.Send(t.Context(), &flow.Batch[string]{Values: []string{large}}, len(large)); err != nil {
			t.Fatal(err)
		}
		n := len(got)
		eventually(t, "it is there", func() bool { _, _, err = g.Next(); return err != nil || len(got) > n })
		if got[n] != large {
			t.Fatal("it was changed")
		}
		if _, ok, err := g.Next(); ok || err != nil { // gives the credit back
			t.Fatal(ok, err)
		}
	}
	err = s.Send(t.Context(), &flow.Batch[string]{Values: []string{large + large}}, 1)
	if f := flow.FailureOf(err); f == nil || f.Domain != flow.DomainUser || !strings.Contains(err.Error(), "no more than 5242880") {
		t.Error(err)
	}
}

type receive func(*flow.Batch[string]) error

func (r receive) Receive(b *flow.Batch[string]) error { return r(b) }

// TestBroadcastEncodesOnce: what goes to many consumers elsewhere is encoded once, and
// all get all.
func TestBroadcastEncodesOnce(t *testing.T) {
	from := endpoint(t, wire.Options{})
	var senders []shuffle.Sender[counted]
	var gates []*local.Gate[counted]
	got := make([][]int64, 4)
	for i := range got {
		g, in := local.NewGate[counted](1, local.Options{Credit: 1 << 16, BatchSize: 4})
		defer g.Close()
		if err := g.Attach(receiveCounted(func(b *flow.Batch[counted]) error {
			for _, v := range b.Values {
				got[i] = append(got[i], v.n)
			}
			return nil
		})); err != nil {
			t.Fatal(err)
		}
		gates = append(gates, g)
		if i == 1 { // one is here
			senders = append(senders, in[0])
			continue
		}
		at := endpoint(t, wire.Options{})
		detach, err := wire.Attach(at, partition(1, 0, i), in[0], wire.AttachOptions{Credit: 1 << 16})
		if err != nil {
			t.Fatal(err)
		}
		defer detach()
		s, err := wire.NewSender[counted](from, at.Addr().String(), partition(1, 0, i), wire.SenderOptions{BatchSize: 4})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		senders = append(senders, s)
	}
	r := shuffle.NewBroadcast(t.Context(), senders, shuffle.RouterOptions[counted]{BatchSize: 4})
	encodedOf.Lock()
	encodedOf.n = 0
	encodedOf.Unlock()
	var want []int64
	for i := range int64(10) {
		want = append(want, i)
		if err := r.Receive(&flow.Batch[counted]{Values: []counted{{i}}}); err != nil {
			t.Fatal(err)
		}
		if i == 5 {
			if err := r.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.Control(flow.BarrierControl(flow.Barrier{Epoch: 1})); err != nil {
		t.Fatal(err)
	}
	for i, g := range gates {
		eventually(t, "the barrier", func() bool {
			e, _, err := g.Next()
			if err != nil {
				t.Fatal(err)
			}
			return e.Control.Barrier.Epoch == 1
		})
		if !slices.Equal(got[i], want) {
			t.Errorf("consumer %d has got %v", i, got[i])
		}
	}
	for i, n := range r.Counts(nil) {
		if n.Records != 10 {
			t.Errorf("%d records were sent to %d", n.Records, i)
		}
	}
	encodedOf.Lock()
	defer encodedOf.Unlock()
	if encodedOf.n != 10 {
		t.Errorf("10 records were encoded %d times", encodedOf.n)
	}
}

type receiveCounted func(*flow.Batch[counted]) error

func (r receiveCounted) Receive(b *flow.Batch[counted]) error { return r(b) }

// counted is a record that counts how often it is encoded.
type counted struct{ n int64 }

var encodedOf struct {
	sync.Mutex
	n int
}

// MarshalText is how the codec encodes it.
func (c counted) MarshalText() ([]byte, error) {
	encodedOf.Lock()
	encodedOf.n++
	encodedOf.Unlock()
	return []byte(fmt.Sprint(c.n)), nil
}

// UnmarshalText reads what MarshalText wrote.
func (c *counted) UnmarshalText(b []byte) error {
	_, err := fmt.Sscan(string(b), &c.n)
	return err
}

func TestClosedEndpoint(t *testing.T) {
	e := wire.New(wire.Options{Listener: listen(t)})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.NewSender[int64](e, "127.0.0.1:1", partition(1, 0, 0), wire.SenderOptions{}); !errors.Is(err, wire.ErrEndpointClosed) {
		t.Error(err)
	}
	if _, err := wire.Attach(e, partition(1, 0, 0), newConsumer(t, 1).inlet, wire.AttachOptions{}); !errors.Is(err, wire.ErrEndpointClosed) {
		t.Error(err)
	}
	// A process that only sends, and ends with its context.
	ctx, cancel := context.WithCancel(t.Context())
	e = wire.New(wire.Options{Context: ctx})
	if e.Addr() != nil {
		t.Error(e.Addr())
	}
	at := endpoint(t, wire.Options{})
	s := newSender(t, e, at.Addr().String(), partition(1, 0, 0))
	cancel()
	if err := send(t.Context(), s, 1); !errors.Is(err, wire.ErrEndpointClosed) {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPeerThatSaysNothing: neither side waits for ever, nor does Close.
func TestPeerThatSaysNothing(t *testing.T) {
	l := listen(t)
	defer l.Close()
	from := endpoint(t, wire.Options{})
	s := newSender(t, from, l.Addr().String(), partition(1, 0, 0))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	at := endpoint(t, wire.Options{})
	silent, err := net.Dial("tcp", at.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if err := errors.Join(from.Close(), at.Close()); err != nil {
		t.Fatal(err)
	}
	external(t, send(t.Context(), s, 1), l.Addr().String())
}

func TestCompressionNames(t *testing.T) {
	for c := range wire.Zstd + 1 {
		if got, err := wire.ParseCompression(c.String()); err != nil || got != c {
			t.Error(got, err)
		}
	}
	if _, err := wire.ParseCompression("gzip"); err == nil {
		t.Error("gzip")
	}
}
