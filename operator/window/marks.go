package window

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// delegate is a key that stands for its key group: the least number that is in
// it. What belongs to the group and to none of its keys is kept under it.
type delegate struct {
	key  uint64
	hash flow.Hash
}

// delegatesOf finds the delegates of n key groups. It tries n·ln n numbers or
// so: 700 for 128 groups, and a few milliseconds' worth for the most there can be.
func delegatesOf(n int) ([]delegate, error) {
	hash, err := keyhash.For[uint64]()
	if err != nil {
		return nil, err
	}
	all := make([]delegate, n)
	seen := make([]bool, n)
	for k, left := uint64(0), n; left > 0; k++ {
		h := hash(k)
		if g := flow.KeyGroupOf(h, n); !seen[g] {
			all[g], seen[g] = delegate{k, h}, true
			left--
		}
	}
	return all, nil
}

// Marks keep an operator's watermark with its keyed state, so that a record that
// was late before a restart is late after it. After rescaling an operator goes on
// from the least watermark of those that its key groups come from.
type Marks struct {
	delegates []delegate
	groups    flow.KeyGroupRange
	cells     *state.Cells[uint64, struct{}, flow.Time]
	saved     flow.Time
}

// OpenMarks declares the state and returns the watermark to go on from.
func OpenMarks(ctx *operator.Context, name string) (*Marks, flow.Time, error) {
	m := &Marks{groups: ctx.State.KeyGroups(), saved: flow.MinTime}
	var err error
	if m.delegates, err = delegatesOf(ctx.State.MaxParallelism()); err != nil {
		return nil, 0, err
	}
	m.cells, err = state.NewCells[uint64, struct{}, flow.Time](ctx.State, state.Descriptor{Operator: ctx.Operator, Name: name})
	if err != nil {
		return nil, 0, err
	}
	clock, first := flow.MinTime, true
	m.cells.Each(func(_ flow.Hash, _ uint64, _ struct{}, at *flow.Time) bool {
		if first || *at < clock {
			clock, first = *at, false
		}
		return true
	})
	return m, clock, nil
}

// Save is called at a barrier. The end of the input is not saved: a job that is
// started again from its last epoch has new input.
func (m *Marks) Save(clock flow.Time) {
	if clock == flow.MaxTime || clock == m.saved {
		return
	}
	m.saved = clock
	for g := m.groups.First; g < m.groups.End; g++ {
		m.cells.Put(m.delegates[g].hash, m.delegates[g].key, struct{}{}, clock)
	}
}
