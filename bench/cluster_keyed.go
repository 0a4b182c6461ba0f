package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/bench/floor"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
)

var clusterKeyed = Case{
	Name: "cluster-keyed",
	What: "keyed on a cluster: two executor processes, half of the records go from one to the other, exactly-once epochs of 1 s",
	run:  runClusterKeyed,
}

// flinkKeyed is what the same job did on Flink 2.3.0 with state in its heap: one job manager and
// task managers on loopback, two cores, exactly-once checkpoints of 1 s.
var flinkKeyed = Peer{Name: "Flink 2.3.0, keyed sum of 100 k keys, heap state, epochs of 1 s, two cores", EventsPerS: 2.19e6}

func buildClusterKeyed(p *sdk.Pipeline, o *programOptions) error {
	stream := events(p, o.Events, o.Keys, 2)
	byKey := sdk.KeyBy(stream, func(e floor.Event) uint64 { return e.Key })
	sdk.Write(sdk.Aggregate(byKey, sdk.Sum(func(e floor.Event) int64 { return e.Value })), &tellSink{o: o})
	return nil
}

// tellSink counts results, and has each subtask tell what it has seen when it ends.
type tellSink struct{ o *programOptions }

func (s *tellSink) Info() operator.SinkInfo { return operator.SinkInfo{Kind: "tell"} }
func (s *tellSink) Committer(*operator.CommitterContext) (operator.Committer, error) {
	return nil, nil
}

func (s *tellSink) Writer(c *operator.WriterContext) (operator.Writer[sdk.KeyValue[uint64, int64]], error) {
	return &tellWriter{o: s.o, subtask: c.Subtask}, startProfile(s.o.Profile)
}

type tellWriter struct {
	o       *programOptions
	subtask int
	told    told
}

func (w *tellWriter) Write(b *flow.Batch[sdk.KeyValue[uint64, int64]]) error {
	now := time.Now().UnixMicro()
	if w.told.First == 0 {
		w.told.First = now
	}
	w.told.Last = now
	w.told.Results += int64(len(b.Values))
	for i := range b.Values {
		w.told.Largest = max(w.told.Largest, b.Values[i].Value)
	}
	return nil
}

func (*tellWriter) Idle() error                          { return nil }
func (*tellWriter) Prepare(flow.Barrier) ([]byte, error) { return nil, nil }
func (*tellWriter) Tick(flow.Time) error                 { return nil }

func (w *tellWriter) Close() error {
	err := w.told.tell(w.o.Out, w.subtask)
	if perr := stopProfile(w.o.Profile); err == nil {
		err = perr
	}
	return err
}

func runClusterKeyed(ctx context.Context, o Options) (r Result, err error) {
	po := programOptions{Events: o.Events, Keys: o.Keys, Profile: o.Profile}
	if po.Events == 0 {
		po.Events = 50_000_000
	}
	if po.Keys == 0 {
		po.Keys = 100_000
	}
	if o.Checkpoint == 0 {
		o.Checkpoint = time.Second
	}
	err = onCluster(ctx, rigged{workers: 2, slots: 1, weir: o.weir}, func(ctx context.Context, c *cluster) error {
		po.Out = filepath.Join(c.Dir(), "told")
		if err := os.MkdirAll(po.Out, 0o700); err != nil {
			return fmt.Errorf("a place for what is measured: %w", err)
		}
		spec := api.JobSpec{Name: "keyed", Parallelism: 2, SlotsPerExecutor: 1, State: filepath.Join(c.Dir(), "state"),
			Args: append(po.args("cluster-keyed"), "--epoch", o.Checkpoint.String())}
		if o.Backend != "" {
			spec.Args = append(spec.Args, "--backend", o.Backend)
		}
		j, err := c.runJob(ctx, spec)
		if err != nil {
			return err
		}
		t, err := readTold(po.Out)
		if err != nil {
			return err
		}
		if t.Results != po.Events {
			return mismatch("number of results", t.Results, po.Events)
		}
		wall := time.Duration(t.Last-t.First) * time.Microsecond
		r = Result{Events: t.Results, WallS: wall.Seconds(), EventsPerS: float64(t.Results) / wall.Seconds(), CPUS: t.CPUS, PeakRSSMB: t.PeakRSSM,
			Checkpoints: &Checkpoints{Count: int(j.Epoch)}}
		if !o.NoFloor {
			f := floor.KeyedSum(po.Events, po.Keys, 2)
			r.FloorPerS = f.EventsPerSecond()
			if t.Largest != f.Max {
				return mismatch("largest sum", t.Largest, f.Max)
			}
		}
		return nil
	})
	r.Peer = flinkKeyed.beside(r.EventsPerS)
	return r, err
}
