package checkpoint

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
)

// overtaker is a task with its channels, as the documentation of Decision has it: what
// it handles is its state, what is queued may be announced late, and snapshots are made
// and completed as decided.
type overtaker struct {
	*Aligner
	now      flow.Time
	queues   [][]queued
	untold   []arrival
	sent     [][]string                      // by channel
	before   map[flow.Epoch]map[int][]string // what was sent before the epoch's barrier, by channel
	state    []string
	snapshot map[flow.Epoch]map[string]int
	logging  map[int]bool
	epoch    flow.Epoch // logged
	done     []flow.Epoch
	lost     []flow.Epoch // dropped or aborted here
	overtook int
}

type queued struct {
	record  string
	barrier flow.Barrier
}

type arrival struct {
	channel int
	barrier flow.Barrier
}

func newOvertaker(n int, d time.Duration) *overtaker {
	o := &overtaker{Aligner: NewAligner(n), queues: make([][]queued, n), sent: make([][]string, n),
		before: map[flow.Epoch]map[int][]string{}, snapshot: map[flow.Epoch]map[string]int{}, logging: map[int]bool{}}
	o.OvertakeAfter(d)
	return o
}

func (o *overtaker) record(channel int) {
	r := fmt.Sprintf("%d.%d", channel, len(o.sent[channel]))
	o.sent[channel] = append(o.sent[channel], r)
	o.queues[channel] = append(o.queues[channel], queued{record: r})
}

func (o *overtaker) barrier(channel int, b flow.Barrier) {
	if o.before[b.Epoch] == nil {
		o.before[b.Epoch] = map[int][]string{}
	}
	o.before[b.Epoch][channel] = slices.Clone(o.sent[channel])
	o.queues[channel] = append(o.queues[channel], queued{barrier: b})
	o.untold = append(o.untold, arrival{channel, b})
}

// announce tells the first of what was not told.
func (o *overtaker) announce() error {
	u := o.untold[0]
	o.untold = o.untold[1:]
	return o.do(u.channel, o.Announce(u.channel, u.barrier, o.now))
}

// read takes something from a channel that is not blocked.
func (o *overtaker) read(channel int) error {
	it := o.queues[channel][0]
	if it.record != "" {
		o.queues[channel] = o.queues[channel][1:]
		if o.logging[channel] {
			o.snapshot[o.epoch][it.record]++
		}
		o.state = append(o.state, it.record)
		return nil
	}
	// What is read is announced before, behind those in front of it.
	for slices.Contains(o.untold, arrival{channel, it.barrier}) {
		if err := o.announce(); err != nil {
			return err
		}
	}
	if o.Blocked(channel) {
		return fmt.Errorf("channel %d was blocked by an announcement", channel)
	}
	o.queues[channel] = o.queues[channel][1:]
	return o.do(channel, o.Barrier(channel, it.barrier))
}

func (o *overtaker) do(channel int, d Decision) error {
	for _, e := range []flow.Epoch{d.Aborted, d.Dropped} {
		if e != 0 {
			o.lost = append(o.lost, e)
		}
	}
	if d.Dropped != 0 {
		if d.Dropped != o.epoch {
			return fmt.Errorf("drop of %d while %d is logged", d.Dropped, o.epoch)
		}
		clear(o.logging)
	}
	switch d.Verdict {
	case Aligned, Overtake:
		s := map[string]int{}
		for _, r := range o.state {
			s[r]++
		}
		o.snapshot[d.Barrier.Epoch] = s
		if d.Verdict == Aligned {
			return o.complete(d.Barrier.Epoch)
		}
		o.overtook++
		o.epoch = d.Barrier.Epoch
	}
	for _, i := range d.Log {
		if len(o.logging) == len(o.queues) {
			return fmt.Errorf("epoch %d is logged before %d is complete", d.Barrier.Epoch, o.epoch)
		}
		o.logging[i] = true
	}
	for _, i := range d.Take {
		if !o.logging[i] || d.Taken != o.epoch {
			return fmt.Errorf("take of channel %d for %d, which logs %v for %d", i, d.Taken, o.logging, o.epoch)
		}
		delete(o.logging, i)
		end := slices.IndexFunc(o.queues[i], func(q queued) bool { return q.barrier.Epoch == d.Taken })
		for _, q := range o.queues[i][:max(0, end)] {
			if q.record != "" {
				o.snapshot[d.Taken][q.record]++
			}
		}
	}
	if d.Complete {
		if len(o.logging) > 0 {
			return fmt.Errorf("%d is complete and logs %v", d.Taken, o.logging)
		}
		return o.complete(d.Taken)
	}
	return nil
}

