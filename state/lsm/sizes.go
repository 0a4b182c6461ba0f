package lsm

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// Sizes is what each operator's states take. The disk is shared by all states of the store:
// an operator's part of it is that of its entries, since Pebble does not count by state.
func (s *Store) Sizes() map[flow.OperatorID]state.Size {
	all := map[flow.OperatorID]state.Size{}
	var entries int64
	for _, h := range s.states {
		entries += h.entries()
	}
	disk := float64(s.onDisk())
	for _, h := range s.states {
		op := h.stored.Descriptor.Operator
		z := all[op]
		if h.paged != nil {
			z.Memory += h.paged.Bytes()
		}
		if entries > 0 {
			z.Disk += int64(disk * float64(h.entries()) / float64(entries))
		}
		all[op] = z
	}
	return all
}

// onDisk is what the database takes of the disk.
func (s *Store) onDisk() int64 {
	if s.db == nil || s.failed() {
		return 0
	}
	var n uint64
	if err := s.guarded(func() error {
		n = s.db.Metrics().DiskSpaceUsage()
		return nil
	}); err != nil {
		return 0 // the store has failed, and says so where it matters
	}
	return int64(n)
}

var _ state.Sized = (*Store)(nil)
