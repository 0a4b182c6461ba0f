package window

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state/memory"
)

// rec is a record of the tests: a key, a time, and an identity.
type rec struct {
	Key int
	At  flow.Time
	ID  int
	Gap flow.Time
}

func (r rec) String() string { return fmt.Sprintf("%d@%d#%d", r.Key, r.At, r.ID) }

// ids is an accumulator that loses nothing, so that a test sees every mistake.
type ids struct {
	List []int `msgpack:"l"`
}

func idAggregator() Aggregator[rec, ids, string] {
	return Aggregator[rec, ids, string]{
		Add:   func(a *ids, r rec) { a.List = append(a.List, r.ID) },
		Merge: func(into, from *ids) { into.List = append(into.List, from.List...) },
		Result: func(a *ids) string {
			slices.Sort(a.List) // allowed: it does not change what the accumulator means
			return fmt.Sprint(a.List)
		},
	}
}

func testConfig(s Spec) Config[int, rec] {
	key, err := operator.NewKey(func(r rec) int { return r.Key })
	if err != nil {
		panic(err)
	}
	c := Config[int, rec]{Spec: s, Key: key}
	if s.Assigner.Dynamic {
		c.Gap = func(r rec) (d duration) { return duration(r.Gap) * micro }
	}
	return c
}

// collector receives what an operator sends.
type collector[T any] struct {
	vals  []T
	times []flow.Time
	fail  error
}

func (c *collector[T]) Receive(b *flow.Batch[T]) error {
	for i, v := range b.Values {
		c.vals = append(c.vals, v)
		c.times = append(c.times, b.Time(i))
	}
	return c.fail
}

func (c *collector[T]) take() ([]T, []flow.Time) {
	v, t := c.vals, c.times
	c.vals, c.times = nil, nil
	return v, t
}

// fakeTask is a task with a clock that the test moves.
type fakeTask struct {
	operator.Task
	now   flow.Time
	asked flow.Time
	op    operator.Operator
}

func (f *fakeTask) Context() context.Context { return context.Background() }
func (f *fakeTask) Now() flow.Time           { return f.now }
func (f *fakeTask) WakeAt(op operator.Operator, t flow.Time) {
	if op != f.op {
		panic("WakeAt for another operator")
	}
	f.asked = min(f.asked, t)
}

// bench drives one operator by hand.
type drive[In, R any] struct {
	op   operator.Operator
	in   operator.Receiver[In]
	task *fakeTask
	ctx  *operator.Context
	out  collector[R]
	late collector[In]
}

func newDrive[In, R any](t testing.TB, op operator.Operator, err error) *drive[In, R] {
	t.Helper()
	return newDriveOn[In, R](t, op, err, memory.New(memory.Options{}))
}

func newDriveOn[In, R any](t testing.TB, op operator.Operator, err error, store *memory.Store) *drive[In, R] {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	d := &drive[In, R]{op: op, task: &fakeTask{op: op, asked: flow.MaxTime}}
	d.ctx = &operator.Context{Operator: "w", Name: "windows", BatchSize: 3, MaxParallelism: 128, Parallelism: 1,
		KeyGroups: flow.KeyGroupRange{End: 128}, State: store, Metrics: &obs.Operator{}, Task: d.task}
	if err := op.Outlet(0).Attach(&d.out); err != nil {
		t.Fatal(err)
	}
	if err := op.Outlet(LateOutlet).Attach(&d.late); err != nil {
		t.Fatal(err)
	}
	if err := op.Open(d.ctx); err != nil {
		t.Fatal(err)
	}
	d.in = op.Inlet(0).(operator.Receiver[In])
	return d
}

func (d *drive[In, R]) watermark(t testing.TB, at flow.Time) {
	t.Helper()
	got, err := d.op.Watermark(at)
	if err != nil || got != at {
		t.Fatalf("watermark %v: %v, %v", at, got, err)
	}
}

// clock moves the processing time and calls the operator if it asked for it.
func (d *drive[In, R]) clock(t testing.TB, now flow.Time) {
	t.Helper()
	for d.task.asked <= now {
		d.task.now = max(d.task.now, d.task.asked)
		d.task.asked = flow.MaxTime
		if err := d.op.ProcessingTime(d.task.now); err != nil {
			t.Fatal(err)
		}
	}
	d.task.now = now
}

func send(t testing.TB, d interface {
	receive(*flow.Batch[rec]) error
}, recs ...rec) {
	t.Helper()
	var b flow.Batch[rec]
	for _, r := range recs {
		b.Append(r, r.At)
	}
	if err := d.receive(&b); err != nil {
		t.Fatal(err)
	}
}

// restart ends an epoch and gives the state to go on from.
func (d *drive[In, R]) restart(t testing.TB) *memory.Store {
	t.Helper()
	if _, err := d.op.Barrier(flow.Barrier{Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := d.ctx.State.(*memory.Store).Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	store := memory.New(memory.Options{})
	if err := store.Read(&b); err != nil {
		t.Fatal(err)
	}
	return store
}

func (d *drive[In, R]) receive(b *flow.Batch[In]) error { return d.in.Receive(b) }

var errBroken = errors.New("broken pipe")
