package async

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeTask is a task with a mailbox, run by the test's goroutine.
type fakeTask struct {
	operator.Task
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{}
	mu     sync.Mutex
	mail   []func() error
	log    *[]string
}

func newFakeTask(log *[]string) *fakeTask {
	f := &fakeTask{wake: make(chan struct{}, 1), log: log}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

func (f *fakeTask) Context() context.Context { return f.ctx }
func (f *fakeTask) Now() flow.Time           { return flow.TimeOf(time.Now()) }

func (f *fakeTask) Mail(m func() error) bool {
	f.mu.Lock()
	f.mail = append(f.mail, m)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
	return true
}

func (f *fakeTask) Advance(_ operator.Operator, t flow.Time) error {
	*f.log = append(*f.log, fmt.Sprintf("w%d", int64(t)))
	return nil
}

func (f *fakeTask) Yield(done func() bool) error {
	for !done() {
		if f.ctx.Err() != nil {
			return context.Cause(f.ctx)
		}
		f.mu.Lock()
		mail := f.mail
		f.mail = nil
		f.mu.Unlock()
		for _, m := range mail {
			if err := m(); err != nil {
				return err
			}
		}
		if len(mail) > 0 {
			continue
		}
		select {
		case <-f.wake:
		case <-f.ctx.Done():
		}
	}
	return nil
}

// drive runs one operator by hand. What leaves it is in log: records as they
// print, watermarks as w<time>, refused records as bad(reason).
type drive[In, Out any] struct {
	testing.TB
	op   operator.Operator
	task *fakeTask
	ctx  *operator.Context
	log  []string
	mute bool
}

type receiver[T any] func(b *flow.Batch[T])

func (r receiver[T]) Receive(b *flow.Batch[T]) error { r(b); return nil }

func newDrive[In, Out any](t testing.TB, op operator.Operator) *drive[In, Out] {
	t.Helper()
	d := &drive[In, Out]{TB: t, op: op}
	d.task = newFakeTask(&d.log)
	d.ctx = &operator.Context{Operator: "async", Name: "the calls", BatchSize: 3, Metrics: &obs.Operator{}, Task: d.task,
		Log: slog.New(slog.DiscardHandler)}
	err := op.Outlet(0).Attach(receiver[Out](func(b *flow.Batch[Out]) {
		for i, v := range b.Values {
			if d.mute {
				return
			}
			s := fmt.Sprint(v)
			if at := b.Time(i); at != flow.MinTime {
				s += fmt.Sprintf("@%d", int64(at))
			}
			d.log = append(d.log, s)
		}
	}))
	if err == nil {
		err = op.Outlet(operator.DeadLetter).Attach(receiver[operator.BadRecord](func(b *flow.Batch[operator.BadRecord]) {
			for _, v := range b.Values {
				d.log = append(d.log, fmt.Sprintf("bad(%s: %s: %s)", v.Where, v.Raw, v.Reason))
			}
		}))
	}
	if err == nil {
		err = op.Open(d.ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.task.cancel)
	return d
}

func (d *drive[In, Out]) try(times []flow.Time, vals ...In) error {
	return d.op.Inlet(0).(operator.Receiver[In]).Receive(&flow.Batch[In]{Values: vals, Times: times})
}

func (d *drive[In, Out]) send(vals ...In) {
	d.Helper()
	if err := d.try(nil, vals...); err != nil {
		d.Fatal(err)
	}
}

func (d *drive[In, Out]) watermark(t flow.Time) {
	d.Helper()
	got, err := d.op.Watermark(t)
	if err != nil || got > t {
		d.Fatalf("watermark %d: %d, %v", t, got, err)
	}
	if got == t {
		d.log = append(d.log, fmt.Sprintf("w%d", int64(t)))
	}
}

// settle waits until nothing is inside.
func (d *drive[In, Out]) settle() {
	d.Helper()
	if err := d.op.EndInput(0); err != nil {
		d.Fatal(err)
	}
}

// epoch ends an epoch and returns what is kept.
func (d *drive[In, Out]) epoch() []checkpoint.OperatorState {
	d.Helper()
	if _, err := d.op.Barrier(flow.Barrier{Epoch: 1}); err != nil {
		d.Fatal(err)
	}
	kept, err := d.op.(operator.Keeper).Keep()
	if err != nil {
		d.Fatal(err)
	}
	return kept
}

func (d *drive[In, Out]) close() {
	d.Helper()
	d.task.cancel()
	if err := d.op.Close(); err != nil {
		d.Fatal(err)
	}
}

func (d *drive[In, Out]) want(s string) {
	d.Helper()
	if got := strings.Join(d.log, " "); got != s {
		d.Errorf("got  %s\nwant %s", got, s)
	}
}
