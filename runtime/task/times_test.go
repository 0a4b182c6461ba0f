package task

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
)

// TestTimes tells what a task's time goes into.
func TestTimes(t *testing.T) {
	const s = time.Second
	inBubble(t, "of records", func(t *testing.T) {
		r := newRig(t, "a b", nil, 1)
		ready := false
		r.probes[1].on = func(call string) error {
			switch call {
			case "open":
				time.Sleep(7 * s) // not a part of it
			case "receive":
				time.Sleep(2 * s)
			case "watermark":
				r.Task.WakeAt(r.probes[1], flow.Time(time.Since(r.start).Microseconds())+flow.Time(4*s/time.Microsecond))
			case "committed":
				time.AfterFunc(s, func() { r.Mail(func() error { ready = true; return nil }) })
				return r.Task.Yield(func() bool { return ready })
			}
			return nil
		}
		want := func(busy, idle, backpressured time.Duration) {
			t.Helper()
			synctest.Wait()
			for _, n := range r.nodes {
				if got, want := n.ctx.Metrics.Task.Times(time.Now()), (obs.Times{Busy: busy, Idle: idle, Backpressured: backpressured}); got != want {
					t.Errorf("%s: %+v, want %+v", n.spec.Name, got, want)
				}
			}
		}
		r.run()
		want(0, 0, 0)
		time.Sleep(7*s + s)
		want(0, s, 0)
		r.put(0, 0, 1)
		time.Sleep(s)
		want(s, s, 0)
		time.Sleep(3 * s)
		want(2*s, 3*s, 0)
		r.control(0, 0, flow.Watermark(5)) // it sleeps until a time
		time.Sleep(3 * s)
		want(2*s, 6*s, 0)
		time.Sleep(3 * s)
		want(2*s, 9*s, 0)
		r.tape.setDry(true)
		r.put(0, 0, 2)
		time.Sleep(5 * s)
		want(2*s, 9*s, 5*s)
		r.Committed(1) // a second of work, that waits for mail
		time.Sleep(2 * s)
		want(3*s, 9*s, 6*s)
		r.tape.setDry(false)
		time.Sleep(3 * s)
		want(5*s, 10*s, 6*s)
		if err := r.end(); err != nil {
			t.Error(err)
		}
		time.Sleep(s)
		want(5*s, 10*s, 6*s)
	})
}
