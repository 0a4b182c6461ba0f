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

// Validate refuses what cannot be.
func (o *Options) Validate() error {
	if o.MaxParallelism < 1 || o.MaxParallelism > flow.MaxMaxParallelism {
		return fmt.Errorf("state/memory: max parallelism is %d, not 1 to %d", o.MaxParallelism, flow.MaxMaxParallelism)
	}
	if o.KeyGroups.First > o.KeyGroups.End || int(o.KeyGroups.End) > o.MaxParallelism {
		return fmt.Errorf("state/memory: key groups %s are not among %d", o.KeyGroups, o.MaxParallelism)
	}
	return nil
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
	opts    Options
	states  []state.Resident
	sweeps  state.Sweepers
	pending []*pending // restored, not claimed
	err     error
}

var _ state.Store = (*Store)(nil)

// New makes an empty store. It starts nothing. Options that Validate refuses are
// the store's Err.
func New(o Options) *Store {
	o.EnsureDefaults()
	return &Store{opts: o, err: o.Validate()}
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
	s.sweeps.Add(r)
	if err := s.claim(r); err != nil {
		return s.fail(err)
	}
	return nil
}

// Unclaimed is what was restored and is of no registered state.
func (s *Store) Unclaimed() []state.Descriptor {
	var all []state.Descriptor
	for _, p := range s.pending {
		all = append(all, p.desc)
	}
	return all
}

// fail keeps the first error.
func (s *Store) fail(err error) error {
	if s.err == nil {
		s.err = err
	}
	return err
}

// Bytes is the memory that the states take.
func (s *Store) Bytes() int64 {
	var n int64
	for _, r := range s.states {
		n += r.Bytes()
	}
	for _, p := range s.pending {
		n += p.bytes
	}
	return n
}

// Err is the error of a restore that did not succeed. Nothing else fails.
func (s *Store) Err() error { return s.err }

// Close does nothing.
func (s *Store) Close() error { return nil }
