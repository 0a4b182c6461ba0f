package bench

import (
	"context"

	"github.com/weirflow/weir/bench/floor"
	"github.com/weirflow/weir/connector/datagen"
	"github.com/weirflow/weir/sdk"
)

var keyed = Case{
	Name: "keyed",
	What: "running sum by key: source, hash exchange, keyed reduce, sink",
	run:  runKeyed,
}

// events is the source of the keyed cases.
func events(p *sdk.Pipeline, n, keys int64, parallelism int) *sdk.Stream[floor.Event] {
	return sdk.Read(p, datagen.Fill(fillEvents(keys), datagen.Count(n), datagen.Splits(parallelism)))
}

func fillEvents(keys int64) func(first int64, out []floor.Event) {
	return func(first int64, out []floor.Event) {
		for i := range out {
			out[i] = floor.GenerateEvent(first+int64(i), uint64(keys))
		}
	}
}

func runKeyed(ctx context.Context, o Options) (Result, error) {
	n, keys := o.Events, o.Keys
	if n == 0 {
		n = 50_000_000
	}
	if keys == 0 {
		keys = 100_000
	}
	type sum = sdk.KeyValue[uint64, int64]
	sink := &checkSink[sum]{batch: func(vals []sum) (_ uint64, largest int64) {
		for i := range vals {
			largest = max(largest, vals[i].Value)
		}
		return 0, largest
	}}
	p := sdk.New("keyed")
	byKey := sdk.KeyBy(events(p, n, keys, o.Parallelism), func(e floor.Event) uint64 { return e.Key })
	sdk.Write(sdk.Aggregate(byKey, sdk.Sum(func(e floor.Event) int64 { return e.Value })), sink)
	r, err := measureJob(ctx, "keyed", p, o, func() int64 { return sink.results })
	if err != nil || o.NoFloor {
		return r, err
	}
	f := floor.KeyedSum(n, keys, o.Parallelism)
	r.FloorPerS = f.EventsPerSecond()
	if sink.results != f.Results || sink.largest != f.Max {
		return r, mismatch("largest sum", sink.largest, f.Max)
	}
	return r, nil
}
