package task

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

func TestControlGoesBehindRecords(t *testing.T) {
	inBubble(t, "one channel", func(t *testing.T) {
		r := newRig(t, "a b", nil, 1).run()
		r.want("a open; b open; running")
		r.put(0, 0, 1, 2)
		r.control(0, 0, flow.Watermark(2))
		r.put(0, 0, 3)
		r.control(0, 0, barrier(1))
		r.want("a receive [1 2]; b receive [1 2]; out [1 2]; a watermark 2; b watermark 2; out watermark 2; " +
			"a receive [3]; b receive [3]; out [3]; a barrier 1; b barrier 1; out checkpoint 1; ack 1 [a@1 b@1]")
		r.control(0, 0, flow.Watermark(1)) // one that goes back
		r.want("")
		r.Committed(1)
		r.want("a committed 1; b committed 1")
		r.control(0, 0, flow.Watermark(flow.MaxTime), end)
		r.want("a watermark 9223372036854775807; b watermark 9223372036854775807; out watermark max; a end 0; b end 0; out end; drained")
		r.control(0, 0, barrier(2))
		r.want("a barrier 2; b barrier 2; out checkpoint 2; ack 2 [a@2 b@2]")
		if err := r.end(); err != nil {
			t.Error(err)
		}
		r.want("b close; a close; state closed")
	})
}

func TestAlignment(t *testing.T) {
	inBubble(t, "two gates", func(t *testing.T) {
		r := newRig(t, "a", nil, 2, 1).run()
		r.take()
		r.control(0, 0, barrier(1))
		r.put(0, 0, 10)
		r.put(0, 1, 1)
		r.want("a receive [1]; out [1]")
		r.put(1, 0, 2)
		r.control(1, 0, barrier(1))
		r.put(1, 0, 20)
		r.want("a receive [2]; out [2]")
		r.put(0, 1, 3)
		r.want("a receive [3]; out [3]")
		r.control(0, 1, barrier(1))
		synctest.Wait()
		if got := r.take(); !strings.HasPrefix(got, "a barrier 1; out checkpoint 1; ack 1 [a@1]; a receive") ||
			!strings.Contains(got, "a receive [10]; out [10]") || !strings.Contains(got, "a receive [20]; out [20]") {
			t.Error(got)
		}

		// The next is given up: what was blocked goes on, and its late barriers do
		// nothing.
		r.control(0, 0, barrier(2))
		r.put(0, 0, 11)
		r.want("")
		r.AbortEpoch(2)
		r.want("a receive [11]; out [11]")
		r.control(0, 1, barrier(2))
		r.control(1, 0, barrier(2))
		r.put(1, 0, 21)
		r.want("a receive [21]; out [21]")

		// One is overtaken by the next.
		r.control(0, 0, barrier(3))
		r.control(0, 1, barrier(4))
		r.put(0, 0, 12)
		r.put(0, 1, 13)
		r.want("decline 3; a receive [12]; out [12]")
		r.control(0, 0, barrier(4))
		r.control(1, 0, end)
		r.want("a end 1")
		r.control(1, 0, barrier(4)) // barriers come also where the input has ended
		r.want("a barrier 4; out checkpoint 4; ack 4 [a@1 a@4]; a receive [13]; out [13]")
		r.Cancel()
		<-r.done
	})
}

func TestIdleness(t *testing.T) {
	inBubble(t, "gates", func(t *testing.T) {
		r := newRig(t, "a", nil, 2)
		r.probes[0].keep = func(v int) bool { return v < 100 }
		r.run()
		r.take()
		r.control(0, 0, flow.Watermark(10))
		r.control(0, 1, flow.Watermark(5))
		r.want("a watermark 5; out watermark 5")
		r.control(0, 1, idle)
		r.want("a watermark 10; out watermark 10")
		r.control(0, 0, idle)
		r.want("out idle")
		// A record that is filtered out must tell all the same that the task is
		// active: what is behind would go on without it.
		r.put(0, 0, 100)
		r.want("a receive [100]; out watermark 10")
		r.put(0, 0, 100)
		r.want("a receive [100]")
		r.control(0, 0, idle)
		r.want("out idle")
		r.control(0, 1, flow.Watermark(7))
		r.want("out watermark 10")
		r.control(0, 1, flow.Watermark(12))
		r.want("a watermark 12; out watermark 12")
		r.control(0, 1, idle)
		r.want("out idle")
		r.control(0, 1, flow.Watermark(13), end)
		r.want("a watermark 13; out watermark 13; out watermark 13; out idle")
		r.control(0, 0, end)
		r.want("out watermark 13; a end 0; out end; drained")
		r.Cancel()
		<-r.done
	})
	inBubble(t, "the one that held back stays idle", func(t *testing.T) {
		r := newRig(t, "a", nil, 2).run()
		r.take()
		r.control(0, 0, flow.Watermark(5))
		r.control(0, 1, flow.Watermark(10))
		r.want("a watermark 5; out watermark 5")
		r.put(0, 1, 11)
		r.control(0, 1, idle)
		r.want("a receive [11]; out [11]")
		r.control(0, 0, idle)
		r.want("out idle")
		r.put(0, 1, 11)
		r.want("a receive [11]; out [11]; a watermark 10; out watermark 10; out watermark 10")
		r.Cancel()
		<-r.done
	})
}

