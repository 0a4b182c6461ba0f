package window

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// crowd keeps, for each window, the keys that have something in it, and fires
// windows as a whole.
//
// Aligned windows of all keys end at the same moments. A timer for each key and
// window would cost more than the aggregate itself, and a table for each window
// could not be found again in a snapshot. So there is one timer and one list of
// keys for each window and key group: both live in keyed state, under a hash that
// is in the same key group as the keys, and so are stored, moved and rescaled
// with them.
//
// The lists are hints: a key may be there twice, or no longer have anything in
// the window. The cells know.
type crowd[K comparable] struct {
	lists  *state.Lists[place, member[K]]
	timers *state.Timers[flow.KeyGroup, int64]
	groups int
	// current has a bit for each key group that has the timer of the window and
	// time added last.
	current   []uint64
	currentJ  int64
	currentAt flow.Time
	firing    []member[K]
}

// place is the key of a list: a key group's part of a window.
type place struct {
	Group  flow.KeyGroup `msgpack:"g"`
	Window int64         `msgpack:"w"`
}

type member[K comparable] struct {
	Hash flow.Hash `msgpack:"h"`
	Key  K         `msgpack:"k"`
}

func openCrowd[K comparable](s state.Store, op flow.OperatorID, name string) (*crowd[K], error) {
	c := &crowd[K]{groups: s.MaxParallelism(), currentJ: noWindow}
	c.current = make([]uint64, (c.groups+63)/64)
	var err error
	if c.lists, err = state.NewLists[place, member[K]](s, state.Descriptor{Operator: op, Name: name + ".keys"}); err != nil {
		return nil, err
	}
	c.timers, err = state.NewTimers[flow.KeyGroup, int64](s, state.Descriptor{Operator: op, Name: name + ".fire"})
	return c, err
}

// hash is a hash in key group g, different for each window.
func (p place) hash() flow.Hash {
	return flow.Hash(p.Group)<<32 | flow.Hash(uint32(uint64(p.Window)*0x9e3779b97f4a7c15>>32))
}

// add puts a key into window j and sees to a timer at at.
func (c *crowd[K]) add(h flow.Hash, k K, j int64, at flow.Time) {
	p := place{flow.KeyGroupOf(h, c.groups), j}
	ph := p.hash()
	c.lists.Append(ph, p, member[K]{h, k})
	c.see(p, ph, at)
}

// see sees to a timer at at for the window's part p.
func (c *crowd[K]) see(p place, ph flow.Hash, at flow.Time) {
	if p.Window != c.currentJ || at != c.currentAt {
		c.currentJ, c.currentAt = p.Window, at
		clear(c.current)
	}
	word, bit := &c.current[p.Group/64], uint64(1)<<(p.Group%64)
	if *word&bit == 0 {
		*word |= bit
		c.timers.Add(ph, p.Group, p.Window, at)
	}
}

// due removes and returns the timer that is due first.
func (c *crowd[K]) due(upTo flow.Time) (p place, at flow.Time, ok bool) {
	_, g, j, at, ok := c.timers.Pop(upTo)
	if ok && j == c.currentJ {
		c.currentJ = noWindow // its bits may now be wrong
	}
	return place{g, j}, at, ok
}

// members are the keys of p. They stay valid until the next call of members, and
// keys may be added in between.
func (c *crowd[K]) members(p place) []member[K] {
	clear(c.firing)
	c.firing = append(c.firing[:0], c.lists.Get(p.hash(), p)...)
	return c.firing
}

// forget removes the list of p.
func (c *crowd[K]) forget(p place) { c.lists.Delete(p.hash(), p) }
