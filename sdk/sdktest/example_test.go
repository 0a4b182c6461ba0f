package sdktest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/sdktest"
)

// Payment is what a card paid.
type Payment struct {
	Card   string
	Amount int
}

// Alert is raised for a small payment that a large one follows within a minute.
type Alert struct {
	Card   string
	Amount int
}

// fraud is the piece of a pipeline that is tested.
func fraud(payments *sdk.Stream[Payment]) *sdk.Stream[Alert] {
	byCard := sdk.KeyBy(payments, func(p Payment) string { return p.Card })
	return sdk.Process(byCard, func(s *sdk.Setup[string]) sdk.Processor[string, Payment, Alert] {
		small := sdk.NewValue[bool](s, "small")
		return sdk.Processor[string, Payment, Alert]{
			Each: func(c *sdk.Context[string], p Payment, out *sdk.Out[Alert]) {
				if tried, _ := small.Get(); tried && p.Amount > 500 {
					out.Emit(Alert(p))
				}
				if p.Amount < 1 {
					small.Set(true)
					c.SetProcessingTimer(c.Now().Add(time.Minute))
				}
			},
			Timer: func(*sdk.Context[string], sdk.Timer, *sdk.Out[Alert]) { small.Clear() },
		}
	})
}

// A timer in processing time: the bubble's clock moves when the test says so.
func Example_timer() {
	test := func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := sdktest.New(t)
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
	_ = test // go test calls it: func TestFraud(t *testing.T)
}

// A window in event time, with a record that is late.
func Example_window() {
	test := func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := sdktest.New(t)
			in := sdktest.Input[string](h, "clicks")
			pages := sdk.KeyBy(in.Stream, func(page string) string { return page })
			counts, late := sdk.AggregateWindow(sdk.Window(pages, sdk.Tumbling(time.Minute)), sdk.Count[string]())
			out, lost := sdktest.Collect(h, counts), sdktest.Collect(h, late)

			in.Push("/", second(10))
			in.Push("/", second(20))
			in.Push("/buy", second(70))
			in.Watermark(second(60))
			if got := out.Take(); len(got) != 1 || got[0].Key != "/" || got[0].Value != 2 {
				t.Error(got)
			}
			in.Push("/", second(30))
			sdktest.Equal(t, lost.Take(), []string{"/"})
			in.End()
			if got := out.Take(); len(got) != 1 || got[0].Key != "/buy" {
				t.Error(got)
			}
		})
	}
	_ = test // go test calls it: func TestClicks(t *testing.T)
}

func second(n int) sdk.Time { return sdk.TimeOf(time.Unix(int64(n), 0)) }
