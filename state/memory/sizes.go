package memory

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// Sizes is what each operator's states take.
func (s *Store) Sizes() map[flow.OperatorID]state.Size {
	all := map[flow.OperatorID]state.Size{}
	for _, r := range s.states {
		op := r.Descriptor().Operator
		all[op] = state.Size{Memory: all[op].Memory + r.Bytes()}
	}
	return all
}

var _ state.Sized = (*Store)(nil)
