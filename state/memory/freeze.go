package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// fileName is that of a snapshot's one file.
const fileName = "state"

// Freeze encodes all states. It holds up the task for as long: this store is the
// model, and for state that is small.
func (s *Store) Freeze(state.Form) (state.Snapshot, error) {
	z := &snapshot{}
	var b bytes.Buffer
	if err := s.Snapshot(&b); err != nil {
		return nil, err
	}
	z.data = b.Bytes()
	for _, r := range s.states {
		z.states = append(z.states, state.Stored{Descriptor: r.Descriptor(), Schema: r.Schema()})
	}
	for _, p := range s.pending {
		z.states = append(z.states, state.Stored{Descriptor: p.desc, Schema: p.schema})
	}
	return z, nil
}

type snapshot struct {
	data   []byte
	states []state.Stored
}

func (*snapshot) Form() state.Form         { return state.FormPortable }
func (z *snapshot) States() []state.Stored { return z.states }
func (*snapshot) Close()                   {}

func (z *snapshot) Write(_ context.Context, to state.Files) error {
	w, err := to.Create(fileName)
	if err != nil {
		return err
	}
	_, err = w.Write(z.data)
	return errors.Join(err, w.Close())
}

// Step looks for values that have expired.
func (s *Store) Step() bool { return s.sweeps.Step() }

// Notify has nothing to tell.
func (*Store) Notify(func()) {}

// Restore loads what snapshots hold of the store's key groups.
func (s *Store) Restore(ctx context.Context, from []state.Saved) error {
	for i := range from {
		if err := s.restoreOne(ctx, &from[i]); err != nil {
			return s.fail(err)
		}
	}
	return nil
}

func (s *Store) restoreOne(ctx context.Context, from *state.Saved) error {
	if from.Form != state.FormPortable {
		return fmt.Errorf("%w: the snapshot is of the form %s, and the state backend is memory; go on with the backend that wrote it, "+
			"or from a savepoint, which every backend reads", state.ErrIncompatible, from.Form)
	}
	for _, name := range from.Files.Names() {
		r, err := from.Files.Open(ctx, name)
		if err != nil {
			return err
		}
		err = s.read(r, from.Takes)
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

// dropped takes the entries of states that were not asked for.
type dropped struct{}

func (dropped) Load(flow.KeyGroup, []byte, []byte) error { return nil }
func (dropped) Done()                                    {}
