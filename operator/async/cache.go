package async

import "github.com/weirflow/weir/flow"

// cache remembers the answers to the questions asked last. Nodes stand in one
// slice and are linked by index, the one used last first: no allocation once it is
// full.
type cache[K comparable, V any] struct {
	size  int
	ttl   flow.Time // 0: for ever
	index map[K]int32
	nodes []node[K, V] // nodes[0] is the ring's anchor
}

type node[K comparable, V any] struct {
	k          K
	v          V
	until      flow.Time
	prev, next int32
}

func newCache[K comparable, V any](size int, ttl flow.Time) *cache[K, V] {
	return &cache[K, V]{size: size, ttl: ttl, index: map[K]int32{}, nodes: make([]node[K, V], 1)}
}

// get returns what is remembered, if it is still good.
func (c *cache[K, V]) get(k K, now flow.Time) (v V, ok bool) {
	i, ok := c.index[k]
	if !ok || now >= c.nodes[i].until {
		return v, false
	}
	c.unlink(i)
	c.link(i)
	return c.nodes[i].v, true
}

// put remembers v.
func (c *cache[K, V]) put(k K, v V, now flow.Time) {
	if c.size <= 0 {
		return
	}
	until := flow.MaxTime
	if c.ttl > 0 {
		until = now.Plus(c.ttl)
	}
	i, ok := c.index[k]
	switch {
	case ok:
		c.unlink(i)
	case len(c.nodes) <= c.size:
		i = int32(len(c.nodes))
		c.nodes = append(c.nodes, node[K, V]{})
	default:
		i = c.nodes[0].prev
		c.unlink(i)
		delete(c.index, c.nodes[i].k)
	}
	c.nodes[i].k, c.nodes[i].v, c.nodes[i].until = k, v, until
	c.index[k] = i
	c.link(i)
}

func (c *cache[K, V]) unlink(i int32) {
	n := &c.nodes[i]
	c.nodes[n.prev].next, c.nodes[n.next].prev = n.next, n.prev
}

func (c *cache[K, V]) link(i int32) {
	first := c.nodes[0].next
	c.nodes[i].prev, c.nodes[i].next = 0, first
	c.nodes[first].prev, c.nodes[0].next = i, i
}
