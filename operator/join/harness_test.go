package join

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state/memory"
)

// TestMain asks for more cases than rapid's hundred: one takes a millisecond at most.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "600"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// lrec and rrec are the records of the two sides.
type lrec struct {
	Key int
	At  flow.Time
	ID  int
}

type rrec struct {
	Key  int
	At   flow.Time
	ID   int
	Ends bool
}

func keyOf[T any](of func(T) int) operator.Key[T, int] {
	k, err := operator.NewKey(of)
	if err != nil {
		panic(err)
	}
	return k
}

func testKeys() Keys[int, lrec, rrec] {
	return Keys[int, lrec, rrec]{Left: keyOf(func(l lrec) int { return l.Key }), Right: keyOf(func(r rrec) int { return r.Key })}
}

func show(p Pair[lrec, rrec]) string {
	s := "+"
	if p.Retract {
		s = "-"
	}
	l, r := "nil", "nil"
	if p.HasLeft {
		l = fmt.Sprint(p.Left.ID)
	}
	if p.HasRight {
		r = fmt.Sprint(p.Right.ID)
	}
	return s + l + "," + r
}

type collector[T any] struct {
	vals  []T
	times []flow.Time
}

func (c *collector[T]) Receive(b *flow.Batch[T]) error {
	for i, v := range b.Values {
		c.vals = append(c.vals, v)
		c.times = append(c.times, b.Time(i))
	}
	return nil
}

type fakeTask struct{ operator.Task }

func (fakeTask) Context() context.Context                 { return context.Background() }
func (fakeTask) Now() flow.Time                           { return 0 }
func (fakeTask) WakeAt(op operator.Operator, t flow.Time) {}

// drive drives a join by hand.
type drive struct {
	t     testing.TB
	op    operator.Operator
	left  operator.Receiver[lrec]
	right operator.Receiver[rrec]
	out   collector[string]
	lateL collector[lrec]
	lateR collector[rrec]
	store *memory.Store
	stats obs.Operator
	clock flow.Time
	again func() (operator.Operator, error)
}

// newDrive drives what again makes, and makes again after restarts.
func newDrive(t testing.TB, again func() (operator.Operator, error)) *drive {
	t.Helper()
	d := &drive{t: t, store: memory.New(memory.Options{}), clock: flow.MinTime, again: again}
	d.start()
	return d
}

func (d *drive) start() {
	d.t.Helper()
	t := d.t
	op, err := d.again()
	if err != nil {
		t.Fatal(err)
	}
	d.op = op
	for o, r := range []any{&d.out, &d.lateL, &d.lateR} {
		if err := op.Outlet(flow.Outlet(o)).Attach(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := op.Open(&operator.Context{Operator: "j", Name: "joined", BatchSize: 3, MaxParallelism: 128,
		KeyGroups: flow.KeyGroupRange{End: 128}, State: d.store, Metrics: &d.stats, Task: fakeTask{}}); err != nil {
		t.Fatal(err)
	}
	d.left = op.Inlet(0).(operator.Receiver[lrec])
	d.right = op.Inlet(1).(operator.Receiver[rrec])
}

// restart goes on from a snapshot with a new operator.
func (d *drive) restart() {
	d.t.Helper()
	if _, err := d.op.Barrier(flow.Barrier{Epoch: 1}); err != nil {
		d.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := d.store.Snapshot(&b); err != nil {
		d.t.Fatal(err)
	}
	d.store = memory.New(memory.Options{})
	if err := d.store.Read(&b); err != nil {
		d.t.Fatal(err)
	}
	d.start()
}

func (d *drive) sendLeft(ls ...lrec) {
	d.t.Helper()
	var b flow.Batch[lrec]
	for _, l := range ls {
		b.Append(l, l.At)
	}
	if err := d.left.Receive(&b); err != nil {
		d.t.Fatal(err)
	}
}

func (d *drive) sendRight(rs ...rrec) {
	d.t.Helper()
	var b flow.Batch[rrec]
	for _, r := range rs {
		b.Append(r, r.At)
	}
	if err := d.right.Receive(&b); err != nil {
		d.t.Fatal(err)
	}
}

// watermark checks as well that no result was late behind the operator.
func (d *drive) watermark(t flow.Time) {
	d.t.Helper()
	if got, err := d.op.Watermark(t); err != nil || got != t {
		d.t.Fatalf("watermark %v: %v, %v", t, got, err)
	}
	for i, at := range d.out.times {
		if at <= d.clock {
			d.t.Fatalf("%s has time %d after watermark %d", d.out.vals[i], at, d.clock)
		}
	}
	d.out.times = make([]flow.Time, len(d.out.times))
	for i := range d.out.times {
		d.out.times[i] = flow.MaxTime
	}
	d.clock = t
}

// input is all that a random run has sent.
type input struct {
	left  []lrec // without late ones
	right []rrec
	lateL []lrec
	lateR []rrec
}

// run drives a join at random. Records come up to spread before the newest
// watermark or none, if spread is 0.
func (d *drive) run(rt *rapid.T, spread int) (in input) {
	now, id := flow.Time(0), 0
	d.watermark(0)
	at := func() flow.Time { return now + flow.Time(rapid.IntRange(1-spread, 20).Draw(rt, "at")) }
	for range rapid.IntRange(1, 20).Draw(rt, "steps") {
		n := rapid.IntRange(0, 5).Draw(rt, "batch")
		switch rapid.IntRange(0, 8).Draw(rt, "step") % 4 {
		case 3:
			d.restart()
		case 0:
			now += flow.Time(rapid.SampledFrom([]int{0, 1, 2, 5, 9, 40}).Draw(rt, "advance"))
			d.watermark(now)
		case 1:
			var b []lrec
			for range n {
				id++
				l := lrec{rapid.IntRange(0, 2).Draw(rt, "key"), at(), id}
				if b = append(b, l); l.At > now {
					in.left = append(in.left, l)
				} else {
					in.lateL = append(in.lateL, l)
				}
			}
			d.sendLeft(b...)
		case 2:
			var b []rrec
			for range n {
				id++
				r := rrec{rapid.IntRange(0, 2).Draw(rt, "key"), at(), id, rapid.IntRange(0, 4).Draw(rt, "ends") == 0}
				if b = append(b, r); r.At > now {
					in.right = append(in.right, r)
				} else {
					in.lateR = append(in.lateR, r)
				}
			}
			d.sendRight(b...)
		}
	}
	return in
}

// tester is what testing.TB and *rapid.T have in common.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// same compares results without regard to their order.
func same[T cmp.Ordered](t tester, what string, got, want []T) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%s\n got %v\nwant %v", what, got, want)
	}
}
