package node

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/runtime/worker"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/shuffle/spill"
)

// runBatch is Run in batch mode: what tasks write for others lies among the job's working
// files.
func (e *Embedded) runBatch(ctx context.Context, d *durable, o scheduler.Options) error {
	store, err := d.outputs()
	if err != nil {
		return err
	}
	s, err := scheduler.NewBatch(scheduler.BatchOptions{Options: o, Stores: ownStore{store, d.opt.Job}, Task: e.opt.Task})
	if err != nil {
		return err
	}
	wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	to := &relay{}
	work := d.working(e.plan, to)
	work.Outputs = &worker.Outputs{FS: vfs.Default, Host: store, Options: outputOptions(d.opt, e.plan),
		Opener: func(string) spill.Opener { return store }}
	w := worker.NewBatch(wctx, work)
	_, to.Scheduler = s.Join(w, api.Hello{Job: string(d.opt.Job), Alloc: "here", Slots: slots(e.plan)})
	e.begin(s)
	defer e.between(false)
	defer e.between(false)
	err = s.Run(ctx)
	cancel()
	w.Wait()
	if errors.Is(err, scheduler.ErrCancelled) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// outputs opens a store for what tasks write, among the working files.
func (d *durable) outputs() (*spill.Store, error) {
	dir, err := d.workDir()
	if err != nil {
		return nil, err
	}
	store, err := spill.Open(vfs.Default, filepath.Join(dir, "outputs"), spill.StoreOptions{})
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, store.Close)
	return store, nil
}

// outputOptions gives the outputs that tasks write at a time an eighth of the job's memory.
// They need not survive a loss of power: the tasks do not either.
func outputOptions(opt Options, plan *graph.Plan) spill.Options {
	edges := 1
	for i := range plan.Chains {
		edges = max(edges, len(plan.Chains[i].Outputs))
	}
	most := opt.State.Memory / 8 / int64(edges*slots(plan))
	return spill.Options{Memory: int(min(max(most, 1<<20), spill.DefaultMemory)), NoSync: true}
}

// stagingOfTasks is staging for tasks in batch mode, each of which has an attempt of its own.
func (d *durable) stagingOfTasks(at flow.Attempt) operator.Staging {
	return d.staging(scheduler.StagingOf(at))
}

// ownStore is the store of this process as the scheduler sees it.
type ownStore struct {
	s   *spill.Store
	job flow.JobID
}

func (o ownStore) Probe(context.Context, string) error { return nil }

func (o ownStore) Drop(_ context.Context, x api.Output) error { return o.s.Remove(outputID(o.job, x)) }

func (o ownStore) Clear(context.Context, string) error { return o.s.RemoveJob(o.job) }

// outputID names an output in its store.
func outputID(job flow.JobID, x api.Output) spill.ID {
	return spill.ID{Job: job, Exchange: flow.EdgeID{To: flow.OperatorID(x.Edge.To), Port: flow.Port(x.Edge.Port), Index: x.Edge.Index},
		Producer: x.Producer, Attempt: flow.Attempt(x.Attempt)}
}
