package rescale

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestAnything: whatever it is told, a scaler does not panic, stays within its bounds, gives reasons,
// leaves a job alone after a change, and holds few samples.
func TestAnything(t *testing.T) {
	t.Parallel()
	figure := rapid.OneOf(rapid.Float64Range(0, 1.5), rapid.Float64Range(0, 1e7), rapid.SampledFrom([]float64{0, -1, math.NaN(), math.Inf(1)}))
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Min: rapid.IntRange(0, 4).Draw(t, "min"), Max: rapid.IntRange(4, 40).Draw(t, "max"), DownAfter: time.Minute}
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		p, now, changed := rapid.IntRange(1, 50).Draw(t, "p"), int64(0), int64(0)
		wild := rapid.Bool().Draw(t, "wild")
		for range rapid.IntRange(1, 60).Draw(t, "samples") {
			now += rapid.Int64Range(1, 60e6).Draw(t, "time")
			sample := Sample{At: now, Parallelism: p}
			for i := range rapid.IntRange(1, 4).Draw(t, "loads") {
				l := Load{ID: fmt.Sprint(i), Known: rapid.Bool().Draw(t, "known")}
				if i > 0 {
					l.Inputs = []string{fmt.Sprint(rapid.IntRange(0, i-1).Draw(t, "input"))}
				}
				if wild {
					l.In, l.Out, l.Busy, l.Busiest = figure.Draw(t, "in"), figure.Draw(t, "out"), figure.Draw(t, "busy"), figure.Draw(t, "busiest")
					l.Backpressured, l.Backlog, l.Growth = figure.Draw(t, "bp"), figure.Draw(t, "backlog"), figure.Draw(t, "growth")
				} else {
					l.In = rapid.Float64Range(0, 1e6).Draw(t, "in")
					l.Out, l.Busy, l.Backpressured = l.In, rapid.Float64Range(0, 1).Draw(t, "busy"), rapid.Float64Range(0, 1).Draw(t, "bp")
				}
				sample.Loads = append(sample.Loads, l)
			}
			d := s.Observe(sample)
			if d.Reason == "" || d.Change != (d.Parallelism != p) {
				t.Fatalf("%+v at %d", d, p)
			}
			if d.Change {
				if d.Parallelism < max(1, o.Min) || d.Parallelism > o.Max {
					t.Fatalf("%s, between %d and %d", d, o.Min, o.Max)
				}
				if inside := p >= o.Min && p <= o.Max; inside && changed > 0 && now-changed < (30*time.Second).Microseconds() {
					t.Fatalf("%s so soon after the change before", d)
				}
				if rapid.Bool().Draw(t, "do it") {
					p, changed = d.Parallelism, now
				}
			}
			if len(s.window) > maxSeen {
				t.Fatalf("%d samples are held", len(s.window))
			}
		}
	})
}

// TestSettled: at the parallelism that it goes to, under the same load, it stays.
func TestSettled(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s, err := New(Options{Max: 1000})
		if err != nil {
			t.Fatal(err)
		}
		p, changes := rapid.IntRange(1, 50).Draw(t, "p"), 0
		rate := rapid.Float64Range(1, 1e5).Draw(t, "rate")
		capacity := rapid.Float64Range(rate/500, rate*2).Draw(t, "capacity")
		backlog := 0.0
		for now := time.Duration(0); now < 2*time.Hour; now += 5 * time.Second {
			done := min(rate+backlog/5, capacity*float64(p))
			backlog = max(0, backlog+5*(rate-done))
			d := s.Observe(Sample{At: now.Microseconds() + 1, Parallelism: p, Loads: []Load{
				{ID: "src", In: done, Out: done, Busy: 0.01, Known: true, Backlog: backlog, Growth: rate - done},
				{ID: "sum", Inputs: []string{"src"}, In: done, Busy: done / (capacity * float64(p))},
			}})
			if d.Change {
				p = d.Parallelism
				changes++
				t.Logf("%s: %s", now, d)
			}
		}
		if changes > 3 || backlog > rate*5 {
			t.Fatalf("%d changes, a backlog of %g at %d subtasks", changes, backlog, p)
		}
	})
}

func TestWindowIsBounded(t *testing.T) {
	s, err := New(Options{Max: 4})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxSeen {
		s.Observe(Sample{At: int64(i+1) * 20_000 * 10, Parallelism: 4, Loads: []Load{{ID: "a", In: 1, Busy: 0.9}}})
	}
	if len(s.window) > maxSeen || s.window[len(s.window)-1].at <= s.window[0].at {
		t.Errorf("%d samples", len(s.window))
	}
}
