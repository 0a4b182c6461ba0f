package bench

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/weirflow/weir/bench/floor"
	"github.com/weirflow/weir/connector/datagen"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
)

var latency = Case{
	Name: "latency",
	What: "time from a record's generation to its sink, through one hash exchange, at a given rate",
	run:  runLatency,
}

// warmUp is left out of the latencies: the time in which the process starts.
const warmUp = time.Second

// runLatency generates records that carry the time of their generation, and
// measures their age at the sink.
func runLatency(ctx context.Context, o Options) (Result, error) {
	rate, n := o.Rate, o.Events
	if rate == 0 {
		rate = 10_000
	}
	if n == 0 {
		n = int64(rate * 10)
	}
	keys := o.Keys
	if keys == 0 {
		keys = 1000
	}
	start := time.Now()
	p := sdk.New("latency")
	src := datagen.New(func(i int64) floor.Event {
		e := floor.GenerateEvent(i, uint64(keys))
		e.Time = int64(time.Since(start))
		return e
	}, datagen.Count(n), datagen.Rate(rate), datagen.Splits(o.Parallelism))
	byKey := sdk.KeyBy(sdk.Read(p, src), func(e floor.Event) uint64 { return e.Key })
	same := sdk.Process(byKey, func(*sdk.Setup[uint64]) sdk.Processor[uint64, floor.Event, floor.Event] {
		return sdk.Processor[uint64, floor.Event, floor.Event]{
			Each: func(_ *sdk.Context[uint64], e floor.Event, out *sdk.Out[floor.Event]) { out.Emit(e) },
		}
	})
	sink := &latencySink{start: start}
	sdk.Write(same, sink)
	r, err := measureJob(ctx, "latency", p, o, func() int64 { return n })
	if err != nil {
		return r, err
	}
	slices.Sort(sink.ages)
	at := func(q float64) float64 {
		if len(sink.ages) == 0 {
			return 0
		}
		return float64(sink.ages[min(len(sink.ages)-1, int(q*float64(len(sink.ages))))]) / 1e6
	}
	r.P50MS, r.P99MS, r.P999MS = at(0.5), at(0.99), at(0.999)
	return r, nil
}

// latencySink notes the age of each record, in nanoseconds.
type latencySink struct {
	start time.Time
	mu    sync.Mutex
	ages  []int64
}

func (s *latencySink) Info() operator.SinkInfo { return operator.SinkInfo{Kind: "latency"} }
func (s *latencySink) Committer(*operator.CommitterContext) (operator.Committer, error) {
	return nil, nil
}

func (s *latencySink) Writer(*operator.WriterContext) (operator.Writer[floor.Event], error) {
	return &latencyWriter{sink: s, ages: make([]int64, 0, 1<<20)}, nil
}

type latencyWriter struct {
	sink *latencySink
	ages []int64
}

func (w *latencyWriter) Write(b *flow.Batch[floor.Event]) error {
	now := int64(time.Since(w.sink.start))
	if now < int64(warmUp) {
		return nil
	}
	for i := range b.Values {
		w.ages = append(w.ages, now-b.Values[i].Time)
	}
	return nil
}

func (*latencyWriter) Idle() error                          { return nil }
func (*latencyWriter) Prepare(flow.Barrier) ([]byte, error) { return nil, nil }
func (*latencyWriter) Tick(flow.Time) error                 { return nil }

func (w *latencyWriter) Close() error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	w.sink.ages = append(w.sink.ages, w.ages...)
	return nil
}
