package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/lsm"
	"github.com/weirflow/weir/state/portable"
)

// stateSource is a checkpoint or savepoint whose keyed state is read.
type stateSource struct {
	m     *checkpoint.Manifest
	files func([]checkpoint.File) *store.Files
	// local is the directory that it is in, "" where it is elsewhere.
	local string
	close func()
}

// entryFunc takes one entry of a state: key group, key and value as they are stored. They
// are lent. errStop ends the reading.
type entryFunc func(st *state.Stored, e portable.Entry) error

// errStop is what an entryFunc returns when it has seen enough.
var errStop = errors.New("enough")

// each calls f for all entries of the states that wanted chooses, task after task and
// there by key groups.
func (s *stateSource) each(ctx context.Context, wanted func(operator, name string) bool, f entryFunc) error {
	for i := range s.m.Tasks {
		t := &s.m.Tasks[i]
		if t.Keyed == nil {
			continue
		}
		some := false
		for _, st := range t.Keyed.States {
			some = some || wanted(st.Operator, st.Name)
		}
		if !some {
			continue
		}
		read := s.readPortable
		if state.Form(t.Keyed.Form) != state.FormPortable {
			read = s.readNative
		}
		err := read(ctx, t, wanted, f)
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the state of task %s in epoch %d of job %s: %w", t.Task(), s.m.Epoch, s.m.Job, err)
		}
	}
	return nil
}

func (s *stateSource) readPortable(ctx context.Context, t *checkpoint.TaskSnapshot, wanted func(operator, name string) bool, f entryFunc) error {
	files := s.files(t.Keyed.Files)
	for _, name := range files.Names() {
		r, err := files.Open(ctx, name)
		if err != nil {
			return err
		}
		err = readStream(r, s.m.MaxParallelism, wanted, f)
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

// readStream reads a snapshot in the portable form.
func readStream(r io.Reader, maxParallelism int, wanted func(operator, name string) bool, f entryFunc) error {
	in, err := portable.NewReader(r)
	if err != nil {
		return err
	}
	if err := in.Header().Check(maxParallelism); err != nil {
		return err
	}
	states := map[uint16]*state.Stored{}
	for i := range in.Header().States {
		st := &in.Header().States[i]
		if wanted(string(st.Descriptor.Operator), st.Descriptor.Name) {
			states[st.ID] = &st.Stored
		}
	}
	for {
		e, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if st := states[e.ID]; st != nil {
			if err := f(st, e); err != nil {
				return err
			}
		}
	}
}

// readNative reads a snapshot that is the files of an LSM tree: a store is opened from
// them, as a task would, and asked for the portable form. Where the checkpoints are on a
// local disk, the files are links.
func (s *stateSource) readNative(ctx context.Context, t *checkpoint.TaskSnapshot, wanted func(operator, name string) bool, f entryFunc) (err error) {
	if form := state.Form(t.Keyed.Form); form != state.FormLSM {
		return fmt.Errorf("it is in %s %d, which this version cannot read", form, t.Keyed.Form)
	}
	dir, err := s.scratch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	env, err := lsm.NewEnv(lsm.EnvOptions{Memory: 64 << 20})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, env.Close()) }()
	db, err := env.Open(lsm.Options{Dir: dir, MaxParallelism: s.m.MaxParallelism, KeyGroups: t.KeyGroups()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Restore(ctx, []state.Saved{{Form: state.FormLSM, KeyGroups: t.KeyGroups(), Files: s.files(t.Keyed.Files)}}); err != nil {
		return err
	}
	z, err := db.Freeze(state.FormPortable)
	if err != nil {
		return err
	}
	defer z.Close()
	// The store's work is done here, bit by bit, while one goroutine writes the stream and
	// another reads it.
	stepped := make(chan struct{}, 1)
	db.Notify(func() {
		select {
		case stepped <- struct{}{}:
		default:
		}
	})
	in, out := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		err := z.Write(ctx, pipeFiles{out})
		out.CloseWithError(err)
		return err
	})
	done := make(chan error, 1)
	go func() {
		err := readStream(in, s.m.MaxParallelism, wanted, f)
		in.CloseWithError(err)
		if werr := g.Wait(); err == nil {
			err = werr
		}
		done <- err
	}()
	for {
		for db.Step() {
		}
		select {
		case <-stepped:
		case err := <-done:
			return err
		}
	}
}

// scratch makes a directory for files that are looked at: beside the checkpoints, where
// links to them can be made, or among temporary files.
func (s *stateSource) scratch() (string, error) {
	if s.local != "" {
		if dir, err := os.MkdirTemp(s.local, ".weir-read-"); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp("", "weir-read-")
}

// pipeFiles takes the one file of the portable form.
type pipeFiles struct{ out *io.PipeWriter }

func (p pipeFiles) Create(string) (io.WriteCloser, error) { return p.out, nil }

func (pipeFiles) Link(name, _ string) error {
	return fmt.Errorf("a file %q in the portable form, which has but one", name)
}
