package bench

import (
	"context"

	"github.com/weirflow/weir/bench/floor"
	"github.com/weirflow/weir/connector/datagen"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

var passthrough = Case{
	Name: "passthrough",
	What: "a struct of six fields through three operators in one chain",
	run:  runPassthrough,
}

func runPassthrough(ctx context.Context, o Options) (Result, error) {
	n := o.Events
	if n == 0 {
		n = 200_000_000
	}
	sink := &checkSink[floor.Record]{batch: func(vals []floor.Record) (check uint64, _ int64) {
		for i := range vals {
			check += floor.CheckRecord(&vals[i])
		}
		return check, 0
	}}
	p := sdk.New("passthrough")
	s := sdk.Read(p, datagen.Fill(func(first int64, out []floor.Record) {
		for i := range out {
			out[i] = floor.GenerateRecord(first + int64(i))
		}
	}, datagen.Count(n), datagen.Splits(o.Parallelism)))
	s = sdk.Update(s, floor.Discount)
	s = sdk.Update(s, floor.Double)
	s = sdk.Update(s, floor.Classify)
	sdk.Write(s, sink)
	r, err := measure(func() int64 { return sink.results }, func() error {
		return run.Run(ctx, p, run.Options{Parallelism: o.Parallelism})
	})
	if err != nil || o.NoFloor {
		return r, err
	}
	f := floor.Passthrough(n, o.Parallelism)
	r.FloorPerS = f.EventsPerSecond()
	if sink.results != f.Results || sink.check != f.Check {
		return r, mismatch("check", sink.check, f.Check)
	}
	return r, nil
}
