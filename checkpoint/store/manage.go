package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
)

// List gives the manifests that are retained, oldest first. It needs no claim.
func (j *Job) List(ctx context.Context) ([]*checkpoint.Manifest, error) {
	v, err := j.view(ctx)
	if err != nil {
		return nil, err
	}
	var out []*checkpoint.Manifest
	for _, e := range v.Manifests() {
		m, err := j.manifest(e)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// Load gives the manifest of an epoch, the newest for epoch 0. It needs no claim. The
// error wraps [ErrNotFound] where there is none.
func (j *Job) Load(ctx context.Context, e flow.Epoch) (*checkpoint.Manifest, error) {
	v, err := j.view(ctx)
	if err != nil {
		return nil, err
	}
	ms := v.Manifests()
	for _, n := range slices.Backward(ms) {
		if e == 0 || flow.Epoch(n.Epoch) == e {
			return j.manifest(n)
		}
	}
	if e == 0 {
		return nil, fmt.Errorf("%w: job %s has no checkpoint", ErrNotFound, j.id)
	}
	var epochs []uint64
	for _, n := range ms {
		epochs = append(epochs, n.Epoch)
	}
	return nil, fmt.Errorf("%w: job %s has no checkpoint of epoch %d; it has those of %d", ErrNotFound, j.id, e, epochs)
}

// ErrInUse is wrapped by the error of Delete about a checkpoint that is still wanted.
var ErrInUse = errors.New("store: checkpoint is in use")

// Delete removes the checkpoint of an epoch and what only it has named. It needs no
// claim. The newest one is refused: a restart goes on from it.
func (j *Job) Delete(ctx context.Context, e flow.Epoch) error {
	j.commits.Lock()
	defer j.commits.Unlock()
	v, err := j.view(ctx)
	if err != nil {
		return err
	}
	ms := v.Manifests()
	i := slices.IndexFunc(ms, func(n Numbered) bool { return flow.Epoch(n.Epoch) == e })
	switch {
	case i < 0:
		return fmt.Errorf("%w: job %s has no checkpoint of epoch %d", ErrNotFound, j.id, e)
	case i == len(ms)-1:
		return fmt.Errorf("%w: job %s goes on from epoch %d when it is started again; start it with --fresh to begin anew", ErrInUse, j.id, e)
	}
	// The number stays taken, so that nobody finds it free.
	gone := *ms[i].Entry
	gone.Kind, gone.Manifest = Removed, nil
	if err := j.put(ctx, j.entryKey(ms[i].Number), AppendEntry(nil, &gone)); err != nil {
		return fmt.Errorf("store: delete epoch %d of job %s: %w", e, j.id, err)
	}
	named := map[string]bool{}
	for k, n := range ms {
		m, err := j.manifest(n)
		if err != nil {
			return err
		}
		m.Files(func(f *checkpoint.File) {
			if k != i {
				named[f.Blob] = true
			} else if _, ok := named[f.Blob]; !ok {
				named[f.Blob] = false
			}
		})
	}
	j.forget(ms[i].Number)
	for blob, kept := range named {
		if _, key, err := j.where(blob); err == nil && key == blob && !kept {
			if err := j.st.Delete(ctx, blob); err != nil {
				return fmt.Errorf("store: delete epoch %d of job %s: %w", e, j.id, err)
			}
		}
	}
	return nil
}

// Remove removes all that the job has in storage. A running attempt is fenced first.
// Savepoints elsewhere stay.
func (j *Job) Remove(ctx context.Context) error {
	if _, err := j.ClaimFresh(ctx, 0); err != nil {
		return err
	}
	j.commits.Lock()
	defer j.commits.Unlock()
	j.mu.Lock()
	last := j.entryKey(j.mu.claim.next - 1)
	j.mu.Unlock()
	j.setClaim(nil)
	// The log first, lowest number first, so that at no time a manifest is left without its
	// files; the entry that fences last.
	for _, folder := range []string{"log/", ""} {
		var keys []string
		for info, err := range j.st.List(ctx, j.root+folder) {
			if err != nil {
				return fmt.Errorf("store: remove job %s: %w", j.id, err)
			}
			if info.Key != last {
				keys = append(keys, info.Key)
			}
		}
		for _, key := range keys {
			if err := j.st.Delete(ctx, key); err != nil {
				return fmt.Errorf("store: remove job %s: %w", j.id, err)
			}
		}
	}
	return j.st.Delete(ctx, last)
}

// Verified is the outcome of a verification.
type Verified struct {
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
	Problems []Problem `json:"problems,omitempty"`
}

// Problem is a file that is not as it should be.
type Problem struct {
	File checkpoint.File `json:"file"`
	Err  error           `json:"-"`
	Text string          `json:"error"`
}

// Verify reads every file that a manifest of the job names and checks length and sum. An
// error says that it could not go on; files that are damaged or gone are Problems.
func (j *Job) Verify(ctx context.Context, m *checkpoint.Manifest) (Verified, error) {
	return verifyAll(ctx, m, j.opts.Uploads, func(f checkpoint.File) *Files { return j.Files([]checkpoint.File{f}) })
}

// Verify is [Job.Verify] for a savepoint in st.
func Verify(ctx context.Context, st Storage, m *checkpoint.Manifest) (Verified, error) {
	return verifyAll(ctx, m, 4, func(f checkpoint.File) *Files { return FilesIn(st, []checkpoint.File{f}) })
}

func verifyAll(ctx context.Context, m *checkpoint.Manifest, atOnce int, in func(checkpoint.File) *Files) (Verified, error) {
	var mu sync.Mutex
	var out Verified
	seen := map[string]bool{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	m.Files(func(p *checkpoint.File) {
		f := *p
		if seen[f.Blob] {
			return
		}
		seen[f.Blob] = true
		g.Go(func() error {
			n, err := readThrough(gctx, in(f), f.Name)
			if err != nil && gctx.Err() != nil {
				return context.Cause(gctx)
			}
			mu.Lock()
			defer mu.Unlock()
			out.Files++
			out.Bytes += n
			if err != nil {
				out.Problems = append(out.Problems, Problem{f, err, err.Error()})
			}
			return nil
		})
	})
	err := g.Wait()
	return out, err
}

func readThrough(ctx context.Context, files *Files, name string) (int64, error) {
	r, err := files.Open(ctx, name)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return copyAll(io.Discard, r)
}
