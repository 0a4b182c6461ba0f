package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/state"
)

// keyed opens the keyed state of one task.
type keyed struct {
	w      *Worker
	id     flow.TaskID
	groups flow.KeyGroupRange
	from   *checkpoint.TaskRestore // nil: from nothing
}

func (b *builder) keyed(id flow.TaskID, c *graph.Chain, r *checkpoint.TaskRestore) *keyed {
	return &keyed{b.w, id, flow.RangeOf(b.w.opt.Plan.MaxParallelism, c.Parallelism, id.Subtask), r}
}

// base is the files from which the state is opened in place: they need not be stored
// again.
func (k *keyed) base() []checkpoint.File {
	if k.from == nil || !k.from.InPlace(k.groups) {
		return nil
	}
	return k.from.Keyed[0].Keyed.Files
}

// open makes the store and restores it.
func (k *keyed) open(ctx context.Context) (state.Store, error) {
	store, err := k.w.opt.State(k.id, k.w.opt.Plan.MaxParallelism, k.groups)
	if err != nil {
		return nil, err
	}
	if err := k.restore(ctx, store); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

func (k *keyed) restore(ctx context.Context, store state.Store) error {
	if k.from == nil || len(k.from.Keyed) == 0 {
		return nil
	}
	if k.w.opt.Storage == nil {
		return fmt.Errorf("worker: epoch %d is to be restored, and there is no storage to read it from", k.from.Epoch)
	}
	saved := make([]state.Saved, len(k.from.Keyed))
	for i := range k.from.Keyed {
		r := &k.from.Keyed[i]
		saved[i] = state.Saved{
			Form:      state.Form(r.Keyed.Form),
			KeyGroups: flow.KeyGroupRange{First: flow.KeyGroup(r.First), End: flow.KeyGroup(r.End)},
			Files:     k.w.opt.Storage.Files(r.Keyed.Files),
		}
		for _, op := range r.Operators {
			saved[i].Operators = append(saved[i].Operators, flow.OperatorID(op))
		}
	}
	if err := store.Restore(ctx, saved); err != nil {
		return fmt.Errorf("restoring it from epoch %d: %w", k.from.Epoch, err)
	}
	return nil
}
