package operator

import (
	"context"
	"log/slog"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/state/memory"
)

// collector receives what an operator sends.
type collector[T any] struct {
	vals    []T
	times   []flow.Time
	batches int
	fail    error
}

func (c *collector[T]) Receive(b *flow.Batch[T]) error {
	c.batches++
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
	Task
	now   flow.Time
	asked flow.Time
}

func (f *fakeTask) Context() context.Context         { return context.Background() }
func (f *fakeTask) Now() flow.Time                   { return f.now }
func (f *fakeTask) WakeAt(op Operator, at flow.Time) { f.asked = min(f.asked, at) }

// drive runs one operator by hand.
type drive[Out any] struct {
	testing.TB
	op   Operator
	task *fakeTask
	ctx  *Context
	out  collector[Out]
}

func newDrive[Out any](t testing.TB, op Operator) *drive[Out] {
	t.Helper()
	d := &drive[Out]{TB: t, op: op, task: &fakeTask{asked: flow.MaxTime}}
	d.ctx = &Context{Operator: "op", Name: "the operator", BatchSize: 3, MaxParallelism: 128, Parallelism: 1,
		KeyGroups: flow.KeyGroupRange{End: 128}, State: memory.New(memory.Options{}), Metrics: &obs.Operator{},
		Log: slog.New(slog.DiscardHandler), Task: d.task}
	if err := op.Outlet(0).Attach(&d.out); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *drive[Out]) open() *drive[Out] {
	d.Helper()
	if err := d.op.Open(d.ctx); err != nil {
		d.Fatal(err)
	}
	return d
}

// watermark moves event time.
func (d *drive[Out]) watermark(at flow.Time) {
	d.Helper()
	if got, err := d.op.Watermark(at); err != nil || got != at {
		d.Fatalf("watermark %v: %v, %v", at, got, err)
	}
}

// clock moves processing time, and calls the operator if it asked for it.
func (d *drive[Out]) clock(now flow.Time) {
	d.Helper()
	for d.task.asked <= now {
		d.task.now = max(d.task.now, d.task.asked)
		d.task.asked = flow.MaxTime
		if err := d.op.ProcessingTime(d.task.now); err != nil {
			d.Fatal(err)
		}
	}
	d.task.now = now
}

// rec is a value with an event time.
type rec[T any] struct {
	v T
	t flow.Time
}

func at[T any](t flow.Time, v T) rec[T] { return rec[T]{v, t} }

// send hands one batch to a port.
func send[In, Out any](d *drive[Out], p flow.Port, recs ...rec[In]) {
	d.Helper()
	var b flow.Batch[In]
	for _, r := range recs {
		b.Append(r.v, r.t)
	}
	if err := d.op.Inlet(p).(Receiver[In]).Receive(&b); err != nil {
		d.Fatal(err)
	}
}

// sendValues hands over one batch of records without a time.
func sendValues[In, Out any](d *drive[Out], p flow.Port, vals ...In) {
	d.Helper()
	if err := d.op.Inlet(p).(Receiver[In]).Receive(&flow.Batch[In]{Values: vals}); err != nil {
		d.Fatal(err)
	}
}

func mustKey[T any, K comparable](t testing.TB, of func(T) K) Key[T, K] {
	t.Helper()
	k, err := NewKey(of)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
