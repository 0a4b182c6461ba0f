package shuffletest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
)

func barrierOf(e flow.Epoch) flow.Control { return flow.BarrierControl(flow.Barrier{Epoch: e}) }

func pushed(t *testing.T, make Transport) {
	g, s := make(t, 1, Options{Credit: 1000, BatchSize: 4})
	c := newConsumer(t, g)
	var got []int
	c.batch = func(_ int, b *flow.Batch[Record]) error {
		for _, r := range b.Values {
			got = append(got, r.Seq)
		}
		return nil
	}
	push := func(b *flow.Batch[Record]) {
		t.Helper()
		if err := s[0].Push(b, 500); err != nil {
			t.Fatal(err)
		}
	}
	send(t, s[0], fill(s[0], 0, 0, 2), 5000)
	push(fill(s[0], 0, 2, 1))
	push(s[0].Buffer())
	s[0].Control(barrierOf(1))
	if s[0].Available() {
		t.Fatal("there is credit")
	}
	eventually(t, "what was pushed counts", func() bool { return g.Queued() == 5500 })
	if a, b, e := c.must(), c.must(), c.must(); a.Records != 2 || b.Records != 1 || e.Control != barrierOf(1) || !slices.Equal(got, []int{0, 1, 2}) {
		t.Fatal(a, b, e, got)
	}
	c.drain()
	eventually(t, "the credit is back", s[0].Available)
	g.Close()
	var err error
	eventually(t, "a push meets the closed gate", func() bool {
		err = s[0].Push(fill(s[0], 0, 3, 1), 1)
		return err != nil
	})
	if !errors.Is(err, shuffle.ErrClosed) {
		t.Fatal(err)
	}
}

