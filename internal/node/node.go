// Package node puts a process together: here, a scheduler and a worker that talk
// by calls. It is the same scheduler and the same worker as in a cluster.
//
// A job with a state location keeps there what it needs to go on another time:
//
//	STATE/jobs/JOB/…   the commit log and the files of checkpoints (checkpoint/store)
//	STATE/local/JOB/…  files of the running tasks; removed at the start and the end
//
// The working files of a job whose state is not in a directory are in one for
// temporary files.
//
// Invariants:
//
//  1. Run returns when everything that it has started is gone, and its files too.
//  2. Two processes do not run one job in one directory: the second is refused.
package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
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
	// EpochTimeout is how long an epoch may take. Default that of checkpoint.Options.
	EpochTimeout time.Duration
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
	opt  Options
	plan *graph.Plan

	mu struct {
		sync.Mutex
		scheduler *scheduler.Scheduler         // once Run has made it
		wishes    []func(*scheduler.Scheduler) // from before that
	}
	made chan struct{} // closed with mu.scheduler
}

// NewEmbedded makes a job that Run runs. It does no I/O.
func NewEmbedded(plan *graph.Plan, opt Options) (*Embedded, error) {
	opt.EnsureDefaults()
	if err := opt.State.Validate(); err != nil {
		return nil, err
	}
	return &Embedded{opt: opt, plan: plan, made: make(chan struct{})}, nil
}

// Run opens the job's state, where it has one, and runs the job to its end; see
// scheduler.Scheduler.Run.
func (e *Embedded) Run(ctx context.Context) (err error) {
	d, err := openState(ctx, e.opt)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := d.close(); cerr != nil {
			e.opt.Log.Warn("closing the job's state", "err", cerr)
		}
	}()
	s, err := e.scheduler(d)
	if err != nil {
		return err
	}
	wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	wo := worker.Options{
		Plan: e.plan, Scheduler: s, BatchSize: e.opt.BatchSize, Credit: e.opt.Credit,
		Registry: e.opt.Registry, Log: e.opt.Log, Now: e.opt.Now, Seed: e.opt.Seed,
		State: d.open, Staging: d.staging, AlignTimeout: e.opt.AlignTimeout, Hashes: e.opt.Hashes,
	}
	if d.job != nil {
		wo.Storage = worker.Stored(d.job)
	}
	w := worker.New(wctx, wo)
	err = s.Run(ctx, w)
	cancel()
	w.Wait()
	if errors.Is(err, scheduler.ErrCancelled) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// scheduler makes the scheduler, and tells it what was wished for before.
func (e *Embedded) scheduler(d *durable) (*scheduler.Scheduler, error) {
	o := scheduler.Options{
		Job: d.id, Plan: e.plan, Log: e.opt.Log, Now: e.opt.Now, Listener: e.opt.Listener, Restart: e.opt.Restart,
		Epochs:  checkpoint.Options{Interval: e.opt.Interval, Timeout: e.opt.EpochTimeout},
		Staging: d.staging, From: d.from, Fresh: e.opt.State.Fresh, AllowDroppedState: e.opt.State.AllowDropped,
		Audit: e.opt.Audit, Engine: release(),
	}
	if d.job != nil {
		o.Storage = kept{d.job}
		var err error
		if o.Graph, err = graph.Marshal(e.plan.Graph); err != nil {
			return nil, err
		}
	}
	s, err := scheduler.New(o)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, wish := range e.mu.wishes {
		wish(s)
	}
	e.mu.scheduler, e.mu.wishes = s, nil
	close(e.made)
	return s, nil
}

// tell has the scheduler do something, now or as soon as it is there. f does not block.
func (e *Embedded) tell(f func(*scheduler.Scheduler)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.scheduler == nil {
		e.mu.wishes = append(e.mu.wishes, f)
		return
	}
	f(e.mu.scheduler)
}

// Stop ends the sources; what was accepted is finished and committed.
func (e *Embedded) Stop() { e.tell((*scheduler.Scheduler).Stop) }

// Suspend ends the job so that it can go on another time; see
// scheduler.Scheduler.Suspend.
func (e *Embedded) Suspend(savepoint string) {
	e.tell(func(s *scheduler.Scheduler) { s.Suspend(savepoint) })
}

// Savepoint copies a savepoint of the running job to dest. It waits for the job to run.
func (e *Embedded) Savepoint(ctx context.Context, dest string) (flow.Epoch, error) {
	select {
	case <-e.made:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	e.mu.Lock()
	s := e.mu.scheduler
	e.mu.Unlock()
	return s.Savepoint(ctx, dest)
}
