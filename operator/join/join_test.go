package join

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/operator/window"
)

const micro = time.Microsecond

func drawDuration(rt *rapid.T, name string, lo, hi int) time.Duration {
	return time.Duration(rapid.IntRange(lo, hi).Draw(rt, name)) * micro
}

func TestIntervalSameAsNaive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		lower := drawDuration(rt, "lower", -20, 20)
		upper := lower + drawDuration(rt, "width", 0, 20)
		d := newDrive(t, func() (operator.Operator, error) {
			return NewInterval(Interval[int, lrec, rrec]{Keys: testKeys(), Lower: lower, Upper: upper},
				func(l lrec, r rrec) string { return show(both(l, r)) })
		})
		in := d.run(rt, 10)
		var want []string
		for _, l := range in.left {
			for _, r := range in.right {
				if gap := r.At - l.At; l.Key == r.Key && flow.Span(lower) <= gap && gap <= flow.Span(upper) {
					want = append(want, show(both(l, r)))
				}
			}
		}
		same(rt, "pairs", d.out.vals, want)
		if !slices.Equal(d.lateL.vals, in.lateL) || !slices.Equal(d.lateR.vals, in.lateR) {
			rt.Fatalf("late %v %v, want %v %v", d.lateL.vals, d.lateR.vals, in.lateL, in.lateR)
		}
		if n := d.stats.Late.Load(); n != int64(len(in.lateL)+len(in.lateR)) {
			rt.Fatalf("%d late counted", n)
		}
		d.watermark(flow.MaxTime)
		if o := d.op.(*interval[int, lrec, rrec, string]); o.cells.Len()+o.timers.Len() != 0 {
			rt.Fatalf("%d values and %d timers are left", o.cells.Len(), o.timers.Len())
		}
	})
}

func TestTemporalSameAsNaive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kind := Kind(rapid.IntRange(0, 1).Draw(rt, "kind"))
		d := newDrive(t, func() (operator.Operator, error) {
			return NewTemporal(Temporal[int, lrec, rrec]{Keys: testKeys(), Kind: kind, Ends: func(r rrec) bool { return r.Ends }}, show)
		})
		in := d.run(rt, 0)
		d.watermark(1 << 40)
		var want []string
		for _, l := range in.left {
			var best *rrec
			for i := range in.right {
				if r := &in.right[i]; r.Key == l.Key && r.At <= l.At && (best == nil || r.At >= best.At) {
					best = r
				}
			}
			switch {
			case best != nil && !best.Ends:
				want = append(want, show(both(l, *best)))
			case kind == Left:
				want = append(want, show(onlyLeft[lrec, rrec](l)))
			}
		}
		same(rt, "pairs", d.out.vals, want)
		o := d.op.(*temporal[int, lrec, rrec, string])
		o.cells.Each(func(_ flow.Hash, k int, _ struct{}, s *history[lrec, rrec]) bool {
			if len(s.Waiting) != 0 || len(s.Versions) != 1 {
				rt.Fatalf("key %d keeps %+v", k, *s)
			}
			return true
		})
		if o.timers.Len() != 0 {
			rt.Fatalf("%d timers are left", o.timers.Len())
		}
	})
}

func TestTemporalLate(t *testing.T) {
	d := newDrive(t, func() (operator.Operator, error) {
		return NewTemporal(Temporal[int, lrec, rrec]{Keys: testKeys(), Kind: Left}, show)
	})
	d.sendRight(rrec{Key: 1, At: 10, ID: 1}, rrec{Key: 1, At: 20, ID: 2})
	d.sendLeft(lrec{1, 15, 3})
	d.watermark(15)
	d.sendRight(rrec{Key: 1, At: 12, ID: 4}) // late: holds from 12 to 20
	d.sendLeft(lrec{1, 18, 5}, lrec{1, 14, 6}, lrec{2, 30, 7})
	d.watermark(40)
	same(t, "pairs", d.out.vals, []string{"+3,1", "+5,4", "+7,nil"})
	if len(d.lateL.vals) != 1 || d.lateL.vals[0].ID != 6 || d.stats.Late.Load() != 2 {
		t.Fatalf("late %v, %d counted", d.lateL.vals, d.stats.Late.Load())
	}
}

