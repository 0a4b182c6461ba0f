package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/weirflow/weir/connector/kafka"
	"github.com/weirflow/weir/sdk"
)

// doomsday is after all events: its timers come due when the input has ended.
const doomsday = sdk.Time(1 << 60)

// keyed counts by key as records come, and keeps state of each kind until the end.
func (c *config) keyed(s *sdk.Stream[Event]) {
	totals := sdk.NewTag[string]("totals")
	counts := sdk.Process(byKey(s), func(s *sdk.Setup[int64]) sdk.Processor[int64, Event, string] {
		type mean struct{ Count, Sum int64 }
		count := sdk.NewValue[int64](s, "count")
		ids := sdk.NewList[int64](s, "ids")
		byValue := sdk.NewMap[int64, int64](s, "by value")
		most := sdk.NewReducing(s, "most", func(a, b int64) int64 { return max(a, b) })
		average := sdk.NewAggregating(s, "average",
			func(m *mean, v int64) { m.Count, m.Sum = m.Count+1, m.Sum+v },
			func(m *mean) string { return fmt.Sprintf("%d/%d", m.Sum, m.Count) })
		end := sdk.NewSide(s, totals)
		return sdk.Processor[int64, Event, string]{
			Each: func(c *sdk.Context[int64], e Event, out *sdk.Out[string]) {
				n, _ := count.Get()
				count.Set(n + 1)
				ids.Append(e.ID)
				kind := e.Value % 10
				of, _ := byValue.Get(kind)
				byValue.Set(kind, of+1)
				most.Add(e.Value)
				average.Add(e.Value)
				c.SetTimer(doomsday)
				out.Emit(fmt.Sprintf("%d %d", c.Key, n+1))
			},
			Timer: func(c *sdk.Context[int64], _ sdk.Timer, _ *sdk.Out[string]) {
				n, _ := count.Get()
				kinds := map[int64]int64{}
				byValue.Each(func(k, n int64) bool { kinds[k] = n; return true })
				top, _ := most.Get()
				mean, _ := average.Get()
				end.Emit(Total(c.Key, n, ids.Get(), kinds, top, mean))
			},
		}
	}, sdk.ID("keyed"))
	c.write("counts", counts)
	c.write("totals", sdk.Side(counts, totals))
	if c.brokers != "" {
		sdk.Write(counts, kafka.Sink(c.addresses(), c.out, kafka.ToString()), sdk.ID("write topic"))
	}
}

// Total is what is known of a key at the end.
func Total(key, count int64, ids []int64, kinds map[int64]int64, top int64, mean string) string {
	line := fmt.Sprintf("%d: %d, most %d, mean %s, kinds", key, count, top, mean)
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		line += fmt.Sprintf(" %d:%d", k, kinds[k])
	}
	line += ", ids"
	for _, id := range slices.Sorted(slices.Values(ids)) {
		line += " " + strconv.FormatInt(id, 10)
	}
	return line
}

// timers adds up by key and bucket of time, as a window would, with timers in event
// time; and hands each event on after a while by the clock.
func (c *config) timers(s *sdk.Stream[Event]) {
	const bucket = 700 * time.Millisecond
	sums := sdk.Process(byKey(s), func(s *sdk.Setup[int64]) sdk.Processor[int64, Event, string] {
		sums := sdk.NewMap[sdk.Time, int64](s, "sums")
		return sdk.Processor[int64, Event, string]{
			Each: func(c *sdk.Context[int64], e Event, _ *sdk.Out[string]) {
				end := c.Time().FloorTo(sdk.TimeOf(time.UnixMicro(bucket.Microseconds())), 0).Add(bucket)
				sum, _ := sums.Get(end)
				sums.Set(end, sum+e.Value)
				c.SetTimer(end)
			},
			Timer: func(c *sdk.Context[int64], t sdk.Timer, out *sdk.Out[string]) {
				sum, _ := sums.Get(t.At)
				sums.Delete(t.At)
				out.Emit(fmt.Sprintf("%d %d %d", c.Key, t.At.Std().UnixMilli(), sum))
			},
		}
	}, sdk.ID("sums"))
	c.write("sums", sums)

	delayed := sdk.Process(byKey(s), func(s *sdk.Setup[int64]) sdk.Processor[int64, Event, string] {
		waiting := sdk.NewList[int64](s, "waiting")
		return sdk.Processor[int64, Event, string]{
			Each: func(c *sdk.Context[int64], e Event, _ *sdk.Out[string]) {
				waiting.Append(e.ID)
				c.SetProcessingTimer(c.Now().Add(20 * time.Millisecond))
				c.SetTimer(doomsday)
			},
			Timer: func(_ *sdk.Context[int64], _ sdk.Timer, out *sdk.Out[string]) {
				for _, id := range waiting.Get() {
					out.Emit(strconv.FormatInt(id, 10))
				}
				waiting.Clear()
			},
		}
	}, sdk.ID("delayed"))
	c.write("delayed", delayed)
}
