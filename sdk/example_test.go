package sdk_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

// show runs a pipeline and prints what s has brought, sorted: subtasks have no
// order among them.
func show[T any](p *sdk.Pipeline, s *sdk.Stream[T]) {
	got := collect.New[T]()
	sdk.Write(s, got)
	if err := run.Run(context.Background(), p, run.Options{Parallelism: 2}); err != nil {
		fmt.Println(err)
		return
	}
	lines := make([]string, 0, got.Len())
	for _, v := range got.Results() {
		lines = append(lines, fmt.Sprint(v))
	}
	slices.Sort(lines)
	fmt.Println(strings.Join(lines, "\n"))
}

// Words are counted as they come: every record brings its word's new count.
func Example() {
	p := sdk.New("wordcount")
	lines := sdk.Read(p, slice.Of("to be or", "not to be"))
	words := sdk.FlatMap(lines, func(line string, out *sdk.Out[string]) {
		for w := range strings.FieldsSeq(line) {
			out.Emit(w)
		}
	})
	byWord := sdk.KeyBy(words, func(w string) string { return w })
	show(p, sdk.Aggregate(byWord, sdk.Count[string]()))
	// Output:
	// {be 1}
	// {be 2}
	// {not 1}
	// {or 1}
	// {to 1}
	// {to 2}
}

type reading struct {
	Sensor string
	Second int64
	Value  int
}

func ExampleUpdate() {
	p := sdk.New("celsius")
	readings := sdk.Read(p, slice.Of(reading{"a", 1, 212}, reading{"b", 2, 32}))
	show(p, sdk.Update(readings, func(r *reading) { r.Value = (r.Value - 32) * 5 / 9 }))
	// Output:
	// {a 1 100}
	// {b 2 0}
}

func ExampleReduce() {
	p := sdk.New("hottest")
	readings := sdk.Read(p, slice.Of(reading{"a", 1, 20}, reading{"a", 2, 25}, reading{"b", 3, 18}, reading{"a", 4, 22}))
	bySensor := sdk.KeyBy(readings, func(r reading) string { return r.Sensor })
	show(p, sdk.Reduce(bySensor, func(acc, r reading) reading {
		acc.Second, acc.Value = r.Second, max(acc.Value, r.Value)
		return acc
	}))
	// Output:
	// {a 1 20}
	// {a 2 25}
	// {a 4 25}
	// {b 3 18}
}

func ExampleTopN() {
	p := sdk.New("best")
	readings := sdk.Read(p, slice.Of(reading{"a", 1, 20}, reading{"a", 2, 19}, reading{"a", 3, 25}, reading{"a", 4, 1}))
	bySensor := sdk.KeyBy(readings, func(r reading) string { return r.Sensor })
	show(p, sdk.TopN(bySensor, 2, func(a, b reading) bool { return a.Value > b.Value }))
	// Output:
	// {a [{a 1 20} {a 2 19}]}
	// {a [{a 1 20}]}
	// {a [{a 3 25} {a 1 20}]}
}

func ExampleAggregateWindow() {
	p := sdk.New("means")
	readings := sdk.ReadTimed(p, slice.Of(reading{"a", 3, 20}, reading{"a", 8, 30}, reading{"b", 9, 7}, reading{"a", 12, 40}),
		sdk.OutOfOrder(5*time.Second, func(r reading) sdk.Time { return sdk.Time(r.Second * 1e6) }))
	bySensor := sdk.KeyBy(readings, func(r reading) string { return r.Sensor })
	means, _ := sdk.AggregateWindow(sdk.Window(bySensor, sdk.Tumbling(10*time.Second)), sdk.Avg(func(r reading) int { return r.Value }))
	show(p, sdk.Map(means, func(r sdk.WindowResult[string, float64]) string {
		return fmt.Sprintf("%s from %v: %v", r.Key, r.Window.Start.Std().Format("15:04:05"), r.Value)
	}))
	// Output:
	// a from 00:00:00: 25
	// a from 00:00:10: 40
	// b from 00:00:00: 7
}

