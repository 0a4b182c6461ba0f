package async

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// after answers each number of milliseconds after so many milliseconds.
func after(ctx context.Context, ms int) (string, error) {
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
		return fmt.Sprint("r", ms), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func TestOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDrive[int, string](t, NewMap(after, Options{Ordered: true}))
		d.watermark(1)
		if err := d.try([]flow.Time{10, 20, 15}, 30, 10, 20); err != nil {
			t.Fatal(err)
		}
		d.watermark(15)
		d.watermark(18)
		if err := d.try([]flow.Time{30}, 1); err != nil {
			t.Fatal(err)
		}
		d.watermark(30)
		d.settle()
		d.watermark(31)
		d.want("w1 r30@10 r10@20 r20@15 w18 r1@30 w30 w31")
		d.close()
	})
}

func TestUnordered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDrive[int, string](t, NewMap(after, Options{}))
		if err := d.try([]flow.Time{10, 20, 15}, 30, 10, 20); err != nil {
			t.Fatal(err)
		}
		d.watermark(15)
		if err := d.try([]flow.Time{30}, 1); err != nil {
			t.Fatal(err)
		}
		d.watermark(30)
		d.settle()
		d.want("r10@20 r20@15 r30@10 w15 r1@30 w30")
		d.close()
	})
}

// TestResultsLeaveByMail checks that nobody has to call the operator for results to
// leave, and that they leave as soon as they are there.
func TestResultsLeaveByMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDrive[int, string](t, NewMap(after, Options{}))
		start := time.Now()
		d.send(50, 5)
		if err := d.task.Yield(func() bool { return len(d.log) > 0 }); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 5*time.Millisecond {
			t.Errorf("the first result came after %v", took)
		}
		d.settle()
		d.want("r5 r50")
		d.close()
	})
}

// TestAnyOrder checks records, watermarks and bounds with calls that take as long
// as they please.
func TestAnyOrder(t *testing.T) {
	type event struct {
		ID, Latency int
		Watermark   bool
	}
	rapid.Check(t, func(rt *rapid.T) {
		ordered := rapid.Bool().Draw(rt, "ordered")
		capacity := rapid.IntRange(1, 5).Draw(rt, "capacity")
		events := rapid.SliceOf(rapid.Custom(func(rt *rapid.T) event {
			return event{Latency: rapid.IntRange(0, 6).Draw(rt, "latency"), Watermark: rapid.IntRange(0, 3).Draw(rt, "kind") == 0}
		})).Draw(rt, "events")
		var log []string
		var most atomic.Int64
		synctest.Test(t, func(t *testing.T) {
			var running atomic.Int64
			d := newDrive[event, int](t, NewMap(func(_ context.Context, e event) (int, error) {
				n := running.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(time.Duration(e.Latency) * time.Millisecond)
				running.Add(-1)
				return e.ID, nil
			}, Options{Ordered: ordered, Capacity: capacity}))
			for i, e := range events {
				if e.ID = i; e.Watermark {
					d.watermark(flow.Time(i))
				} else {
					d.send(e)
				}
				if i%7 == 6 {
					time.Sleep(2 * time.Millisecond)
				}
			}
			if err := d.op.EndInput(0); err != nil {
				t.Fatal(err)
			}
			d.close()
			log = d.log
		})
		if int(most.Load()) > capacity {
			rt.Errorf("%d calls at once, the capacity is %d", most.Load(), capacity)
		}
		var want []string
		for i, e := range events {
			if e.Watermark {
				want = append(want, fmt.Sprint("w", i))
			} else {
				want = append(want, fmt.Sprint(i))
			}
		}
		got := thin(log, !ordered)
		if want := thin(want, !ordered); !slices.Equal(got, want) {
			rt.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

// thin drops watermarks that another one follows at once, and may sort the records
// between watermarks.
func thin(log []string, sorted bool) []string {
	var thinned []string
	first := 0
	for i, s := range log {
		if s[0] != 'w' {
			thinned = append(thinned, s)
			continue
		}
		if sorted {
			slices.Sort(thinned[first:])
		}
		if i+1 < len(log) && log[i+1][0] != 'w' || i+1 == len(log) {
			thinned = append(thinned, s)
			first = len(thinned)
		}
	}
	if sorted {
		slices.Sort(thinned[first:])
	}
	return thinned
}

var errBusy = errors.New("busy")

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun []time.Duration
		start := time.Now()
		d := newDrive[int, string](t, NewMap(func(context.Context, int) (string, error) {
			if begun = append(begun, time.Since(start)); len(begun) < 6 {
				return "", errBusy
			}
			return "at last", nil
		}, Options{Retry: Retry{Attempts: 6, Backoff: 100 * time.Millisecond, MaxBackoff: 300 * time.Millisecond}}))
		d.send(1)
		d.settle()
		d.want("at last")
		for i, most := range []time.Duration{100, 200, 300, 300, 300} {
			if pause := begun[i+1] - begun[i]; pause < most*time.Millisecond/2 || pause > most*time.Millisecond {
				t.Errorf("pause %d was %v, want %d ms to %d ms", i+1, pause, most/2, most)
			}
		}
		if n := d.ctx.Metrics.Retries.Load(); n != 5 {
			t.Errorf("%d retries were counted, want 5", n)
		}
		d.close()
	})
}

func TestFailures(t *testing.T) {
	hang := func(ctx context.Context, _ int) (string, error) { <-ctx.Done(); return "", ctx.Err() }
	for name, c := range map[string]struct {
		f         func(context.Context, int) (string, error)
		o         Options
		domain    flow.Domain
		retryable bool
		texts     []string
		is        error
	}{
		"error": {func(context.Context, int) (string, error) { return "", errBusy }, Options{},
			flow.DomainExternal, true, []string{"busy; at record 2 of this subtask's input: 7 (time 1970-", "dead-letter"}, errBusy},
		"attempts": {func(context.Context, int) (string, error) { return "", errBusy }, Options{Retry: Retry{Attempts: 3}},
			flow.DomainExternal, true, []string{"busy (the last of 3 attempts)"}, errBusy},
		"not retryable": {func(context.Context, int) (string, error) { return "", errBusy },
			Options{Retry: Retry{Attempts: 3, Retryable: func(err error) bool { return !errors.Is(err, errBusy) }}},
			flow.DomainUser, false, []string{"busy; at record 2"}, errBusy},
		"timeout": {hang, Options{Timeout: 3 * time.Second}, flow.DomainExternal, true, []string{"no answer within 3s"}, context.DeadlineExceeded},
		"own error at timeout": {func(ctx context.Context, _ int) (string, error) { <-ctx.Done(); return "", errBusy }, Options{Timeout: time.Second},
			flow.DomainExternal, true, []string{"no answer within 1s: busy"}, context.DeadlineExceeded},
		"panic": {func(context.Context, int) (string, error) { panic(errBusy) }, Options{Bad: operator.BadPolicy{Mode: operator.BadSkip}},
			flow.DomainUser, false, []string{"panic: busy; at record 2"}, errBusy},
		"goexit": {func(context.Context, int) (string, error) { runtime.Goexit(); return "", nil }, Options{},
			flow.DomainExternal, true, []string{"without returning"}, errGone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDrive[int, string](t, NewMap(func(ctx context.Context, v int) (string, error) {
					if v == 7 {
						return c.f(ctx, v)
					}
					return "fine", nil
				}, c.o))
				err := d.try([]flow.Time{1, 2}, 6, 7)
				if err == nil { // the call was not so quick that Receive has seen its end
					err = d.op.EndInput(0)
				}
				var f *flow.Failure
				if !errors.As(err, &f) || f.Domain != c.domain || f.Retryable != c.retryable || !errors.Is(err, c.is) {
					t.Fatalf("got %#v", err)
				}
				for _, s := range c.texts {
					if !strings.Contains(f.Error(), s) {
						t.Errorf("error %q does not say %q", f, s)
					}
				}
				if (name == "panic") != strings.Contains(f.Stack, "async_test.go") {
					t.Errorf("stack %q", f.Stack)
				}
				d.close()
			})
		})
	}
}

