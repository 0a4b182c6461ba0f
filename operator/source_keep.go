package operator

import (
	"slices"
	"strings"

	"github.com/weirflow/weir/flow"
)

// epochSplits is the splits in hand at a barrier, with their positions.
type epochSplits struct {
	epoch  flow.Epoch
	splits []Split
}

// Barrier has nothing to send: what was read has left. A reader that is told of
// commits will be told these positions.
func (s *source[T]) Barrier(b flow.Barrier) ([]byte, error) {
	if _, ok := s.reader.(EpochReader); !ok {
		return nil, nil
	}
	splits, err := s.reader.Snapshot()
	if err != nil {
		return nil, external(err)
	}
	s.ended = append(s.ended, epochSplits{b.Epoch, splits})
	return nil, nil
}

// Committed tells a reader that wants to know.
func (s *source[T]) Committed(e flow.Epoch) error {
	i := slices.IndexFunc(s.ended, func(at epochSplits) bool { return at.epoch > e })
	if i < 0 {
		i = len(s.ended)
	}
	if i == 0 {
		return nil
	}
	newest := s.ended[i-1]
	s.ended = slices.Delete(s.ended, 0, i)
	if newest.epoch != e {
		return nil
	}
	return external(s.reader.(EpochReader).Committed(e, newest.splits))
}

// Splits returns the splits in hand with their positions, in the order of ids.
func (s *source[T]) Splits() ([]Split, error) {
	splits, err := s.reader.Snapshot()
	if err != nil {
		return nil, external(err)
	}
	splits = append(slices.Clip(splits), s.held...)
	slices.SortFunc(splits, func(a, b Split) int { return strings.Compare(a.ID, b.ID) })
	return splits, nil
}
