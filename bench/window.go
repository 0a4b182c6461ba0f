package bench

import (
	"context"
	"time"

	"github.com/weirflow/weir/bench/floor"
	"github.com/weirflow/weir/connector/datagen"
	"github.com/weirflow/weir/sdk"
)

var window = Case{
	Name: "window",
	What: "sums by key in tumbling windows of 10 s of event time, a million events a second",
	run:  runWindow,
}

func runWindow(ctx context.Context, o Options) (Result, error) {
	n, keys := o.Events, o.Keys
	if n == 0 {
		n = 50_000_000
	}
	if keys == 0 {
		keys = 100_000
	}
	type sum = sdk.WindowResult[uint64, int64]
	sink := &checkSink[sum]{batch: func(vals []sum) (check uint64, largest int64) {
		for i := range vals {
			v := &vals[i]
			largest = max(largest, v.Value)
			check += floor.CheckWindow(int64(v.Window.Start), v.Key, v.Value)
		}
		return check, largest
	}}
	p := sdk.New("window")
	// The parts of a generator's subtasks are dealt out in blocks, so that their
	// times are a block apart.
	src := datagen.Fill(fillEvents(keys), datagen.Count(n), datagen.Splits(o.Parallelism))
	timed := sdk.ReadTimed(p, src, sdk.Ascending(func(e floor.Event) sdk.Time { return sdk.Time(e.Time) }))
	byKey := sdk.KeyBy(timed, func(e floor.Event) uint64 { return e.Key })
	sums, _ := sdk.AggregateWindow(sdk.Window(byKey, sdk.Tumbling(10*time.Second)), sdk.Sum(func(e floor.Event) int64 { return e.Value }))
	sdk.Write(sums, sink)
	r, err := measureJob(ctx, "window", p, o, func() int64 { return n })
	if err != nil || o.NoFloor {
		return r, err
	}
	f := floor.Window(n, keys, o.Parallelism)
	r.FloorPerS = f.EventsPerSecond()
	if sink.results != f.Results || sink.check != f.Check {
		return r, mismatch("check", sink.check, f.Check)
	}
	return r, nil
}
