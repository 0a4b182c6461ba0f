package bench

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

// Checkpoints is what the epochs of a run have cost. Times are from the barrier's
// start at the sources to the commit.
type Checkpoints struct {
	Count int     `json:"count"`
	P50MS float64 `json:"p50_ms"`
	P99MS float64 `json:"p99_ms"`
	// Bytes is what all of them have added to storage, but for their manifests.
	Bytes int64 `json:"bytes"`
}

// epochs gathers what the engine tells of epochs.
type epochs struct {
	mu     sync.Mutex
	all    []run.EpochStats
	pauses []time.Duration // of all tasks
}

func (e *epochs) note(s run.EpochStats) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, s)
	e.pauses = append(e.pauses, s.Pauses...)
}

// into writes what was gathered into a result.
func (e *epochs) into(r *Result) {
	e.mu.Lock()
	defer e.mu.Unlock()
	took := make([]time.Duration, len(e.all))
	c := &Checkpoints{Count: len(e.all)}
	for i := range e.all {
		took[i] = e.all[i].Took
		c.Bytes += e.all[i].Bytes
	}
	c.P50MS, c.P99MS = quantileMS(took, 0.5), quantileMS(took, 0.99)
	r.Checkpoints = c
	r.BarrierPauseP99MS = quantileMS(e.pauses, 0.99)
}

// quantileMS sorts d, and returns the least of it that is not exceeded by a share q.
func quantileMS(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	i := int(math.Ceil(q*float64(len(d)))) - 1
	return float64(d[max(i, 0)].Nanoseconds()) / 1e6
}

// durable reports whether the run is to keep what it does.
func (o *Options) durable() bool { return o.State != "" || o.Checkpoint > 0 }

// settings are those of the engine for a run of case name. A durable run that is told
// no place gets one, which done removes.
func (o *Options) settings(name string) (_ run.Options, done func() error, err error) {
	r := run.Options{Parallelism: o.Parallelism, Epoch: o.Checkpoint, Memory: o.Memory, Audit: o.Audit, Mode: o.mode}
	r.Backend = o.Backend
	if !o.durable() {
		return r, func() error { return nil }, nil
	}
	r.State, r.Job, r.Fresh = o.State, "bench-"+name, true
	r.Restart.Never = true
	done = func() error { return nil }
	if r.State == "" {
		if r.State, err = os.MkdirTemp("", "weir-bench-"); err != nil {
			return r, nil, fmt.Errorf("making a place for checkpoints: %w", err)
		}
		done = func() error { return os.RemoveAll(r.State) }
	}
	return r, done, nil
}

// measureJob runs a pipeline as the options say, and adds what its epochs cost.
func measureJob(ctx context.Context, name string, p *sdk.Pipeline, o Options, events func() int64) (Result, error) {
	settings, done, err := o.settings(name)
	if err != nil {
		return Result{}, err
	}
	var e epochs
	settings.OnEpoch = e.note
	r, err := measure(events, func() error { return run.Run(ctx, p, settings) })
	if o.durable() {
		e.into(&r)
	}
	if derr := done(); err == nil && derr != nil {
		err = fmt.Errorf("removing the checkpoints: %w", derr)
	}
	return r, err
}
