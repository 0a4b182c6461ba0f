package sdktest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings are those in which a test that does not count on order must pass.
var settings = map[string][]sdktest.Option{
	"plain":      nil,
	"parallel":   {sdktest.Parallelism(3)},
	"unchained":  {sdktest.NoChaining(), sdktest.BatchSize(1)},
	"everything": {sdktest.Parallelism(2), sdktest.NoChaining(), sdktest.BatchSize(2)},
}

func inAll(t *testing.T, f func(t *testing.T, h *sdktest.Harness)) {
	for name, opts := range settings {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, sdktest.New(t, opts...)) })
		})
	}
}

func TestFraudExample(t *testing.T) {
	inAll(t, func(t *testing.T, h *sdktest.Harness) {
		in := sdktest.Input[Payment](h, "payments")
		alerts := sdktest.Collect(h, fraud(in.Stream))
		in.Add(Payment{"a", 0}, Payment{"b", 0})
		h.AdvanceTime(59 * time.Second)
		in.Add(Payment{"a", 900}, Payment{"c", 900})
		sdktest.Equal(t, alerts.Take(), []Alert{{"a", 900}})
		h.AdvanceTime(time.Second)
		in.Add(Payment{"b", 900})
		sdktest.Equal(t, alerts.Take(), nil)
	})
}

func TestWindowExample(t *testing.T) {
	inAll(t, func(t *testing.T, h *sdktest.Harness) {
		in := sdktest.Input[string](h, "clicks")
		pages := sdk.KeyBy(in.Stream, func(page string) string { return page })
		counts, late := sdk.AggregateWindow(sdk.Window(pages, sdk.Tumbling(time.Minute)), sdk.Count[string]())
		lines := sdk.Map(counts, func(r sdk.WindowResult[string, int64]) string { return fmt.Sprint(r.Key, r.Value) })
		out, lost := sdktest.Collect(h, lines), sdktest.Collect(h, late)
		in.Push("/", second(10))
		in.Push("/", second(20))
		in.Push("/buy", second(70))
		sdktest.Equal(t, out.Take(), nil)
		in.Watermark(second(59))
		sdktest.Equal(t, out.Take(), nil)
		in.Watermark(second(60))
		sdktest.Equal(t, out.Take(), []string{"/2"})
		in.Watermark(second(5)) // goes back: nothing
		in.Push("/", second(30))
		sdktest.Equal(t, lost.Take(), []string{"/"})
		in.End()
		sdktest.Equal(t, out.Take(), []string{"/buy1"})
		if !h.Ended() || h.Err() != nil {
			t.Error("the job has not ended", h.Err())
		}
	})
}

// TestSeveralInputs: event time is the least of the inputs'.
func TestSeveralInputs(t *testing.T) {
	inAll(t, func(t *testing.T, h *sdktest.Harness) {
		a, b := sdktest.Input[int](h, "a"), sdktest.Input[int](h, "b")
		both := sdk.KeyBy(sdk.Union(a.Stream, b.Stream), func(v int) int { return v })
		out := sdktest.Collect(h, sdk.Process(both, func(*sdk.Setup[int]) sdk.Processor[int, int, int] {
			return sdk.Processor[int, int, int]{
				Each:  func(c *sdk.Context[int], v int, _ *sdk.Out[int]) { c.SetTimer(c.Time()) },
				Timer: func(c *sdk.Context[int], _ sdk.Timer, out *sdk.Out[int]) { out.Emit(c.Key) },
			}
		}))
		a.Push(1, 10)
		b.Push(2, 20)
		a.Watermark(30)
		sdktest.Equal(t, out.Take(), nil)
		b.Watermark(10)
		sdktest.Equal(t, out.TakeTimed(), []sdktest.Timed[int]{{1, 10}})
		b.End()
		sdktest.Equal(t, out.Take(), []int{2})
		if h.Ended() {
			t.Error("the job ended with one of two inputs")
		}
		a.End()
		if !h.Ended() {
			t.Error("the job has not ended")
		}
	})
}

