package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/bench/floor"
	"github.com/weirflow/weir/connector/datagen"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

var restart = Case{
	Name: "restart",
	What: "state of 1 KB for each key on disk: time from a start to the first result, and the bytes of an epoch in which 1 % of it changed",
	run:  runRestart,
}

// Restart is what the restart case measured beside what all do.
type Restart struct {
	// LoadS is how long it took to write the state, StateBytes what is on disk of it.
	LoadS      float64 `json:"load_s"`
	StateBytes int64   `json:"state_bytes"`
	// FirstResultMS is from the call of Run to the first record at the sink.
	FirstResultMS float64 `json:"first_result_ms"`
	// ChangedBytes is what changes in an epoch, EpochBytes what an epoch has added to
	// storage at the median.
	ChangedBytes int64 `json:"changed_bytes"`
	EpochBytes   int64 `json:"epoch_bytes"`
}

const (
	restartValue = 1 << 10 // bytes of state of a key
	restartShare = 100     // one key in so many changes after the restart
	restartGo    = 5       // epochs after the restart
)

// blob is the state of a key: what no compression makes smaller.
type blob struct {
	Sum   int64
	Bytes string
}

// runRestart loads the state, stops the job with a checkpoint, starts it again, and
// lets it go on for some epochs with a few of the keys.
func runRestart(ctx context.Context, o Options) (r Result, err error) {
	keys := o.Keys
	if keys == 0 {
		keys = 200_000
	}
	if o.Checkpoint == 0 {
		o.Checkpoint = time.Second
	}
	settings, done, err := o.settings("restart")
	if err != nil {
		return r, err
	}
	defer func() {
		if derr := done(); err == nil {
			err = derr
		}
	}()
	noise := make([]byte, 16<<20)
	seeded := rand.NewChaCha8([32]byte{1})
	_, _ = seeded.Read(noise) // never fails

	// first is of the job's first process, which ends when each key has been seen.
	var before restartRun
	before.done = make(chan struct{})
	before.want = keys
	loading := time.Now()
	settings.Stop = before.done
	if err := run.Run(ctx, restartPipeline(&before, noise, keys, keys, o.Parallelism), settings); err != nil && !errors.Is(err, run.ErrStopped) {
		return r, fmt.Errorf("loading: %w", err)
	}
	result := Restart{LoadS: time.Since(loading).Seconds()}
	if result.StateBytes, err = stored(settings.State); err != nil {
		return r, err
	}

	after := restartRun{done: make(chan struct{}), want: 1 << 62}
	settings.Stop, settings.Fresh = after.done, false
	hot := max(keys/restartShare, 1)
	var e epochs
	settings.OnEpoch = func(s run.EpochStats) {
		e.note(s)
		if len(e.all) == restartGo {
			close(after.done)
		}
	}
	start := time.Now()
	r, err = measure(after.seen.Load, func() error {
		err := run.Run(ctx, restartPipeline(&after, noise, keys, hot, o.Parallelism), settings)
		if errors.Is(err, run.ErrStopped) {
			return nil
		}
		return err
	})
	if err != nil {
		return r, fmt.Errorf("going on: %w", err)
	}
	if first := after.first.Load(); first != 0 {
		result.FirstResultMS = float64(time.Unix(0, first).Sub(start).Nanoseconds()) / 1e6
	}
	e.into(&r)
	var bytes []time.Duration
	for _, s := range e.all {
		bytes = append(bytes, time.Duration(s.Bytes))
	}
	result.ChangedBytes = hot * (restartValue + 8)
	result.EpochBytes = int64(quantileMS(bytes, 0.5) * 1e6)
	r.Restart = &result
	return r, nil
}

// restartPipeline is the job: each record finds its key's state and changes it. The
// source has no end; its records go round the first active keys.
func restartPipeline(s *restartRun, noise []byte, keys, active int64, parallelism int) *sdk.Pipeline {
	p := sdk.New("restart")
	src := datagen.Fill(func(first int64, out []floor.Event) {
		for i := range out {
			n := first + int64(i)
			out[i] = floor.Event{Key: uint64(n % active * (keys / active)), Value: 1, Time: n}
		}
	}, datagen.Splits(parallelism))
	byKey := sdk.KeyBy(sdk.Read(p, src), func(e floor.Event) uint64 { return e.Key })
	sums := sdk.Aggregate(byKey, sdk.Aggregator[floor.Event, blob, int64]{
		Add: func(acc *blob, e floor.Event) {
			if acc.Bytes == "" {
				at := datagen.Hash(1, int64(e.Key)) % uint64(len(noise)-restartValue)
				acc.Bytes = string(noise[at : at+restartValue])
				s.loaded.Add(1)
			}
			acc.Sum += e.Value
		},
		Merge:  func(into, from *blob) { into.Sum += from.Sum },
		Result: func(acc *blob) int64 { return acc.Sum },
	})
	sdk.Write(sums, s)
	return p
}

// stored is the size of the files below a directory, each counted once.
func stored(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("looking how much is stored: %w", err)
	}
	return n, nil
}

// restartRun is the sink of one of the two runs.
type restartRun struct {
	seen, first, loaded atomic.Int64
	want                int64
	told                atomic.Bool
	done                chan struct{} // closed when want keys were loaded
}

func (s *restartRun) Info() operator.SinkInfo { return operator.SinkInfo{Kind: "restart"} }
func (s *restartRun) Committer(*operator.CommitterContext) (operator.Committer, error) {
	return nil, nil
}
func (s *restartRun) Writer(*operator.WriterContext) (operator.Writer[sdk.KeyValue[uint64, int64]], error) {
	return s, nil
}

func (s *restartRun) Write(b *flow.Batch[sdk.KeyValue[uint64, int64]]) error {
	if s.seen.Add(int64(len(b.Values))) == int64(len(b.Values)) {
		s.first.Store(time.Now().UnixNano())
	}
	if s.loaded.Load() >= s.want && !s.told.Swap(true) {
		close(s.done)
	}
	return nil
}

func (*restartRun) Idle() error                          { return nil }
func (*restartRun) Prepare(flow.Barrier) ([]byte, error) { return nil, nil }
func (*restartRun) Tick(flow.Time) error                 { return nil }
func (*restartRun) Close() error                         { return nil }
