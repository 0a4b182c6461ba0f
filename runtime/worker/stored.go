package worker

import (
	"context"
	"io"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/runtime/task"
	"github.com/weirflow/weir/state"
)

// Stored is the Storage of a job whose checkpoints are kept by j.
func Stored(j *store.Job) Storage { return stored{j} }

type stored struct{ j *store.Job }

func (s stored) Snapshots(id flow.TaskID, at flow.Attempt, base []checkpoint.File) task.Snapshots {
	return storedTask{s.j.Task(id, at, base)}
}

func (s stored) Files(files []checkpoint.File) state.SavedFiles { return s.j.Files(files) }

type storedTask struct{ t *store.Task }

func (s storedTask) Begin(ctx context.Context, e flow.Epoch) task.SnapshotFiles {
	return s.t.Begin(ctx, e)
}

// Staged makes the operator.Staging of each attempt of a job whose checkpoints are
// kept by j. It is for committers as well as for tasks.
func Staged(j *store.Job) func(flow.Attempt) operator.Staging {
	return func(at flow.Attempt) operator.Staging { return staging{j.Staging(at)} }
}

type staging struct{ s *store.Staging }

func (g staging) Create(ctx context.Context, name string) (operator.StagedWriter, error) {
	w, err := g.s.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (g staging) Open(ctx context.Context, f checkpoint.File) (io.ReadCloser, error) {
	return g.s.Open(ctx, f)
}
