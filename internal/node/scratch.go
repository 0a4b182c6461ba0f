package node

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/runtime/worker"
)

// scratch is the staging of a job that keeps nothing: in files that go with the
// process, and only if a sink stages any.
type scratch struct {
	d  *durable
	at flow.Attempt
}

// job is the storage of all scratches of the run.
func (s *scratch) job() (*store.Job, error) {
	d := s.d
	d.scratch.Lock()
	defer d.scratch.Unlock()
	if d.scratch.job != nil {
		return d.scratch.job, nil
	}
	dir, err := d.workDir()
	if err != nil {
		return nil, err
	}
	// The first that asks may be gone before the others.
	st, err := store.Open(context.Background(), filepath.Join(dir, "staged"))
	if err != nil {
		return nil, err
	}
	j := store.OpenJob(st, d.opt.Job, store.JobOptions{Log: d.opt.Log})
	d.closers = append(d.closers, st.Close, j.Close)
	d.scratch.job = j
	return j, nil
}

// apart is the staging of a job that keeps nothing and has several processes.
type apart struct{}

var errApart = errors.New("a sink that stages files needs a place that all processes of the job reach: give the job a state location")

func (apart) Create(context.Context, string) (operator.StagedWriter, error) { return nil, errApart }

func (apart) Open(context.Context, checkpoint.File) (io.ReadCloser, error) { return nil, errApart }

// Create begins a file.
func (s *scratch) Create(ctx context.Context, name string) (operator.StagedWriter, error) {
	j, err := s.job()
	if err != nil {
		return nil, err
	}
	return worker.Staged(j)(s.at).Create(ctx, name)
}

// Open reads a file back.
func (s *scratch) Open(ctx context.Context, f checkpoint.File) (io.ReadCloser, error) {
	j, err := s.job()
	if err != nil {
		return nil, err
	}
	return worker.Staged(j)(s.at).Open(ctx, f)
}
