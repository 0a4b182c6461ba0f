// Package node puts a process together: here, a scheduler and a worker that talk
// by calls. It is the same scheduler and the same worker as in a cluster.
package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/runtime/worker"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/memory"
)

// Options configure an embedded run; the zero value works.
type Options struct {
	// Job names the run. Default "embedded".
	Job flow.JobID
	// Interval is the time between epochs. Default 1 s.
	Interval time.Duration
	// BatchSize is in records. Default shuffle.DefaultBatchSize.
	BatchSize int
	// Credit is in bytes for each partition. Default shuffle.DefaultCredit.
	Credit   int
	Log      *slog.Logger  // default: nothing is logged
	Registry *obs.Registry // default: a new one
	Listener scheduler.Listener
	// Seed makes the order in which tasks read their inputs random; 0 does not.
	Seed uint64
	// Now is the processing time. Default: the clock.
	Now func() flow.Time
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	if o.Job == "" {
		o.Job = "embedded"
	}
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	if o.BatchSize == 0 {
		o.BatchSize = shuffle.DefaultBatchSize
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Registry == nil {
		o.Registry = &obs.Registry{}
	}
	if o.Now == nil {
		o.Now = func() flow.Time { return flow.TimeOf(time.Now()) }
	}
}

// Embedded is a job in this process.
type Embedded struct {
	opt       Options
	plan      *graph.Plan
	scheduler *scheduler.Scheduler
}

// NewEmbedded makes the job's scheduler. It starts nothing.
func NewEmbedded(plan *graph.Plan, opt Options) (*Embedded, error) {
	opt.EnsureDefaults()
	s, err := scheduler.New(scheduler.Options{
		Job: opt.Job, Plan: plan, Log: opt.Log, Now: opt.Now, Listener: opt.Listener,
		Epochs: checkpoint.Options{Interval: opt.Interval},
	})
	if err != nil {
		return nil, err
	}
	return &Embedded{opt: opt, plan: plan, scheduler: s}, nil
}

// Run runs the job to its end; see scheduler.Scheduler.Run.
func (e *Embedded) Run(ctx context.Context) error {
	wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	w := worker.New(wctx, worker.Options{
		Plan: e.plan, Scheduler: e.scheduler, BatchSize: e.opt.BatchSize, Credit: e.opt.Credit,
		Registry: e.opt.Registry, Log: e.opt.Log, Now: e.opt.Now, Seed: e.opt.Seed,
		State: func(_ flow.TaskID, max int, groups flow.KeyGroupRange) (state.Store, error) {
			return memory.New(memory.Options{MaxParallelism: max, KeyGroups: groups}), nil
		},
	})
	err := e.scheduler.Run(ctx, w)
	cancel()
	w.Wait()
	if errors.Is(err, scheduler.ErrCancelled) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Stop ends the sources; what was accepted is finished and committed.
func (e *Embedded) Stop() { e.scheduler.Stop() }
