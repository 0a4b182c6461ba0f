package window

import (
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// crowd keeps, for each window, the keys that have something in it, and fires
// windows as a whole.
//
// Aligned windows of all keys end at the same moments. A timer for each key and
// window would cost more than the aggregate itself, and a table for each window
// could not be found again in a snapshot. So there is one timer and one list of
// keys for each window and key group: both are kept under a [delegate] of the key
// group, and so are stored, moved and rescaled with its keys.
//
// The lists are hints: a key may be there twice, or no longer have anything in
// the window. The cells know.
type crowd[K comparable] struct {
	delegates []delegate
	lists     *state.Cells[uint64, int64, []member[K]]
	timers    *state.Timers[uint64, int64]
	own       func(K) K // see state.Own

	// current has a bit for each key group that has the timer of the window and
	// time added last.
	current   []uint64
	currentJ  int64
	currentAt flow.Time

	firing []member[K]
}

type member[K comparable] struct {
	Hash flow.Hash `msgpack:"h"`
	Key  K         `msgpack:"k"`
}

func openCrowd[K comparable](s state.Store, delegates []delegate, op flow.OperatorID, name string) (*crowd[K], error) {
	c := &crowd[K]{delegates: delegates, currentJ: noWindow, own: state.Own[K]()}
	c.current = make([]uint64, (len(delegates)+63)/64)
	var err error
	if c.lists, err = state.NewCells[uint64, int64, []member[K]](s, state.Descriptor{Operator: op, Name: name + ".keys"}); err != nil {
		return nil, fmt.Errorf("window: lists of keys: %w", err)
	}
	if c.timers, err = state.NewTimers[uint64, int64](s, state.Descriptor{Operator: op, Name: name + ".fire"}); err != nil {
		return nil, fmt.Errorf("window: timers: %w", err)
	}
	return c, nil
}

// part is what a crowd keeps of a window for one key group.
type part struct {
	delegate
	window int64
}

// add puts a key into window j and sees to a timer at at.
func (c *crowd[K]) add(h flow.Hash, k K, j int64, at flow.Time) {
	p := part{c.delegates[flow.KeyGroupOf(h, len(c.delegates))], j}
	if c.own != nil {
		k = c.own(k)
	}
	list, _ := c.lists.Ref(p.hash, p.key, j)
	*list = append(*list, member[K]{h, k})
	c.see(p, at)
}

// see sees to a timer at at for p.
func (c *crowd[K]) see(p part, at flow.Time) {
	if p.window != c.currentJ || at != c.currentAt {
		c.currentJ, c.currentAt = p.window, at
		clear(c.current)
	}
	g := flow.KeyGroupOf(p.hash, len(c.delegates))
	word, bit := &c.current[g/64], uint64(1)<<(g%64)
	if *word&bit == 0 {
		*word |= bit
		c.timers.Add(p.hash, p.key, p.window, at)
	}
}

// due removes and returns the timer that is due first.
func (c *crowd[K]) due(upTo flow.Time) (p part, at flow.Time, ok bool) {
	p.hash, p.key, p.window, at, ok = c.timers.Pop(upTo)
	if ok && p.window == c.currentJ {
		c.currentJ = noWindow // its bits may now be wrong
	}
	return p, at, ok
}

// members are the keys of p. They stay valid until the next call of members, and
// keys may be added in between.
func (c *crowd[K]) members(p part) []member[K] {
	clear(c.firing)
	c.firing = c.firing[:0]
	if list := c.lists.Find(p.hash, p.key, p.window); list != nil {
		c.firing = append(c.firing, *list...)
	}
	return c.firing
}

// forget removes the list of p.
func (c *crowd[K]) forget(p part) { c.lists.Delete(p.hash, p.key, p.window) }