func counts(t *testing.T, make Transport) {
	for _, hashes := range []bool{false, true} {
		g, s := make(t, 2, Options{Credit: 1 << 20, BatchSize: 4, Hashes: hashes})
		c := newConsumer(t, g)
		summer, err := shuffle.NewSummer[Record]()
		if err != nil {
			t.Fatal(err)
		}
		var want [2]shuffle.Count
		for i := range 10 {
			b := fill(s[i%2], i%2, i, 1+i%3)
			n, err := summer.Batch(b)
			if err != nil {
				t.Fatal(err)
			}
			if !hashes {
				n.Sum = shuffle.Sum{}
			}
			want[i%2].Add(n)
			send(t, s[i%2], b, 10)
		}
		if got := g.Counts(nil); len(got) != 2 || got[0].Records != 0 {
			t.Fatalf("counts what was not handed over: %v", got)
		}
		for range 10 {
			c.must()
		}
		if got := g.Counts([]shuffle.Count{{Records: 7}}); !slices.Equal(got[1:], want[:]) || got[0].Records != 7 {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func barriersTold(t *testing.T, make Transport) {
	g, s := make(t, 2, Options{Credit: 1 << 20, BatchSize: 4})
	c := newConsumer(t, g)
	told := func() []shuffle.Arrival {
		t.Helper()
		eventually(t, "a barrier is told of", g.HasBarriers)
		got := g.Barriers(nil)
		if g.HasBarriers() || len(g.Barriers(nil)) > 0 {
			t.Fatal("a barrier is told of twice")
		}
		return got
	}
	await := func(what string) {
		t.Helper()
		select {
		case <-c.wake:
		case <-c.ctx.Done():
			t.Fatal("no word of " + what)
		}
	}
	send(t, s[0], fill(s[0], 0, 0, 1), 10)
	await("a batch")
	s[0].Control(flow.Watermark(0))
	s[0].Control(barrierOf(1))
	await("a barrier behind it")
	if got := told(); len(got) != 1 || got[0] != (shuffle.Arrival{Channel: 0, Barrier: flow.Barrier{Epoch: 1}}) {
		t.Fatal(got)
	}
	// On a blocked channel, behind one that is not told of again.
	g.Block(0, true)
	s[0].Control(flow.BarrierControl(flow.Barrier{Epoch: 2, Unaligned: true}))
	await("a barrier on a blocked channel")
	if got := told(); len(got) != 1 || got[0] != (shuffle.Arrival{Channel: 0, Barrier: flow.Barrier{Epoch: 2, Unaligned: true}}) {
		t.Fatal(got)
	}
	g.Block(0, false)
	for range 4 {
		c.must()
	}
	// One that was read is not told of.
	s[1].Control(barrierOf(1))
	if e := c.must(); e.Channel != 1 || e.Control != barrierOf(1) {
		t.Fatal(e)
	}
	if g.HasBarriers() || len(g.Barriers(nil)) > 0 {
		t.Fatal("a barrier is told of that was read")
	}
	s[1].Control(barrierOf(2))
	eventually(t, "a barrier is told of", g.HasBarriers)
	g.Close()
	if g.HasBarriers() || len(g.Barriers(nil)) > 0 {
		t.Fatal("a closed gate has barriers")
	}
}

// seqs reads what was taken of a channel.
func seqs(t testing.TB, in shuffle.InFlight) (out []int) {
	t.Helper()
	if in.Data == nil {
		return nil
	}
	var r reader
	p, err := shuffle.NewReplay(in.Data, &r, nil, false)
	for ok := true; ok && err == nil; {
		_, ok, err = p.Next()
	}
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(r.seqs)) != in.Records {
		t.Fatalf("%d records, counted as %d", len(r.seqs), in.Records)
	}
	return r.seqs
}

type reader struct{ seqs []int }

func (r *reader) Receive(b *flow.Batch[Record]) error {
	for i, v := range b.Values {
		if v.Text != "record" || b.Time(i) != flow.Time(v.Seq) {
			return fmt.Errorf("%+v at %v", v, b.Time(i))
		}
		r.seqs = append(r.seqs, v.Seq)
	}
	return nil
}

func takeSeqs(t testing.TB, g shuffle.Gate, channel int, e flow.Epoch) []int {
	t.Helper()
	in, err := g.Take(channel, e)
	if err != nil {
		t.Fatal(err)
	}
	return seqs(t, in)
}

func overtakes(t *testing.T, make Transport) {
	g, s := make(t, 3, Options{Credit: 1 << 20, BatchSize: 4})
	c := newConsumer(t, g)
	logAll := func() {
		t.Helper()
		for i := range 3 {
			if err := g.Log(i); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(t, s[0], fill(s[0], 0, 0, 2), 10)
	s[0].Control(flow.Watermark(0))
	s[0].Control(barrierOf(1))
	send(t, s[0], fill(s[0], 0, 2, 1), 10)
	s[0].Control(barrierOf(2))
	send(t, s[1], fill(s[1], 1, 0, 1), 10)
	var arrived []shuffle.Arrival
	eventually(t, "both barriers are told of", func() bool { arrived = g.Barriers(arrived); return len(arrived) == 2 })
	eventually(t, "all is there", func() bool { return g.Queued() == 30 || g.Queued() > 0 && g.Ready() })
	logAll()
	if got := takeSeqs(t, g, 0, 1); !slices.Equal(got, []int{0, 1}) {
		t.Fatal(got)
	}
	// Nothing was taken off the queue; channel 1 is logged as it is read.
	var got []string
	for range 6 {
		e := c.must()
		got = append(got, fmt.Sprint(e.Channel, e.Records, e.Control.Barrier.Epoch))
	}
	if slices.Sort(got); fmt.Sprint(got) != "[0 0 0 0 0 1 0 0 2 0 1 0 0 2 0 1 1 0]" {
		t.Fatal(got)
	}
	if g.Logged() == 0 {
		t.Fatal("nothing is logged")
	}
	send(t, s[1], fill(s[1], 1, 1, 2), 10)
	s[1].Control(barrierOf(1))
	eventually(t, "the barrier is told of", func() bool { return len(g.Barriers(nil)) == 1 })
	if got := takeSeqs(t, g, 1, 1); !slices.Equal(got, []int{0, 1, 2}) {
		t.Fatal(got)
	}
	// Channel 2 has nothing before its barrier, which is read before it is taken.
	s[2].Control(barrierOf(1))
	for e := c.must(); e.Channel != 2; e = c.must() {
	}
	if got := takeSeqs(t, g, 2, 1); got != nil || g.Logged() != 0 {
		t.Fatal(got, g.Logged())
	}
	c.drain()
	// A log that is given up.
	logAll()
	send(t, s[0], fill(s[0], 0, 3, 1), 10)
	for e := c.must(); e.Channel != 0; e = c.must() {
	}
	if g.Logged() == 0 {
		t.Fatal("nothing is logged")
	}
	g.Unlog()
	send(t, s[0], fill(s[0], 0, 4, 1), 10)
	c.must()
	if g.Logged() != 0 {
		t.Fatal("a log goes on")
	}
	g.Unlog()
}

func replayed(t *testing.T, make Transport) {
	g, s := make(t, 1, Options{Credit: 1 << 20, BatchSize: 4, Hashes: true})
	c := newConsumer(t, g)
	if err := g.Log(0); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b := fill(s[0], 0, 2*i, 2)
		b.Hashes = append(b.Hashes, flow.Hash(2*i), flow.Hash(2*i+1))
		send(t, s[0], b, 10)
	}
	for range 3 {
		c.must()
	}
	in, err := g.Take(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if in.Count != g.Counts(nil)[0] || in.Sum == (shuffle.Sum{}) {
		t.Fatalf("taken %v, counted %v", in.Count, g.Counts(nil))
	}
	var got []int
	c.batch = func(_ int, b *flow.Batch[Record]) error {
		for i, r := range b.Values {
			if b.Hashes[i] != flow.Hash(r.Seq) || b.Times[i] != flow.Time(r.Seq) {
				t.Errorf("%+v at %v with hash %d", r, b.Times[i], b.Hashes[i])
			}
			got = append(got, r.Seq)
		}
		return nil
	}
	all := func(keep func(flow.Hash) bool) (n shuffle.Count) {
		t.Helper()
		p, err := g.Replay(in.Data, keep)
		for ok := true; ok && err == nil; {
			_, ok, err = p.Next()
		}
		if err != nil {
			t.Fatal(err)
		}
		return p.Count()
	}
	if n := all(nil); n != in.Count || !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) {
		t.Fatal(n, got)
	}
	got = nil
	if n := all(func(h flow.Hash) bool { return h > 2 && h != 4 }); n.Records != 2 || !slices.Equal(got, []int{3, 5}) {
		t.Fatal(n, got)
	}
	if n := g.Counts(nil)[0].Records; n != 6 {
		t.Fatalf("what is replayed counts as received: %d", n)
	}
	if _, err := g.Replay(in.Data[:20], nil); !errors.Is(err, shuffle.ErrCorrupt) {
		t.Fatal(err)
	}
	wrong := errors.New("wrong")
	c.batch = func(int, *flow.Batch[Record]) error { return wrong }
	p, err := g.Replay(in.Data, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Next(); !errors.Is(err, wrong) {
		t.Fatal(err)
	}
}

// overtaken has a consumer that lets epochs overtake at random moments, and checks
// for each channel that what was handled before the snapshot and what was kept of the
// channel are together what was sent before the barrier.
func overtaken(t *testing.T, make Transport) {
	overtook := 0
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { overtook += leap(t, make, seed) })
	}
	if !t.Failed() && overtook < 30 {
		t.Errorf("%d epochs overtook; the test does not test much", overtook)
	}
}

// cut is where a snapshot has cut a channel.
type cut struct {
	handled int   // records that were handled before
	kept    []int // those that were kept
	done    bool
}

func leap(t *testing.T, make Transport, seed uint64) (overtook int) {
	const epochs, most = 15, 30
	rng := source(seed)
	n := 1 + rng.IntN(4)
	o := Options{Credit: 1 + rng.IntN(4000), BatchSize: 1 + rng.IntN(8), Rand: source(seed + 1000)}
	g, senders := make(t, n, o)
	c := newConsumer(t, g)
	seen := makeLines(n)
	c.batch = func(_ int, b *flow.Batch[Record]) error { seen[b.Values[0].From].seq += b.Len(); return nil }
	var wg sync.WaitGroup
	for i, s := range senders {
		rng := source(seed<<8 + uint64(i))
		wg.Go(func() { produce(c.ctx, t, s, i, epochs, most, o, rng) })
	}
	var (
		aligning = flow.Epoch(1) // what comes next
		queued   = map[shuffle.Arrival]bool{}
		blocked  = map[int]bool{}
		cuts     = map[flow.Epoch][]cut{}
		logging  = map[int]bool{}
		logged   flow.Epoch
	)
	take := func(channel int) {
		delete(logging, channel)
		x := &cuts[logged][channel]
		x.kept, x.done = takeSeqs(t, g, channel, logged), true
	}
	unblock := func() {
		for i := range n {
			g.Block(i, false)
		}
		clear(blocked)
	}
	overtake := func() {
		overtook++
		logged = aligning
		aligning++
		for i := range n {
			cuts[logged] = append(cuts[logged], cut{handled: seen[i].seq, done: blocked[i]})
		}
		for i := range n {
			if blocked[i] {
				continue
			}
			if err := g.Log(i); err != nil {
				t.Error(err)
			}
			logging[i] = true
			if queued[shuffle.Arrival{Channel: i, Barrier: flow.Barrier{Epoch: logged}}] {
				take(i)
			}
		}
		unblock()
	}
	for ended := 0; ended < n && !t.Failed(); {
		if rng.IntN(3) == 0 {
			for _, a := range g.Barriers(nil) {
				queued[a] = true
				if a.Barrier.Epoch == logged && logging[a.Channel] {
					take(a.Channel)
				}
			}
		}
		if len(logging) == 0 && aligning <= epochs && (len(blocked) > 0 || len(queued) > 0) && rng.IntN(6) == 0 {
			overtake()
		}
		e, ok := c.next()
		if !ok {
			t.Errorf("stuck: seen %+v, aligning %d, logging %v", seen, aligning, logging)
			break
		}
		switch i, b := e.Channel, e.Control.Barrier; e.Control.Kind {
		case flow.ControlBarrier:
			switch {
			case b.Epoch == aligning:
				g.Block(i, true)
				if blocked[i] = true; len(blocked) == n {
					aligning++
					unblock()
				}
			case b.Epoch == logged && logging[i]:
				take(i)
			}
			if cuts[b.Epoch] == nil {
				continue
			}
			x := cuts[b.Epoch][i]
			for at, seq := range x.kept {
				if seq != x.handled+at {
					t.Errorf("epoch %d, channel %d: kept %v, handled %d", b.Epoch, i, x.kept, x.handled)
					break
				}
			}
			if end := x.handled + len(x.kept); !x.done || end != seen[i].seq {
				t.Errorf("epoch %d, channel %d: %d records came before the barrier, handled %d and kept %v", b.Epoch, i, seen[i].seq, x.handled, x.kept)
			}
		case flow.ControlEnd:
			ended++
		}
	}
	g.Close()
	wg.Wait()
	return overtook
}
