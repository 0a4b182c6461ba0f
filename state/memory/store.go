// Package memory keeps keyed state in memory: the model that other backends are
// measured against.
package memory

import (
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// Options configure a Store.
type Options struct {
	// MaxParallelism is the number of key groups of the job. Default:
	// flow.DefaultMaxParallelism.
	MaxParallelism int
	// KeyGroups is what the store's task owns of them. Default: all.
	KeyGroups flow.KeyGroupRange
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	if o.MaxParallelism == 0 {
		o.MaxParallelism = flow.DefaultMaxParallelism
	}
	if o.KeyGroups == (flow.KeyGroupRange{}) {
		o.KeyGroups.End = flow.KeyGroup(o.MaxParallelism)
	}
}

// Store is a state.Store in memory. It belongs to one goroutine.
type Store struct {
	opts   Options
	states []state.Resident
	err    error
}

var _ state.Store = (*Store)(nil)

// New makes an empty store. It starts nothing.
func New(o Options) *Store {
	o.EnsureDefaults()
	return &Store{opts: o}
}

// MaxParallelism is the number of key groups of the job.
func (s *Store) MaxParallelism() int { return s.opts.MaxParallelism }

// KeyGroups is what the store's task owns of them.
func (s *Store) KeyGroups() flow.KeyGroupRange { return s.opts.KeyGroups }

// Register makes a state known.
func (s *Store) Register(r state.Resident) error {
	d := r.Descriptor()
	for _, o := range s.states {
		if od := o.Descriptor(); od.Operator == d.Operator && od.Name == d.Name {
			return fmt.Errorf("%w: %s is declared as %s already; give it another name", state.ErrRegistered, d, od)
		}
	}
	s.states = append(s.states, r)
	return nil
}

// Bytes is the memory that the states take.
func (s *Store) Bytes() int64 {
	var n int64
	for _, r := range s.states {
		n += r.Bytes()
	}
	return n
}

// Err is always nil: memory does not fail.
func (s *Store) Err() error { return s.err }

// Close does nothing.
func (s *Store) Close() error { return nil }