func TestRegularSameAsNaive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kind := Kind(rapid.IntRange(0, 2).Draw(rt, "kind"))
		d := newDrive(t, func() (operator.Operator, error) {
			return NewRegular(Regular[int, lrec, rrec]{Keys: testKeys(), Kind: kind}, show)
		})
		in := d.run(rt, 0)
		var want []string
		metL, metR := map[int]bool{}, map[int]bool{}
		for _, l := range in.left {
			for _, r := range in.right {
				if l.Key == r.Key {
					want = append(want, show(both(l, r)))
					metL[l.ID], metR[r.ID] = true, true
				}
			}
			if !metL[l.ID] && kind.keepsLeft() {
				want = append(want, show(onlyLeft[lrec, rrec](l)))
			}
		}
		for _, r := range in.right {
			if !metR[r.ID] && kind.keepsRight() {
				want = append(want, show(onlyRight[lrec](r)))
			}
		}
		// A retraction takes back what is there, and never something else.
		var held []string
		for _, p := range d.out.vals {
			if p[0] == '+' {
				held = append(held, p)
				continue
			}
			i := slices.Index(held, "+"+p[1:])
			if i < 0 {
				rt.Fatalf("%s takes back what was never given: %v", p, d.out.vals)
			}
			held = slices.Delete(held, i, i+1)
		}
		same(rt, "pairs", held, want)
	})
}

func TestWindowSameAsNaive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kind := Kind(rapid.IntRange(0, 2).Draw(rt, "kind"))
		size, slide := drawDuration(rt, "size", 1, 12), drawDuration(rt, "slide", 1, 6)
		a := rapid.SampledFrom([]window.Assigner{window.Tumbling(size), window.Sliding(size, slide), window.Session(size), window.Global()}).Draw(rt, "windows")
		d := newDrive(t, func() (operator.Operator, error) {
			return NewWindow(Window[int, lrec, rrec]{Keys: testKeys(), Kind: kind, Assigner: a},
				func(w window.Window, p Pair[lrec, rrec]) string { return fmt.Sprint(w, show(p)) })
		})
		in := d.run(rt, 0)
		d.watermark(flow.MaxTime)
		var want []string
		for key := range 3 {
			var ls []lrec
			var rs []rrec
			var times []flow.Time
			for _, l := range in.left {
				if l.Key == key {
					ls, times = append(ls, l), append(times, l.At)
				}
			}
			for _, r := range in.right {
				if r.Key == key {
					rs, times = append(rs, r), append(times, r.At)
				}
			}
			for _, w := range windowsOf(a, times) {
				inL := slices.DeleteFunc(slices.Clone(ls), func(l lrec) bool { return !w.Contains(l.At) })
				inR := slices.DeleteFunc(slices.Clone(rs), func(r rrec) bool { return !w.Contains(r.At) })
				for _, l := range inL {
					for _, r := range inR {
						want = append(want, fmt.Sprint(w, show(both(l, r))))
					}
					if len(inR) == 0 && kind.keepsLeft() {
						want = append(want, fmt.Sprint(w, show(onlyLeft[lrec, rrec](l))))
					}
				}
				for _, r := range inR {
					if len(inL) == 0 && kind.keepsRight() {
						want = append(want, fmt.Sprint(w, show(onlyRight[lrec](r))))
					}
				}
			}
		}
		same(rt, "pairs", d.out.vals, want)
	})
}

// windowsOf are the windows that any of the times is in.
func windowsOf(a window.Assigner, times []flow.Time) (ws []window.Window) {
	slices.Sort(times)
	size, slide := flow.Span(a.Size), flow.Span(a.Slide)
	seen := map[window.Window]bool{}
	add := func(w window.Window) {
		if !seen[w] {
			seen[w] = true
			ws = append(ws, w)
		}
	}
	for i, t := range times {
		switch a.Kind {
		case window.KindGlobal:
			add(window.All)
		case window.KindSession:
			if i > 0 && t < ws[len(ws)-1].End {
				ws[len(ws)-1].End = t + size
			} else {
				ws = append(ws, window.Window{Start: t, End: t + size})
			}
		case window.KindTumbling:
			slide = size
			fallthrough
		default:
			for s := (t - size).FloorTo(slide, 0); s <= t; s += slide {
				if w := (window.Window{Start: s, End: s + size}); w.Contains(t) {
					add(w)
				}
			}
		}
	}
	return ws
}

