package lsm

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/portable"
)

// portableFile is the one file of a snapshot in the portable form.
const portableFile = "state"

// snapshot is what a store held at a cut.
type snapshot struct {
	s    *Store
	form state.Form
	meta meta
	job  *job
	dir  string        // of links, in FormLSM
	over chan struct{} // closed when it is written or closed, and no longer written

	view *pebble.Snapshot // in FormPortable
	mu   struct {
		sync.Mutex
		taken   bool // dir or view is there
		writing context.CancelFunc
		closed  bool // or written
		ended   bool
	}
}

func (s *Store) newSnapshot(form state.Form) *snapshot {
	s.snapshots++
	z := &snapshot{s: s, form: form, over: make(chan struct{}), dir: s.fs.PathJoin(s.dirOut, fmt.Sprintf("%06d", s.snapshots))}
	z.meta = meta{MaxParallelism: s.opts.MaxParallelism, KeyGroups: s.opts.KeyGroups, NextID: s.nextID}
	for _, h := range s.states {
		z.meta.States = append(z.meta.States, savedState{ID: h.id, Stored: h.stored, Entries: h.entries()})
	}
	return z
}

// Form is that of the files.
func (z *snapshot) Form() state.Form { return z.form }

// States lists the states in it.
func (z *snapshot) States() []state.Stored {
	all := make([]state.Stored, len(z.meta.States))
	for i := range all {
		all[i] = z.meta.States[i].Stored
	}
	return all
}

// take keeps what Pebble has, on the store's goroutine, right after the cut has been
// written.
func (z *snapshot) take() error {
	z.mu.Lock()
	closed := z.mu.closed
	z.mu.Unlock()
	if closed {
		return nil
	}
	if z.form == state.FormLSM {
		if err := z.s.db.Checkpoint(z.dir); err != nil {
			return fmt.Errorf("taking a checkpoint: %w", err)
		}
	} else {
		z.view = z.s.db.NewSnapshot()
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.mu.taken = true
	if z.mu.closed {
		z.releaseLocked()
	}
	return nil
}

// releaseLocked lets go of what take kept, once.
func (z *snapshot) releaseLocked() {
	if !z.mu.taken || z.mu.writing != nil {
		return
	}
	z.mu.taken = false
	if z.view != nil {
		if err := z.view.Close(); err != nil {
			z.s.fail(z.s.wrap("closing a snapshot", err))
		}
	} else {
		_ = z.s.fs.RemoveAll(z.dir) // what is left is removed with the store
	}
}

// endLocked tells whoever waits that the snapshot is over.
func (z *snapshot) endLocked() {
	z.mu.closed = true
	z.releaseLocked()
	if z.mu.writing == nil && !z.mu.ended {
		z.mu.ended = true
		close(z.over)
	}
}

// Close lets go of the snapshot.
func (z *snapshot) Close() {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.mu.writing != nil {
		z.mu.writing()
	}
	z.endLocked()
}

// Write hands all files over.
func (z *snapshot) Write(ctx context.Context, to state.Files) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	z.mu.Lock()
	if z.mu.closed || z.mu.writing != nil {
		z.mu.Unlock()
		return fmt.Errorf("state/lsm: %s: writing a snapshot that was closed, or is written: %w", z.s.opts.Dir, ErrClosed)
	}
	z.mu.writing = cancel
	z.mu.Unlock()
	err := z.write(ctx, to)
	z.mu.Lock()
	defer z.mu.Unlock()
	z.mu.writing = nil
	z.endLocked()
	if err != nil {
		return z.s.wrap("writing a snapshot", err)
	}
	return nil
}

func (z *snapshot) write(ctx context.Context, to state.Files) error {
	select {
	case <-z.job.done:
		if z.job.err != nil {
			return z.job.err
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if z.form == state.FormPortable {
		return z.writePortable(ctx, to)
	}
	names, err := z.s.fs.List(z.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := z.handOver(name, to); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return create(to, metaFile, func(w io.Writer) error {
		_, err := w.Write(appendMeta(nil, &z.meta))
		return err
	})
}

// handOver gives one file of the checkpoint away.
func (z *snapshot) handOver(name string, to state.Files) error {
	path := z.s.fs.PathJoin(z.dir, name)
	file := savedFile{Name: name}
	if isTable(name) && z.s.linked {
		z.meta.Files = append(z.meta.Files, file)
		return to.Link(name, path)
	}
	f, err := z.s.fs.Open(path)
	if err != nil {
		return err
	}
	sum := crc32.New(castagnoli)
	err = create(to, name, func(w io.Writer) (err error) {
		file.Size, err = io.Copy(io.MultiWriter(sum, w), f)
		return err
	})
	if isTable(name) {
		file.Size = 0
	} else {
		file.CRC32C = sum.Sum32()
	}
	z.meta.Files = append(z.meta.Files, file)
	return errors.Join(err, f.Close())
}

func isTable(name string) bool { return strings.HasSuffix(name, ".sst") }

// create writes one file.
func create(to state.Files, name string, f func(io.Writer) error) error {
	w, err := to.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(f(w), w.Close())
}

// writePortable writes all entries as one stream. They are in its order already.
func (z *snapshot) writePortable(ctx context.Context, to state.Files) error {
	return create(to, portableFile, func(out io.Writer) error {
		head := &portable.Header{MaxParallelism: z.meta.MaxParallelism, KeyGroups: z.meta.KeyGroups}
		for _, st := range z.meta.States {
			head.States = append(head.States, portable.State{ID: st.ID, Stored: st.Stored})
		}
		w, err := portable.NewWriter(out, head)
		if err != nil {
			return err
		}
		var end []byte
		for g := z.meta.KeyGroups.First; g < z.meta.KeyGroups.End; g++ {
			for _, st := range z.meta.States {
				if st.Entries == 0 {
					continue
				}
				if err := z.writeRange(ctx, w, g, st.ID, &end); err != nil {
					return err
				}
			}
		}
		return w.Close()
	})
}

func (z *snapshot) writeRange(ctx context.Context, w *portable.Writer, g flow.KeyGroup, id uint16, end *[]byte) error {
	var failed error
	err := scan(z.view, appendPrefix(nil, g, id), end, nil, func(key, value []byte) bool {
		failed = w.Add(g, id, key, value)
		return failed == nil && ctx.Err() == nil
	})
	if err == nil && failed == nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(err, failed)
}
