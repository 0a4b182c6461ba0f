package store

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync/atomic"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
)

// Staging keeps files of sinks with the checkpoints. Its methods may be called from any
// goroutine.
//
// A staged file is kept for as long as its attempt goes on, since nobody but the sink's
// task knows whether it will be part of an epoch; and, once a manifest names it, for as
// long as one that is retained does.
type Staging struct {
	j      *Job
	prefix string
	next   atomic.Uint64
}

// Staging is where the sinks of an attempt stage files.
func (j *Job) Staging(at flow.Attempt) *Staging {
	return &Staging{j: j, prefix: fmt.Sprintf("%sstaged/%08d/%s-", j.root, at, strconv.FormatUint(rand.Uint64(), 36))}
}

// Create begins a file; name is for people. ctx is for the whole of its writing.
func (s *Staging) Create(ctx context.Context, name string) (*Staged, error) {
	key := fmt.Sprintf("%s%d-%s", s.prefix, s.next.Add(1), shortName(name))
	w, err := s.j.newBlob(key)
	if err != nil {
		return nil, fmt.Errorf("store: stage %s: %w", name, err)
	}
	return &Staged{summed: summed{blobWriter: w}, s: s, ctx: ctx, name: name, key: key}, nil
}

// Open reads a staged file back. In place of io.EOF there is an error when its bytes
// are not those that were written; it wraps checkpoint.ErrCorrupt.
func (s *Staging) Open(ctx context.Context, f checkpoint.File) (io.ReadCloser, error) {
	st, key, err := s.j.where(f.Blob)
	if err != nil {
		return nil, err
	}
	r, err := st.Get(ctx, key)
	if err != nil {
		return nil, lost(f, err)
	}
	return verify(f, r), nil
}

// Staged writes one staged file. It belongs to one goroutine.
type Staged struct {
	summed
	s         *Staging
	ctx       context.Context
	name, key string
	ended     bool
}

// Write implements [io.Writer].
func (w *Staged) Write(p []byte) (int, error) {
	if w.ended {
		return 0, fmt.Errorf("store: stage %s: written to after its end", w.name)
	}
	if err := context.Cause(w.ctx); err != nil {
		return 0, err
	}
	return w.summed.Write(p)
}

// Commit makes the file safe and returns what Open needs.
func (w *Staged) Commit() (checkpoint.File, error) {
	if w.ended {
		return checkpoint.File{}, fmt.Errorf("store: stage %s: committed after its end", w.name)
	}
	w.ended = true
	defer w.drop()
	if err := w.commit(w.ctx); err != nil {
		return checkpoint.File{}, fmt.Errorf("store: stage %s: %w", w.name, err)
	}
	return w.file(w.name, w.key), nil
}

// Abort drops the file. After Commit it does nothing.
func (w *Staged) Abort() {
	if !w.ended {
		w.ended = true
		w.drop()
	}
}