func TestWindowLate(t *testing.T) {
	d := newDrive(t, func() (operator.Operator, error) {
		return NewWindow(Window[int, lrec, rrec]{Keys: testKeys(), Assigner: window.Tumbling(10 * micro)},
			func(w window.Window, p Pair[lrec, rrec]) string { return show(p) })
	})
	d.sendLeft(lrec{1, 1, 1})
	d.sendRight(rrec{Key: 1, At: 9, ID: 2})
	d.watermark(9)
	d.sendLeft(lrec{1, 2, 3}, lrec{1, 11, 4})
	d.sendRight(rrec{Key: 1, At: 3, ID: 5}, rrec{Key: 1, At: 4, ID: 6})
	d.watermark(30)
	same(t, "pairs", d.out.vals, []string{"+1,2"})
	if len(d.lateL.vals) != 1 || len(d.lateR.vals) != 2 || d.stats.Late.Load() != 3 {
		t.Fatalf("late %v %v, %d counted", d.lateL.vals, d.lateR.vals, d.stats.Late.Load())
	}
}

func TestRefused(t *testing.T) {
	noKeys := Keys[int, lrec, rrec]{}
	for _, c := range []struct {
		err  func() error
		want string
	}{
		{func() error {
			_, err := NewRegular(Regular[int, lrec, rrec]{Keys: noKeys}, show)
			return err
		}, "no key"},
		{func() error {
			_, err := NewInterval(Interval[int, lrec, rrec]{Keys: testKeys(), Lower: micro}, func(lrec, rrec) int { return 0 })
			return err
		}, "swap the bounds"},
		{func() error {
			_, err := NewTemporal(Temporal[int, lrec, rrec]{Keys: testKeys(), Kind: Full}, show)
			return err
		}, "inner or left"},
		{func() error {
			_, err := NewWindow(Window[int, lrec, rrec]{Keys: testKeys(), Assigner: window.Count(3)}, func(window.Window, Pair[lrec, rrec]) int { return 0 })
			return err
		}, "no join in windows count 3"},
		{func() error {
			_, err := NewRegular(Regular[int, func(), rrec]{Keys: Keys[int, func(), rrec]{Left: keyOf(func(func()) int { return 0 }), Right: testKeys().Right}},
				func(Pair[func(), rrec]) int { return 0 })
			return err
		}, "the left records cannot be kept"},
	} {
		if err := c.err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	d := newDrive(t, func() (operator.Operator, error) {
		return NewInterval(Interval[int, lrec, rrec]{Keys: testKeys()}, func(lrec, rrec) string { return "" })
	})
	if err := d.left.Receive(&flow.Batch[lrec]{Values: make([]lrec, 1)}); err == nil || !strings.Contains(err.Error(), "no event time") {
		t.Errorf("a record without a time: %v", err)
	}
}

// TestPanicNamesRecord checks that the record in hand can be told after a panic.
func TestPanicNamesRecord(t *testing.T) {
	d := newDrive(t, func() (operator.Operator, error) {
		return NewInterval(Interval[int, lrec, rrec]{Keys: testKeys()}, func(lrec, rrec) string { panic("boom") })
	})
	d.sendLeft(lrec{1, 5, 1})
	func() {
		defer func() { _ = recover() }()
		d.sendRight(rrec{Key: 2, At: 5, ID: 2}, rrec{Key: 1, At: 5, ID: 3})
	}()
	got := d.op.(interface{ Failing() string }).Failing()
	if !strings.Contains(got, "right record 2") || !strings.Contains(got, "ID:3") {
		t.Fatalf("failing at %q", got)
	}
}

// TestStateCanBeStored compiles the codecs of all that is kept.
func TestStateCanBeStored(t *testing.T) {
	for _, f := range []func() error{
		func() error { _, err := codec.For[nearby[lrec, rrec]](); return err },
		func() error { _, err := codec.For[history[lrec, rrec]](); return err },
		func() error { _, err := codec.For[met[lrec, rrec]](); return err },
	} {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
}