func odd(_ context.Context, v int) (int, error) {
	if v%2 == 0 {
		return 0, errBusy
	}
	return v, nil
}

func TestBadRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDrive[int, int](t, NewMap(odd, Options{Ordered: true, Bad: operator.BadPolicy{Mode: operator.BadDeadLetter}}))
		d.send(1, 2)
		d.send(3)
		d.settle()
		slices.Sort(d.log)
		d.want("1 3 bad(record 2 of this subtask's input: 2: busy)")
		d.close()
		d = newDrive[int, int](t, NewMap(odd, Options{Ordered: true, Bad: operator.BadPolicy{Mode: operator.BadSkip, MaxCount: 1}}))
		d.send(1, 2, 3)
		d.settle()
		d.want("1 3")
		err := d.try(nil, 4)
		if err == nil {
			err = d.op.EndInput(0)
		}
		if !errors.Is(err, operator.ErrBadRecord) {
			t.Errorf("got %v, want the limit to be passed", err)
		}
		if bad := d.ctx.Metrics.Bad.Load(); bad != 2 {
			t.Errorf("%d bad records were counted, want 2", bad)
		}
		d.close()
	})
}

// TestCancelWhileFull checks that a task that is cancelled while it waits for calls
// that hang ends at once, and leaves nothing behind.
func TestCancelWhileFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDrive[int, string](t, NewMap(after, Options{Capacity: 2}))
		go func() {
			synctest.Wait()
			d.task.cancel()
		}()
		if err := d.try(nil, 1e6, 1e6, 1e6); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		start := time.Now()
		d.close()
		if took := time.Since(start); took != 0 {
			t.Errorf("close took %v", took)
		}
	})
}

func TestCloseLeavesTheDeafBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		d := newDrive[int, string](t, NewMap(func(context.Context, int) (string, error) { <-end; return "", nil }, Options{}))
		d.send(1)
		synctest.Wait() // the call has begun
		d.task.cancel()
		start := time.Now()
		if err := d.op.Close(); err == nil || !strings.Contains(err.Error(), "heed its context") || time.Since(start) != closeWait {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		close(end)
	})
}

func BenchmarkMap(b *testing.B) {
	d := newDrive[int, int](b, NewMap(func(_ context.Context, v int) (int, error) { return v, nil }, Options{}))
	d.mute = true
	vals := make([]int, 1024)
	b.ReportAllocs()
	for b.Loop() {
		d.send(vals...)
	}
	d.settle()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/record")
	d.close()
}
