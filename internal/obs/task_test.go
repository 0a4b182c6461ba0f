package obs_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/obs"
)

func TestTaskTimes(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	const s = time.Second
	var c obs.Task
	want := func(now int, busy, idle, backpressured time.Duration) {
		t.Helper()
		if got, want := c.Times(at(now)), (obs.Times{Busy: busy, Idle: idle, Backpressured: backpressured}); got != want {
			t.Errorf("at %d: %+v, want %+v", now, got, want)
		}
	}
	c.Wait(at(0), false)
	want(1, 0, 0, 0) // it has not begun
	c.Begin(at(1))
	want(3, 2*s, 0, 0)
	c.Wait(at(4), false)
	want(9, 3*s, 5*s, 0) // a wait that goes on counts
	want(2, 3*s, 0, 0)   // seen from before it
	c.Work(at(10))
	c.Wait(at(11), true)
	want(13, 4*s, 6*s, 2*s)
	c.Work(at(15))
	c.End(at(17))
	want(99, 6*s, 6*s, 4*s)
	c.Work(at(100))
	want(101, 6*s, 6*s, 4*s)
	if got := c.Times(at(17)).Sub(obs.Times{Busy: s, Idle: 2 * s}); got != (obs.Times{Busy: 5 * s, Idle: 4 * s, Backpressured: 4 * s}) || got.All() != 13*s {
		t.Errorf("%+v", got)
	}
}

// TestTaskTimesAddUp says anything to a task: no time is lost or counted twice.
func TestTaskTimesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Unix(1000, 0)
		now := start
		var c obs.Task
		c.Begin(start)
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1000).Draw(t, "passes")))
			if rapid.Bool().Draw(t, "waits") {
				c.Wait(now, rapid.Bool().Draw(t, "backpressured"))
			} else {
				c.Work(now)
			}
			if got := c.Times(now).All(); got != now.Sub(start) {
				t.Fatalf("%v of %v", got, now.Sub(start))
			}
		}
	})
}