// A timer counts a sensor as lost when it has been silent for a minute of event
// time.
func ExampleProcess() {
	p := sdk.New("silence")
	readings := sdk.ReadTimed(p, slice.Of(reading{"a", 0, 1}, reading{"b", 30, 1}, reading{"a", 40, 1}, reading{"b", 200, 1}),
		sdk.Ascending(func(r reading) sdk.Time { return sdk.Time(r.Second * 1e6) }))
	bySensor := sdk.KeyBy(readings, func(r reading) string { return r.Sensor })
	show(p, sdk.Process(bySensor, func(s *sdk.Setup[string]) sdk.Processor[string, reading, string] {
		due := sdk.NewValue[sdk.Time](s, "due")
		return sdk.Processor[string, reading, string]{
			Each: func(c *sdk.Context[string], r reading, out *sdk.Out[string]) {
				if old, ok := due.Get(); ok && c.Time() < old {
					c.DeleteTimer(old) // this record came in time
				}
				at := c.Time().Add(time.Minute)
				due.Set(at)
				c.SetTimer(at)
			},
			Timer: func(c *sdk.Context[string], t sdk.Timer, out *sdk.Out[string]) {
				out.Emit(fmt.Sprintf("%s is silent at %v", c.Key, t.At.Std().Format("15:04:05")))
			},
		}
	}))
	// Output:
	// a is silent at 00:01:40
	// b is silent at 00:01:30
	// b is silent at 00:04:20
}

// Rules can change while the job runs: every subtask is told of each.
func ExampleProcessBroadcast() {
	type rule struct {
		Sensor string
		Most   int
	}
	p := sdk.New("rules")
	rules := sdk.Read(p, slice.Of(rule{"a", 20}, rule{"b", 5}, rule{"a", 24}))
	bySensor := sdk.KeyBy(sdk.Read(p, slice.Of(reading{"a", 1, 25}, reading{"b", 2, 4})), func(r reading) string { return r.Sensor })
	show(p, sdk.ProcessBroadcast(bySensor, rules, func(s *sdk.Setup[string]) sdk.BroadcastProcessor[string, reading, rule, string] {
		most := sdk.NewBroadcastState[string, int](s, "most")
		last := sdk.NewValue[reading](s, "last")
		return sdk.BroadcastProcessor[string, reading, rule, string]{
			Each: func(c *sdk.Context[string], r reading, _ *sdk.Out[string]) {
				last.Set(r) // and wait for the end, when all rules are known
				c.SetTimer(0)
			},
			Broadcast: func(b *sdk.BroadcastContext, r rule, _ *sdk.Out[string]) {
				most.Set(b, r.Sensor, r.Most)
			},
			Timer: func(c *sdk.Context[string], _ sdk.Timer, out *sdk.Out[string]) {
				r, _ := last.Get()
				if limit, ok := most.Get(c.Key); ok && r.Value > limit {
					out.Emit(fmt.Sprintf("%s: %d is more than %d", c.Key, r.Value, limit))
				}
			},
		}
	}))
	// Output:
	// a: 25 is more than 24
}

func ExampleCoProcess() {
	p := sdk.New("match")
	id := func(v int) int { return v }
	left := sdk.KeyBy(sdk.Read(p, slice.Of(1, 2, 3)), id)
	right := sdk.KeyBy(sdk.Read(p, slice.Of(2, 3, 4)), id)
	show(p, sdk.CoProcess(left, right, func(s *sdk.Setup[int]) sdk.CoProcessor[int, int, int, string] {
		seen := sdk.NewValue[bool](s, "seen")
		meet := func(c *sdk.Context[int], _ int, out *sdk.Out[string]) {
			if _, ok := seen.Get(); ok {
				out.Emit(fmt.Sprintf("%d is in both", c.Key))
			}
			seen.Set(true)
		}
		return sdk.CoProcessor[int, int, int, string]{Left: meet, Right: meet}
	}))
	// Output:
	// 2 is in both
	// 3 is in both
}

func ExampleAsyncMap() {
	p := sdk.New("ask")
	ask := func(ctx context.Context, city string) (string, error) {
		// A real one would call a service here, with ctx.
		return strings.ToUpper(city), nil
	}
	cities := sdk.Read(p, slice.Of("bern", "oslo"))
	show(p, sdk.AsyncMap(cities, ask, sdk.Async{
		Capacity: 20,
		Timeout:  5 * time.Second,
		Retry:    sdk.Retry{Attempts: 3, Backoff: 200 * time.Millisecond},
	}))
	// Output:
	// BERN
	// OSLO
}

func ExampleLookupJoin() {
	rooms := map[string]string{"a": "kitchen"} // a table in a database
	p := sdk.New("rooms")
	readings := sdk.Read(p, slice.Of(reading{"a", 1, 20}, reading{"b", 2, 30}))
	show(p, sdk.LookupJoin(readings,
		func(r reading) string { return r.Sensor },
		func(_ context.Context, sensor string) (string, bool, error) {
			room, ok := rooms[sensor]
			return room, ok, nil
		},
		func(r reading, room string, ok bool) string {
			if !ok {
				room = "somewhere"
			}
			return fmt.Sprintf("%d in the %s", r.Value, room)
		},
		sdk.Lookup{CacheSize: 1000, CacheTTL: time.Minute}))
	// Output:
	// 20 in the kitchen
	// 30 in the somewhere
}
