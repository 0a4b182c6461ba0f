package raft

import (
	"fmt"
	"io"

	hraft "github.com/hashicorp/raft"

	"github.com/weirflow/weir/cluster/registry"
)

// fsm lets raft apply entries to a registry.
type fsm struct{ r *registry.Registry }

func (f fsm) Apply(l *hraft.Log) any { return f.r.Apply(l.Index, l.Data) }

func (f fsm) Snapshot() (hraft.FSMSnapshot, error) {
	s, err := f.r.Snapshot()
	if err != nil {
		return nil, err
	}
	return fsmSnapshot{s}, nil
}

func (f fsm) Restore(from io.ReadCloser) error {
	err := f.r.Restore(from)
	if closeErr := from.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("raft: restore a snapshot: %w", closeErr)
	}
	return err
}

type fsmSnapshot struct{ s *registry.Snapshot }

func (s fsmSnapshot) Persist(sink hraft.SnapshotSink) error {
	if _, err := s.s.WriteTo(sink); err != nil {
		_ = sink.Cancel()
		return err
	}
	return sink.Close()
}

func (fsmSnapshot) Release() {}