// A task is not idle while one of its operators holds records: behind its idleness
// they would be late.
func TestIdlenessWaitsForHeldRecords(t *testing.T) {
	inBubble(t, "held", func(t *testing.T) {
		r := newRig(t, "a b", nil, 1)
		k := &keeper{probe: r.probes[0]}
		r.nodes[0].op = k
		r.run()
		r.take()
		r.control(0, 0, flow.Watermark(5))
		r.want("a watermark 5; b watermark 5; out watermark 5")
		r.Mail(func() error { k.kept = []int{7}; return nil })
		r.control(0, 0, idle)
		r.want("")
		r.Mail(func() error { defer func() { k.kept = nil }(); return k.out.Send(&flow.Batch[int]{Values: k.kept}) })
		r.want("b receive [7]; out [7]; out idle")
		r.Mail(func() error { return nil })
		r.want("")
		r.Cancel()
		<-r.done
	})
}

// What a timer sends makes inputs behind an idle task active: they must be told
// again that it is idle, or event time waits for it.
func TestIdlenessIsToldAgainBehindTimers(t *testing.T) {
	inBubble(t, "timer", func(t *testing.T) {
		r := newRig(t, "a", nil, 1).run()
		r.take()
		r.control(0, 0, idle)
		r.want("out idle")
		r.probes[0].on = func(call string) error {
			if call != "time" {
				return nil
			}
			return r.probes[0].out.Send(&flow.Batch[int]{Values: []int{1}})
		}
		r.Mail(func() error { r.WakeAt(r.probes[0], 1000); return nil })
		synctest.Wait()
		time.Sleep(time.Millisecond)
		r.want("a time 1000; out [1]; out idle")
		r.Cancel()
		<-r.done
	})
}

// keeper holds what kept says.
type keeper struct {
	*probe
	kept []int
}

func (k *keeper) Holding() bool { return len(k.kept) > 0 }

func TestHeldWatermarks(t *testing.T) {
	inBubble(t, "held", func(t *testing.T) {
		r := newRig(t, "a b", nil, 1)
		h := &holder{probe: r.probes[0]}
		r.nodes[0].op = h
		r.run()
		r.take()
		r.control(0, 0, flow.Watermark(5))
		r.want("a watermark 5")
		r.Mail(func() error { return r.Advance(h, 3) })
		r.want("b watermark 3; out watermark 3")
		r.Mail(func() error { return r.Advance(h, 2) })
		r.want("")
		r.Cancel()
		<-r.done
	})
}

// holder keeps watermarks back.
type holder struct{ *probe }

func (h *holder) Watermark(t flow.Time) (flow.Time, error) {
	_, err := h.probe.Watermark(t)
	return flow.MinTime, err
}

func TestTimers(t *testing.T) {
	inBubble(t, "timers", func(t *testing.T) {
		r := newRig(t, "a b", nil, 1)
		a, b := r.probes[0], r.probes[1]
		again := 0
		a.on = func(call string) error {
			switch {
			case call == "open":
				r.WakeAt(a, 5_000_000)
				r.WakeAt(a, 9_000_000) // later: not kept
			case call == "time" && again == 0:
				again++
				r.WakeAt(a, 5_000_000) // due already
				r.WakeAt(a, 7_000_000)
			}
			return nil
		}
		r.run()
		r.want("a open; b open; running")
		time.Sleep(4999 * time.Millisecond)
		r.want("")
		time.Sleep(time.Millisecond)
		r.want("a time 5000000; a time 5000000")
		r.Mail(func() error { r.WakeAt(b, 6_000_000); r.WakeAt(b, 5_500_000); return nil })
		time.Sleep(10 * time.Second)
		r.want("b time 5500000")
		// Beyond what a Duration holds.
		r.Mail(func() error { r.WakeAt(a, flow.MaxTime-1); return nil })
		time.Sleep(48 * time.Hour)
		r.want("")
		// Nothing may come after the end of input.
		r.Mail(func() error { r.WakeAt(b, r.Now()+1000); return nil })
		r.control(0, 0, end)
		r.want("a end 0; b end 0; out end; drained")
		time.Sleep(time.Hour)
		r.want("")
		r.Cancel()
		<-r.done
	})
}