func TestProcessingTimersFireAtTheirTimes(t *testing.T) {
	inAll(t, func(t *testing.T, h *sdktest.Harness) {
		in := sdktest.Input[int](h, "in")
		start := h.Now()
		out := sdktest.Collect(h, sdk.Process(sdk.KeyBy(in.Stream, func(v int) int { return v }), func(*sdk.Setup[int]) sdk.Processor[int, int, time.Duration] {
			return sdk.Processor[int, int, time.Duration]{
				Each: func(c *sdk.Context[int], v int, _ *sdk.Out[time.Duration]) {
					c.SetProcessingTimer(c.Now().Add(time.Duration(v) * time.Second))
				},
				Timer: func(c *sdk.Context[int], _ sdk.Timer, out *sdk.Out[time.Duration]) {
					out.Emit(c.Now().Std().Sub(start.Std()))
				},
			}
		}))
		in.Add(5, 1, 3600)
		h.AdvanceTime(4 * time.Second)
		sdktest.Equal(t, out.Take(), []time.Duration{time.Second})
		h.AdvanceTime(2 * time.Hour)
		sdktest.Equal(t, out.Take(), []time.Duration{5 * time.Second, time.Hour})
	})
}

func TestFailures(t *testing.T) {
	inAll(t, func(t *testing.T, h *sdktest.Harness) {
		in := sdktest.Input[int](h, "numbers")
		out := sdktest.Collect(h, sdk.Map(in.Stream, func(v int) int { return 10 / v }, sdk.Name("divide")))
		if h.Err() != nil || h.Ended() {
			t.Fatal("ended before it began")
		}
		in.Add(5)
		r := &recorder{TB: t}
		fails(r, func() { sdktest.Equal(r, out.Take(), []int{3}) })
		if !strings.Contains(r.said, "missing: 3") || !strings.Contains(r.said, "not wanted: 2") {
			t.Error(r.said)
		}
		if err := h.Err(); err != nil {
			t.Error(err)
		}
		in.Add(0)
		err := h.Err()
		if err == nil || !strings.Contains(err.Error(), `operator "divide"`) || !h.Ended() {
			t.Error(err)
		}
	})
}

// recorder is a test that notes its failure.
type recorder struct {
	testing.TB
	said    string
	cleanup []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanup = append(r.cleanup, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.said += fmt.Sprintf(format, args...) + "\n"
}
func (r *recorder) Fatal(args ...any) { r.Errorf("%s", fmt.Sprint(args...)); panic(r) }
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(r)
}

// fails runs f, which may end by r's Fatal.
func fails(r *recorder, f func()) {
	defer func() {
		if p := recover(); p != nil && p != any(r) {
			panic(p)
		}
	}()
	f()
}

func TestMisuseIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		use  func(r *recorder)
		want string
	}{
		"no bubble": {func(r *recorder) { sdktest.New(r) }, "synctest.Test"},
	} {
		r := &recorder{TB: t}
		if fails(r, func() { c.use(r) }); !strings.Contains(r.said, c.want) {
			t.Errorf("%s: %q", name, r.said)
		}
	}
	for name, c := range map[string]struct {
		use  func(t *testing.T, h *sdktest.Harness, r *recorder)
		want string
	}{
		"a failure that nobody asked for": {func(_ *testing.T, h *sdktest.Harness, _ *recorder) {
			in := sdktest.Input[int](h, "in")
			sdktest.Collect(h, sdk.Map(in.Stream, func(v int) int { return 1 / v }))
			in.Add(0)
		}, "integer divide by zero"},
		"one that comes with time": {func(_ *testing.T, h *sdktest.Harness, _ *recorder) {
			in := sdktest.Input[int](h, "in")
			sdktest.Collect(h, sdk.Process(sdk.KeyBy(in.Stream, func(v int) int { return v }), func(*sdk.Setup[int]) sdk.Processor[int, int, int] {
				return sdk.Processor[int, int, int]{
					Each:  func(c *sdk.Context[int], _ int, _ *sdk.Out[int]) { c.SetProcessingTimer(c.Now() + 5) },
					Timer: func(*sdk.Context[int], sdk.Timer, *sdk.Out[int]) { panic("no time") },
				}
			}))
			in.Add(0)
			h.AdvanceTime(time.Second)
		}, "no time"},
		"an input after the first step": {func(_ *testing.T, h *sdktest.Harness, _ *recorder) {
			in := sdktest.Input[int](h, "in")
			sdktest.Collect(h, in.Stream)
			in.Add(1)
			sdktest.Input[int](h, "late")
		}, "Input late comes after the first step"},
		"a push after the end": {func(_ *testing.T, h *sdktest.Harness, _ *recorder) {
			in, other := sdktest.Input[int](h, "in"), sdktest.Input[int](h, "other")
			sdktest.Collect(h, sdk.Union(in.Stream, other.Stream))
			in.End()
			in.Add(1)
		}, `input "in" has ended`},
		"a pipeline that is wrong": {func(_ *testing.T, h *sdktest.Harness, _ *recorder) {
			in := sdktest.Input[int](h, "in")
			sdktest.Collect(h, sdk.Process(sdk.KeyBy(in.Stream, func(v int) *int { return &v }), func(*sdk.Setup[*int]) sdk.Processor[*int, int, int] {
				return sdk.Processor[*int, int, int]{}
			}))
			in.Add(1)
		}, "*int"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{TB: t}
				fails(r, func() { c.use(t, sdktest.New(r), r) })
				for _, f := range r.cleanup {
					f()
				}
				if !strings.Contains(r.said, c.want) || strings.Count(r.said, "\n") != 1 {
					t.Errorf("said %q", r.said)
				}
			})
		})
	}
}

func TestRun(t *testing.T) {
	for name, opts := range settings {
		t.Run(name, func(t *testing.T) {
			p := sdk.New("p")
			src := sdk.ReadTimed(p, slice.Timed([]slice.Record[string]{{Value: "a", Time: second(5)}, {Value: "a", Time: second(6)}, {Value: "b", Time: second(65)}}),
				sdk.Ascending[string](nil))
			counts, _ := sdk.AggregateWindow(sdk.Window(sdk.KeyBy(src, func(s string) string { return s }), sdk.Tumbling(time.Minute)), sdk.Count[string]())
			got := collect.New[string]()
			sdk.Write(sdk.Map(counts, func(r sdk.WindowResult[string, int64]) string { return fmt.Sprint(r.Key, r.Value) }), got)
			sdktest.Run(t, p, opts...)
			sdktest.EqualAnyOrder(t, got.Results(), []string{"b1", "a2"})
		})
	}
	p := sdk.New("p")
	sdk.Write(sdk.Map(sdk.Read(p, slice.Of(0)), func(v int) int { return 1 / v }), collect.New[int]())
	r := &recorder{TB: t}
	if fails(r, func() { sdktest.Run(r, p) }); !strings.Contains(r.said, "divide by zero") {
		t.Error(r.said)
	}
}

func (r *recorder) Context() context.Context { return r.TB.Context() }

func TestEqual(t *testing.T) {
	for _, c := range []struct {
		got, want []int
		said      string
	}{
		{nil, []int{}, ""}, {[]int{1, 2}, []int{1, 2}, ""}, {[]int{1, 2}, []int{2, 1}, "another order"},
		{[]int{1, 1}, []int{1}, "not wanted: 1"}, {[]int{1}, []int{1, 1}, "missing: 1"}, {nil, make([]int, 30), "and 10 more"},
	} {
		r := &recorder{TB: t}
		sdktest.Equal(r, c.got, c.want)
		if (c.said == "") != (r.said == "") || !strings.Contains(r.said, c.said) {
			t.Errorf("%v and %v: %q", c.got, c.want, r.said)
		}
		r = &recorder{TB: t}
		sdktest.EqualAnyOrder(r, c.got, c.want)
		if fine := c.said == "" || c.said == "another order"; fine != (r.said == "") {
			t.Errorf("%v and %v in any order: %q", c.got, c.want, r.said)
		}
	}
}