// complete checks that a snapshot has each record before the barriers once.
func (o *overtaker) complete(e flow.Epoch) error {
	want := map[string]int{}
	for i := range o.queues {
		before, came := o.before[e][i]
		if !came {
			return fmt.Errorf("epoch %d is complete without a barrier on channel %d", e, i)
		}
		for _, r := range before {
			want[r] = 1
		}
	}
	if fmt.Sprint(want) != fmt.Sprint(o.snapshot[e]) {
		return fmt.Errorf("epoch %d has %v, want %v", e, o.snapshot[e], want)
	}
	if n := len(o.done); n > 0 && o.done[n-1] >= e {
		return fmt.Errorf("epoch %d after %v", e, o.done)
	}
	o.done = append(o.done, e)
	return nil
}

// TestOvertakeRandom: every record before a barrier is in the state or in what was
// logged, and in one of them only, whatever is announced when, read when, aborted or
// given up by some of the producers. What all producers have sent a barrier of is
// complete in the end, if nobody gave it up.
func TestOvertakeRandom(t *testing.T) {
	t.Parallel()
	overtook, epochs := 0, 0
	run := func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "channels")
		after := time.Duration(rapid.IntRange(0, 3).Draw(t, "after")) * time.Millisecond
		o := newOvertaker(n, after)
		if n > 1 && rapid.IntRange(0, 3).Draw(t, "in line") == 0 {
			o.InLine(0)
		}
		next := make([]flow.Epoch, n) // the newest that the producer has sent
		newest := flow.Epoch(0)
		skipped, aborted := map[flow.Epoch]bool{}, map[flow.Epoch]bool{}
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("%v\n%s", err, o.Describe())
			}
		}
		send := func(i int) {
			next[i]++
			if rapid.IntRange(0, 15).Draw(t, "skip") == 0 {
				skipped[next[i]] = true // aborted upstream
				return
			}
			o.barrier(i, flow.Barrier{Epoch: next[i], Unaligned: rapid.IntRange(0, 5).Draw(t, "unaligned") == 0})
		}
		read := func() bool {
			var ready []int
			for i, q := range o.queues {
				if len(q) > 0 && !o.Blocked(i) {
					ready = append(ready, i)
				}
			}
			if len(ready) == 0 {
				return false
			}
			check(o.read(rapid.SampledFrom(ready).Draw(t, "channel")))
			return true
		}
		tick := func() { check(o.do(-1, o.Tick(o.now))) }
		for range rapid.IntRange(0, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2:
				o.record(rapid.IntRange(0, n-1).Draw(t, "channel"))
			case 3, 4:
				i := rapid.IntRange(0, n-1).Draw(t, "channel")
				if next[i] == newest {
					newest++
				}
				send(i)
			case 5, 6:
				read()
			case 7:
				if len(o.untold) > 0 {
					check(o.announce())
				}
			case 8:
				o.now = o.now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "ms")) * time.Millisecond)
				tick()
			case 9:
				if newest > 0 && rapid.IntRange(0, 3).Draw(t, "abort") == 0 {
					e := flow.Epoch(rapid.IntRange(1, int(newest)).Draw(t, "epoch"))
					aborted[e] = true
					d := o.Abort(e)
					if d.Dropped != 0 || d.Aborted != 0 || d.Verdict != Ignored {
						t.Fatal(d)
					}
					if e == o.epoch {
						clear(o.logging)
					}
				}
			}
		}
		for i := range n {
			for next[i] < newest {
				send(i)
			}
			// A last one that nobody gives up.
			o.barrier(i, flow.Barrier{Epoch: newest + 1})
		}
		for again := true; again; {
			tick()
			again = read()
			if !again && len(o.untold) > 0 {
				again = true
				check(o.announce())
			}
		}
		if _, ok := o.Capturing(); ok || len(o.logging) > 0 {
			t.Fatalf("captures for ever: %s", o.Describe())
		}
		for e := flow.Epoch(1); e <= newest+1; e++ {
			over := slices.Contains(o.done, e)
			if !over && !skipped[e] && !aborted[e] {
				t.Fatalf("epoch %d came on all channels and did not end: %s", e, o.Describe())
			}
			if over && slices.Contains(o.lost, e) {
				t.Fatalf("epoch %d is complete, and was given up", e)
			}
		}
		overtook += o.overtook
		epochs += len(o.done)
	}
	for range 10 {
		rapid.Check(t, run)
	}
	t.Logf("%d epochs, %d of them overtook", epochs, overtook)
	if overtook < 300 {
		t.Errorf("only %d epochs overtook anything; the test does not test much", overtook)
	}
}