func TestNoCredit(t *testing.T) {
	inBubble(t, "gates", func(t *testing.T) {
		r := newRig(t, "a", nil, 1)
		r.tape.setDry(true)
		r.run()
		r.take()
		r.put(0, 0, 1)
		r.want("")
		r.Mail(func() error { r.add("mail"); return nil })
		r.Committed(1)
		r.want("mail; a committed 1")
		r.tape.setDry(false)
		r.want("a receive [1]; out [1]")
		r.Cancel()
		<-r.done
	})
	// A source whose time to read has come while there is no credit must sleep, and
	// not turn in its loop: in a bubble time would stand still.
	inBubble(t, "source", func(t *testing.T) {
		f := &fakeSource{}
		r := newRig(t, "", func(r *rig) operator.Operator { f.j = r.journal; return f })
		f.pulls = []operator.Pulled{{Status: operator.WaitUntil(1_000_000), Watermark: flow.MinTime}}
		r.run()
		r.want("running; pull")
		r.tape.setDry(true)
		time.Sleep(time.Minute)
		r.want("")
		r.tape.setDry(false)
		r.want("pull")
		r.Cancel()
		<-r.done
	})
}

// fakeSource returns what it is told to.
type fakeSource struct {
	operator.Base
	j     *journal
	out   operator.Output[int]
	pulls []operator.Pulled
	fail  error
	// splits are those in hand.
	splits []operator.Split
}

func (f *fakeSource) Outlet(flow.Outlet) operator.Attacher { return &f.out }
func (f *fakeSource) AddSplit(operator.Split) error        { return f.fail }
func (f *fakeSource) NoMoreSplits() error                  { return nil }
func (f *fakeSource) NoSplitYet() error                    { return nil }
func (f *fakeSource) Align(string, flow.Time) error        { return nil }
func (f *fakeSource) Stop() error                          { return nil }
func (f *fakeSource) Where() string                        { panic("nowhere") }
func (f *fakeSource) Splits() ([]operator.Split, error)    { return f.splits, nil }
func (f *fakeSource) Pull() (operator.Pulled, error) {
	f.j.add("pull")
	p := operator.Pulled{Status: operator.WaitForWake, Watermark: flow.MinTime}
	if len(f.pulls) > 0 {
		p, f.pulls = f.pulls[0], f.pulls[1:]
	}
	if p.Worked {
		b := flow.Batch[int]{Values: []int{1}}
		if err := f.out.Send(&b); err != nil {
			return p, err
		}
	}
	return p, f.fail
}

func TestSource(t *testing.T) {
	wait := operator.WaitForWake
	inBubble(t, "idle", func(t *testing.T) {
		f := &fakeSource{}
		r := newRig(t, "a", func(r *rig) operator.Operator { f.j = r.journal; return f })
		r.probes[0].keep = func(int) bool { return false }
		// The watermark that comes with the idleness must not be lost, nor undo it.
		f.pulls = []operator.Pulled{{Status: wait, Watermark: 5, Idle: true}}
		r.run()
		r.want("a open; running; pull; a watermark 5; out watermark 5; out idle")
		f.pulls = []operator.Pulled{{Status: wait, Watermark: 5, Idle: true}}
		r.Wake()
		r.want("pull")
		f.pulls = []operator.Pulled{{Status: wait, Watermark: 5, Worked: true}}
		r.Wake()
		r.want("pull; a receive [1]; out watermark 5")
		f.pulls = []operator.Pulled{{Status: wait, Watermark: 5, Idle: true}}
		r.Wake()
		r.want("pull; out idle")
		f.pulls = []operator.Pulled{{Status: wait, Watermark: 6, Idle: true, Worked: true}}
		r.Wake()
		r.want("pull; a receive [1]; a watermark 6; out watermark 6; out idle")
		f.pulls = []operator.Pulled{{Ended: true, Drained: true}}
		r.NoMoreSplits()
		r.want("pull; a watermark 9223372036854775807; out watermark max; a end 0; out end; drained")
		r.Wake()
		r.AddSplits([]operator.Split{{ID: "late"}})
		r.want("")
		r.InjectBarrier(flow.Barrier{Epoch: 1, Kind: flow.BarrierFinal})
		r.InjectBarrier(flow.Barrier{Epoch: 1, Kind: flow.BarrierFinal})
		r.want("a barrier 1; out final 1; ack 1 [a@1]")
		if err := r.end(); err != nil {
			t.Error(err)
		}
	})
	inBubble(t, "stopped", func(t *testing.T) {
		f := &fakeSource{}
		r := newRig(t, "a", func(r *rig) operator.Operator { f.j = r.journal; return f })
		f.pulls = []operator.Pulled{{Status: operator.More, Watermark: 3}, {Ended: true, Watermark: 4}}
		r.run()
		r.want("a open; running; pull; a watermark 3; out watermark 3; pull; a watermark 4; out watermark 4; a end 0; out end; drained")
		r.Cancel()
		<-r.done
	})
}
