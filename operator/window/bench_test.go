package window

import (
	"fmt"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state/memory"
)

type click struct {
	User  uint64
	Cents int64
}

func sumOf() Aggregator[click, int64, int64] {
	return Aggregator[click, int64, int64]{
		Add:    func(a *int64, c click) { *a += c.Cents },
		Merge:  func(into, from *int64) { *into += *from },
		Result: func(a *int64) int64 { return *a },
	}
}

type discard[T any] struct{ n int }

func (d *discard[T]) Receive(b *flow.Batch[T]) error { d.n += len(b.Values); return nil }

// benchWindows measures one record, its share of the results included. Records of
// keys spread evenly, perSecond of them in a second of event time; a watermark
// follows every 16 batches, one second behind.
func benchWindows(b *testing.B, s Spec, keys uint64, perSecond int) {
	key, err := operator.NewKey(func(c click) uint64 { return c.User })
	if err != nil {
		b.Fatal(err)
	}
	hash, err := keyhash.For[uint64]()
	if err != nil {
		b.Fatal(err)
	}
	cfg := Config[uint64, click]{Spec: s, Key: key}
	op, err := NewAggregate(cfg, sumOf())
	if err != nil {
		b.Fatal(err)
	}
	var out discard[Result[uint64, int64]]
	if err := op.Outlet(0).Attach(&out); err != nil {
		b.Fatal(err)
	}
	task := &fakeTask{op: op}
	if err := op.Open(&operator.Context{Operator: "w", BatchSize: 1024, MaxParallelism: 128, KeyGroups: flow.KeyGroupRange{End: 128},
		State: memory.New(memory.Options{}), Task: task, Metrics: &obs.Operator{}}); err != nil {
		b.Fatal(err)
	}
	in := op.Inlet(0).(operator.Receiver[click])
	batch := flow.Batch[click]{Values: make([]click, 1024), Times: make([]flow.Time, 1024), Hashes: make([]flow.Hash, 1024)}
	x, n := uint64(1), 0
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		for i := range batch.Values {
			x = x*6364136223846793005 + 1442695040888963407
			k := (x >> 33) % keys
			batch.Values[i] = click{k, int64(i)}
			batch.Times[i] = flow.Time(n * 1000 / perSecond * 1000)
			batch.Hashes[i] = hash(k)
			n++
		}
		if err := in.Receive(&batch); err != nil {
			b.Fatal(err)
		}
		if n/1024%16 == 0 {
			if _, err := op.Watermark(batch.Times[1023] - 1_000_000); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
	b.ReportMetric(float64(out.n)/float64(n), "results/record")
}

func BenchmarkTumbling(b *testing.B) {
	for _, keys := range []uint64{1000, 100_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			benchWindows(b, Spec{Assigner: Tumbling(10 * 1000 * 1000 * micro)}, keys, 100_000)
		})
	}
}

// BenchmarkSliding has one result for each key and slide; with the records per
// second fixed, a record's cost is to be the same at any overlap.
func BenchmarkSliding(b *testing.B) {
	for _, overlap := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("overlap=%d", overlap), func(b *testing.B) {
			slide := 1000 * 1000 * micro
			benchWindows(b, Spec{Assigner: Sliding(duration(overlap)*slide, slide)}, 1000, 10_000)
		})
	}
}

func BenchmarkCumulative(b *testing.B) {
	for _, steps := range []int{10, 1000} {
		b.Run(fmt.Sprintf("steps=%d", steps), func(b *testing.B) {
			step := 1000 * 1000 * micro
			benchWindows(b, Spec{Assigner: Cumulative(duration(steps)*step, step)}, 1000, 10_000)
		})
	}
}

func BenchmarkSession(b *testing.B) {
	benchWindows(b, Spec{Assigner: Session(1000 * 1000 * micro)}, 10_000, 10_000)
}

func BenchmarkTriggered(b *testing.B) {
	benchWindows(b, Spec{Assigner: Tumbling(10 * 1000 * 1000 * micro), Trigger: EarlyLate(EveryCount(100), nil)}, 10_000, 100_000)
}
