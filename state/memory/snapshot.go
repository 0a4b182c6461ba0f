package memory

import (
	"fmt"
	"io"

	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/portable"
)

// Snapshot writes all states. It holds up the task until it is done; w had better
// be memory.
func (s *Store) Snapshot(w io.Writer) error {
	if err := s.snapshot(w); err != nil {
		return fmt.Errorf("state/memory: snapshot: %w", err)
	}
	return nil
}

func (s *Store) snapshot(w io.Writer) error {
	if s.err != nil {
		return s.err
	}
	r := s.opts.KeyGroups
	head := &portable.Header{MaxParallelism: s.opts.MaxParallelism, KeyGroups: r}
	frozen := make([]state.Frozen, 0, len(s.states)+len(s.pending))
	add := func(d state.Descriptor, sc state.Schema, f state.Frozen) {
		head.States = append(head.States, portable.State{ID: uint16(len(frozen)), Stored: state.Stored{Descriptor: d, Schema: sc}})
		frozen = append(frozen, f)
	}
	for _, st := range s.states {
		f, err := st.Freeze(s.opts.MaxParallelism, r)
		if err != nil {
			return err
		}
		add(st.Descriptor(), st.Schema(), f)
	}
	for _, p := range s.pending {
		add(p.desc, p.schema, p)
	}
	out, err := portable.NewWriter(w, head)
	if err != nil {
		return err
	}
	for g := r.First; g < r.End; g++ {
		for id, f := range frozen {
			if err := f.Each(g, func(key, value []byte) error { return out.Add(g, uint16(id), key, value) }); err != nil {
				return err
			}
		}
	}
	return out.Close()
}
