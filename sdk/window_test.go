package sdk_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/sdk"
)

func ticks(p *sdk.Pipeline, bound time.Duration, t ...tick) *sdk.Keyed[string, tick] {
	return sdk.KeyBy(sdk.ReadTimed(p, slice.Of(t...), sdk.OutOfOrder(bound, tickTime)), func(t tick) string { return t.Key })
}

var ticked = []tick{{"a", 1, 1}, {"b", 2, 2}, {"a", 9, 3}, {"a", 11, 4}, {"b", 25, 5}}

func TestReduceAndProcessWindows(t *testing.T) {
	everyWay(t, func(p *sdk.Pipeline) *sdk.Stream[string] {
		sum := func(acc, v tick) tick { acc.N += v.N; return acc }
		reduced, _ := sdk.ReduceWindow(sdk.Window(ticks(p, time.Minute, ticked...), sdk.Session(9*time.Second)), sum)
		return sdk.Map(reduced, func(r sdk.WindowResult[string, tick]) string { return fmt.Sprintf("%s%d", r.Key, r.Value.N) })
	}, "a8", "b2", "b5")
	everyWay(t, func(p *sdk.Pipeline) *sdk.Stream[string] {
		listed, _ := sdk.ProcessWindow(sdk.Window(ticks(p, time.Minute, ticked...), sdk.Tumbling(10*time.Second)),
			func(k string, w sdk.WindowSpan, _ sdk.Pane, all []tick, emit func(string)) {
				s := fmt.Sprintf("%s@%d", k, w.Start/1e6)
				for _, n := range slices.Sorted(func(yield func(int64) bool) {
					for _, t := range all {
						if !yield(t.N) {
							return
						}
					}
				}) {
					s += fmt.Sprint(" ", n)
				}
				emit(s)
			})
		return listed
	}, "a@0 1 3", "a@10 4", "b@0 2", "b@20 5")
}

func TestCountAndGlobalWindows(t *testing.T) {
	n := sdk.Sum(func(t tick) int64 { return t.N })
	result := func(r sdk.WindowResult[string, int64]) string { return fmt.Sprintf("%s%d", r.Key, r.Value) }
	everyWay(t, func(p *sdk.Pipeline) *sdk.Stream[string] {
		counted, _ := sdk.AggregateWindow(sdk.Window(ticks(p, 0, ticked...), sdk.CountWindow(2)), n)
		global, _ := sdk.AggregateWindow(sdk.Window(ticks(p, 0, ticked...), sdk.Global()), n)
		return sdk.Map(sdk.Union(counted, global), result)
	}, "a4", "b7", "a8", "b7")
	everyWay(t, func(p *sdk.Pipeline) *sdk.Stream[string] {
		early, _ := sdk.AggregateWindow(sdk.Window(ticks(p, 0, ticked...), sdk.Global(),
			sdk.TriggerOn(sdk.EarlyLate(sdk.EveryCount(1), nil)), sdk.Discarding()), n)
		return sdk.Map(early, result)
	}, "a1", "a3", "a4", "b2", "b5")
}

func TestMistakesInWindows(t *testing.T) {
	build := func(w sdk.Windowing, opts ...sdk.WindowOption) func(*sdk.Pipeline) {
		return func(p *sdk.Pipeline) {
			sdk.AggregateWindow(sdk.Window(ticks(p, 0, ticked...), w, opts...), sdk.Count[tick]())
		}
	}
	refused(t, build(sdk.Tumbling(0)), `"window"`, "at least 1µs")
	refused(t, build(sdk.Cumulative(time.Hour, 7*time.Minute)), "must divide")
	refused(t, build(sdk.Tumbling(time.Hour), sdk.AllowedLateness(-1)), "cannot be negative")
	refused(t, build(sdk.CountWindow(3), sdk.AllowedLateness(time.Second)), "no record is late")
	refused(t, build(sdk.CountWindow(3), sdk.TriggerOn(sdk.AtWatermark())), "no other trigger")
	refused(t, func(p *sdk.Pipeline) {
		a := sdk.Count[tick]()
		a.Merge = nil
		sdk.AggregateWindow(sdk.Window(ticks(p, 0, ticked...), sdk.Session(time.Hour)), a)
	}, "without Merge")
}

func TestExplainDescribesWindows(t *testing.T) {
	p := sdk.New("explained")
	counts, _ := sdk.AggregateWindow(sdk.Window(ticks(p, 0, ticked...), sdk.Sliding(time.Minute, 10*time.Second),
		sdk.AllowedLateness(time.Hour), sdk.TriggerOn(sdk.EarlyLate(sdk.Every(time.Second), nil))), sdk.Count[tick]())
	sdk.Write(counts, collect.New[sdk.WindowResult[string, int64]]())
	g, err := p.Graph()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(g.Operators[1].Attrs, g.Operators[1].States)
	for _, s := range []string{"sliding 1m0s every 10s", "early every 1s", "1h0m0s", "int64"} {
		if !strings.Contains(text, s) {
			t.Errorf("%s does not say %q", text, s)
		}
	}
}
