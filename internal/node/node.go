// Package node puts a process together out of a scheduler, workers, and what joins
// them. An [Embedded] is a job in one process: the two talk by calls. A [Coordinator] is
// the process of a job that has the scheduler, and may have a worker; an [Executor] has a
// worker only and dials it. Scheduler and worker are the same in all of them.
//
// A job with a state location keeps there what it needs to go on another time:
//
//	STATE/jobs/JOB/…   the commit log and the files of checkpoints (checkpoint/store)
//	STATE/local/JOB/…  files of the running tasks; removed at the start and the end
//
// The working files of a job whose state is not in a directory are in one for
// temporary files; those of an executor in a directory of its own.
//
// Invariants:
//
//  1. Run returns when everything that it has started is gone, and its files too.
//  2. Two embedded processes do not run one job in one directory: the second is refused.
//     Coordinators do not refuse each other: the newer one's claim ends the older one's
//     commits.
package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/internal/obs/metrics"
	"github.com/weirflow/weir/internal/obs/traces"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/runtime/worker"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/scheduler/job"
	"github.com/weirflow/weir/shuffle"
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
	// Task is told what happens to the tasks of a job in batch mode; see
	// scheduler.BatchOptions.
	Task func(scheduler.TaskEvent)
	// Metrics, where set, is told what happens to the job; see [Metrics]. Its counters are in
	// Registry.
	Metrics *metrics.Job
	// Traces, where set, is told too.
	Traces *traces.Job
	// Seed makes the order in which tasks read their inputs random, and draws the
	// jitter of restarts; 0 does not.
	Seed uint64
	// Now is the processing time. Default: the clock.
	Now func() flow.Time

	// State makes the job durable.
	State State
	// Restart decides what follows a failed attempt. Default: DefaultRestart where the
	// job is durable, otherwise the job fails.
	Restart job.RestartPolicy
	// Audit is about the books. Default scheduler.AuditStop.
	Audit scheduler.Audit
	// Hashes makes the books keep sums of hashes beside counts.
	Hashes bool
	// AlignTimeout is how long barriers are aligned before an epoch overtakes what is
	// under way. Default 0: for ever.
	AlignTimeout time.Duration
	// Check, where set, refuses plans that cannot run, when a job is to have another
	// parallelism.
	Check func(*graph.Plan) error
	// Planned, where set, is told by a coordinator of the plan that its job gets then.
	Planned func(*graph.Plan)
	// EpochTimeout is how long an epoch may take. Default that of checkpoint.Options.
	EpochTimeout time.Duration

	sorting int // bytes for each task of batch mode, 0 in others
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
	if o.Restart == nil && o.State.durable() {
		o.Restart = DefaultRestart(o.Seed, o.Now)
	}
	o.State.ensureDefaults()
}

// Embedded is a job in this process.
type Embedded struct {
	*Steering
	opt  Options
	plan *graph.Plan
}

// NewEmbedded makes a job that Run runs. It does no I/O.
func NewEmbedded(plan *graph.Plan, opt Options) (*Embedded, error) {
	opt.inBatch(plan, slots(plan))
	opt.EnsureDefaults()
	if err := opt.State.Validate(); err != nil {
		return nil, err
	}
	return &Embedded{Steering: newSteering(), opt: opt, plan: plan}, nil
}

// Run opens the job's state, where it has one, and runs the job to its end; see
// scheduler.Scheduler.Run.
func (e *Embedded) Run(ctx context.Context) (err error) {
	d, err := openState(ctx, e.opt, whole)
	if err != nil {
		return err
	}
	defer d.closeOr(e.opt.Log)
	o, err := d.scheduling(e.plan)
	if err != nil {
		return err
	}
	if e.plan.Mode == graph.Batch {
		return e.runBatch(ctx, d, o)
	}
	s, err := scheduler.New(o)
	if err != nil {
		return err
	}
	e.begin(s)
	defer e.between(false)
	wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	w := worker.New(wctx, d.working(e.plan, s))
	err = s.Run(ctx, w)
	cancel()
	w.Wait()
	if errors.Is(err, scheduler.ErrCancelled) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// scheduling is what a scheduler needs to run the job.
func (d *durable) scheduling(plan *graph.Plan) (scheduler.Options, error) {
	o := scheduler.Options{
		Job: d.id, Plan: plan, Log: d.opt.Log, Now: d.opt.Now, Listener: observe(d.opt.Listener, d.opt.Metrics, d.opt.Traces), Restart: d.opt.Restart,
		Epochs:  checkpoint.Options{Interval: d.opt.Interval, Timeout: d.opt.EpochTimeout},
		Staging: d.staging, From: d.from, Fresh: d.opt.State.Fresh, AllowDroppedState: d.opt.State.AllowDropped,
		Audit: d.opt.Audit, Engine: release(),
	}
	if plan.Mode == graph.Batch {
		o.Staging = d.stagingOfTasks
	}
	var err error
	if d.job != nil {
		o.Storage = kept{d.job}
		o.Graph, err = graph.Marshal(plan.Graph)
	}
	return o, err
}

// working is what a worker needs to run the job's tasks.
func (d *durable) working(plan *graph.Plan, s api.Scheduler) worker.Options {
	o := worker.Options{
		Plan: plan, Scheduler: s, BatchSize: d.opt.BatchSize, Credit: d.opt.Credit,
		Registry: d.opt.Registry, Log: d.opt.Log, Now: d.opt.Now, Seed: d.opt.Seed,
		State: d.open, Staging: d.staging, AlignTimeout: d.opt.AlignTimeout, Hashes: d.opt.Hashes,
		Batch: operator.Batch{Memory: d.opt.sorting, Dir: d.work},
	}
	if plan.Mode == graph.Batch {
		o.Staging = d.stagingOfTasks
	}
	if d.job != nil {
		o.Storage = worker.Stored(d.job)
	}
	return o
}
