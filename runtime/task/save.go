package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// save is an epoch's snapshot on its way to storage.
type save struct {
	barrier  flow.Barrier
	began    time.Time
	prepared []checkpoint.Committable
	snapshot checkpoint.TaskSnapshot
	frozen   state.Snapshot
	flight   *flight // nil where the epoch was aligned

	ctx    context.Context
	cancel context.CancelCauseFunc
	closed sync.Once
}

// drop ends the save, wherever it is: a write under way ends with an error.
func (s *save) drop(why error) {
	if s.cancel != nil {
		s.cancel(why)
	}
	s.closed.Do(s.frozen.Close)
}

// errAborted is why a save ends whose epoch was given up.
var errAborted = errors.New("task: the epoch was aborted")

// saves writes the task's snapshots, one after the other and in order, on a goroutine
// that lives while there is one to write.
type saves struct {
	t       *Task
	running sync.WaitGroup
	mu      struct {
		sync.Mutex
		queue []*save // the first is being written
	}
}

// add takes a snapshot to write.
func (v *saves) add(s *save) {
	s.ctx, s.cancel = context.WithCancelCause(v.t.ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mu.queue = append(v.mu.queue, s)
	if len(v.mu.queue) == 1 {
		v.running.Go(v.run)
	}
}

// drop gives up an epoch that has not been acknowledged. A write that has come to its
// end in this moment is acknowledged all the same: the coordinator ignores that.
func (v *saves) drop(e flow.Epoch, why error) {
	v.mu.Lock()
	var s *save
	for _, q := range v.mu.queue {
		if q.barrier.Epoch == e {
			s = q
		}
	}
	v.mu.Unlock()
	if s != nil {
		s.drop(why)
	}
}

// close gives up what is not written and waits for the goroutine to end. Nothing may
// be added any more.
func (v *saves) close() {
	v.mu.Lock()
	queue := slices.Clone(v.mu.queue)
	v.mu.Unlock()
	for _, s := range queue {
		s.drop(context.Canceled)
	}
	v.running.Wait()
}

func (v *saves) run() {
	for s := v.first(); s != nil; s = v.next() {
		v.one(s)
	}
}

func (v *saves) first() *save {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mu.queue[0]
}

func (v *saves) next() *save {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mu.queue[0] = nil
	v.mu.queue = v.mu.queue[1:]
	if len(v.mu.queue) == 0 {
		v.mu.queue = nil
		return nil
	}
	return v.mu.queue[0]
}

// one writes a snapshot and tells the coordinator. An epoch that could not be written
// is declined: the job can do without it, for some time. Where the store itself is
// broken the task has failed.
func (v *saves) one(s *save) {
	t := v.t
	err := v.guard(s)
	s.closed.Do(s.frozen.Close)
	gaveUp := s.ctx.Err() != nil
	s.cancel(nil)
	switch {
	case err == nil:
		s.snapshot.Took = time.Since(s.began).Microseconds()
		t.cfg.Listener.Ack(s.barrier.Epoch, s.prepared, &s.snapshot)
	case gaveUp:
		// Whoever aborted the epoch or ended the task knows.
	default:
		t.order(func() error {
			if err := t.stateErr(); err != nil {
				return err
			}
			if f := (*flow.Failure)(nil); errors.As(err, &f) {
				return t.failed(f)
			}
			t.cfg.Log.Warn("snapshot was not saved", "epoch", uint64(s.barrier.Epoch), "err", err)
			t.cfg.Listener.Decline(s.barrier.Epoch, fmt.Sprintf("task %s: saving its snapshot: %v", t.cfg.ID, err))
			return nil
		})
	}
}

// guard turns a panic into a failure of the task: it must not end the process.
func (v *saves) guard(s *save) (err error) {
	defer func() {
		if p := recover(); p != nil {
			f := &flow.Failure{Task: v.t.cfg.ID, Message: fmt.Sprintf("panic while epoch %d was saved: %v", s.barrier.Epoch, p), Stack: string(debug.Stack())}
			f.Cause, _ = p.(error)
			err = f
		}
	}()
	return v.write(s)
}

// write puts the files of a snapshot into storage and notes them in it.
func (v *saves) write(s *save) error {
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	states := s.frozen.States()
	if len(states) == 0 && s.flight == nil {
		return nil
	}
	files := v.t.cfg.Snapshots.Begin(s.ctx, s.barrier.Epoch)
	whole := false
	defer func() {
		if !whole {
			files.Abort()
		}
	}()
	if len(states) > 0 {
		if err := s.writeKeyed(states, files); err != nil {
			return err
		}
	}
	if s.flight != nil {
		// What is frozen need not be held while records are still coming.
		s.closed.Do(s.frozen.Close)
		if err := s.writeFlight(files); err != nil {
			return err
		}
	}
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	all, bytes, err := files.Done()
	if err != nil {
		return err
	}
	whole = true
	s.snapshot.Bytes = bytes
	if len(s.snapshot.Channels) > 0 {
		last := len(all) - 1
		s.snapshot.InFlight, all = &all[last], all[:last:last]
	}
	if s.snapshot.Keyed != nil {
		s.snapshot.Keyed.Files = all
	}
	return nil
}

func (s *save) writeKeyed(states []state.Stored, to SnapshotFiles) error {
	keyed := &checkpoint.Keyed{Form: uint8(s.frozen.Form())}
	for _, st := range states {
		schema, err := json.Marshal(st.Schema)
		if err != nil {
			return fmt.Errorf("the schema of %s: %w", st.Descriptor, err)
		}
		keyed.States = append(keyed.States, checkpoint.StateRef{Operator: string(st.Descriptor.Operator), Name: st.Descriptor.Name,
			Kind: uint8(st.Descriptor.Kind), Schema: schema})
	}
	s.snapshot.Keyed = keyed
	return s.frozen.Write(s.ctx, to)
}

// writeFlight waits for the records that the epoch has overtaken, and writes them
// behind all other files.
func (s *save) writeFlight(to SnapshotFiles) error {
	f := s.flight
	select {
	case <-f.done:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	s.snapshot.Pause += f.pause.Microseconds()
	s.snapshot.Books = append(s.snapshot.Books, f.books...)
	if s.snapshot.Channels = f.channels; len(f.channels) == 0 {
		return nil
	}
	return f.write(s.ctx, to)
}
