package bench

import (
	"context"
	"time"

	"github.com/weirflow/weir/bench/floor"
	"github.com/weirflow/weir/connector/datagen"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

var startup = Case{
	Name: "startup",
	What: "time from the building of a pipeline to its first record at the sink",
	run:  runStartup,
}

func runStartup(ctx context.Context, o Options) (Result, error) {
	start := time.Now()
	sink := &checkSink[floor.Event]{batch: func([]floor.Event) (uint64, int64) { return 0, 0 }}
	p := sdk.New("startup")
	src := datagen.New(func(i int64) floor.Event { return floor.GenerateEvent(i, 10) }, datagen.Count(1000))
	byKey := sdk.KeyBy(sdk.Read(p, src), func(e floor.Event) uint64 { return e.Key })
	sdk.Write(sdk.Process(byKey, func(*sdk.Setup[uint64]) sdk.Processor[uint64, floor.Event, floor.Event] {
		return sdk.Processor[uint64, floor.Event, floor.Event]{
			Each: func(_ *sdk.Context[uint64], e floor.Event, out *sdk.Out[floor.Event]) { out.Emit(e) },
		}
	}), sink)
	r, err := measure(func() int64 { return sink.results }, func() error {
		return run.Run(ctx, p, run.Options{Parallelism: o.Parallelism})
	})
	r.FirstRecordMS = float64(sink.first.Sub(start).Nanoseconds()) / 1e6
	return r, err
}
