package batch

import (
	"unsafe"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
)

// group is an entry of a table.
type group[K comparable, A any] struct {
	hash flow.Hash
	key  K
	acc  A
}

// chunks hands out memory for groups to several tables, which give it back.
type chunks[K comparable, A any] struct {
	shift int // a chunk has 1<<shift groups
	bytes int // of one chunk
	made  int // chunks in tables
	free  [][]group[K, A]
	keys  *codec.Codec[K]
	accs  *codec.Codec[A]
	// fixedKey and fixedAcc say that nothing has memory of its own.
	fixedKey, fixedAcc bool
}

func newChunks[K comparable, A any](keys *codec.Codec[K], accs *codec.Codec[A], memory int) *chunks[K, A] {
	c := &chunks[K, A]{keys: keys, accs: accs, fixedKey: keys.Pointerless(), fixedAcc: accs.Pointerless()}
	size := int(unsafe.Sizeof(group[K, A]{}))
	// Many tables share the memory, and each has a chunk that is not full.
	for most := min(memory/256, 64<<10); 2<<c.shift*size <= most; c.shift++ {
	}
	c.bytes = size << c.shift
	return c
}

func (c *chunks[K, A]) get() []group[K, A] {
	c.made++
	if n := len(c.free); n > 0 {
		g := c.free[n-1]
		c.free = c.free[:n-1]
		return g
	}
	return make([]group[K, A], 0, 1<<c.shift)
}

func (c *chunks[K, A]) put(g []group[K, A]) {
	c.made--
	clear(g)
	c.free = append(c.free, g[:0])
}

// drop forgets free chunks, of so many bytes in all if there are as many.
func (c *chunks[K, A]) drop(bytes int) {
	if n := min(len(c.free), (bytes+c.bytes-1)/c.bytes); n > 0 {
		clear(c.free[len(c.free)-n:])
		c.free = c.free[:len(c.free)-n]
	}
}

// trim forgets free chunks, so that the memory may serve for something else.
func (c *chunks[K, A]) trim() { c.free = nil }

// size is what is held, free chunks too.
func (c *chunks[K, A]) size() int { return (c.made + len(c.free)) * c.bytes }

// table maps keys to accumulators: an index of 8 bytes a slot with open addressing over
// groups in chunks, which never move. A slot has half of the hash, so that a group is
// mostly looked at only if it is the one.
type table[K comparable, A any] struct {
	mem    *chunks[K, A]
	index  []uint64 // hash's high half, and the number of the group from 1
	chunks [][]group[K, A]
	n      int
	// beside is the memory of keys and, as measured last, of accumulators.
	beside, besideAccs int
}

// find finds or makes the group of a key. h is the key's hash.
func (t *table[K, A]) find(h flow.Hash, key K) (g *group[K, A], isNew bool) {
	if t.full() {
		t.grow()
	}
	index, mask := t.index, uint64(len(t.index)-1)
	tag := uint64(h) &^ (1<<32 - 1)
	shift := t.mem.shift
	for at := slot(h) & mask; ; at = (at + 1) & mask {
		s := index[at]
		if s == 0 {
			t.n++
			index[at] = tag | uint64(uint32(t.n))
			return t.add(h, key), true
		}
		if s&^(1<<32-1) != tag {
			continue
		}
		n := int(uint32(s)) - 1
		if g := &t.chunks[n>>shift][n&(1<<shift-1)]; g.hash == h && g.key == key {
			return g, false
		}
	}
}

// look finds the group of a key, or nil.
func (t *table[K, A]) look(h flow.Hash, key K) *group[K, A] {
	if len(t.index) == 0 {
		return nil
	}
	index, mask := t.index, uint64(len(t.index)-1)
	tag := uint64(h) &^ (1<<32 - 1)
	shift := t.mem.shift
	for at := slot(h) & mask; ; at = (at + 1) & mask {
		s := index[at]
		if s == 0 {
			return nil
		}
		if s&^(1<<32-1) != tag {
			continue
		}
		n := int(uint32(s)) - 1
		if g := &t.chunks[n>>shift][n&(1<<shift-1)]; g.hash == h && g.key == key {
			return g
		}
	}
}

// slot is where a hash's search begins.
func slot(h flow.Hash) uint64 { return uint64(h) ^ uint64(h)>>29 }

func (t *table[K, A]) add(h flow.Hash, key K) *group[K, A] {
	last := len(t.chunks) - 1
	if last < 0 || len(t.chunks[last]) == 1<<t.mem.shift {
		t.chunks = append(t.chunks, t.mem.get())
		last++
	}
	c := t.chunks[last]
	c = c[:len(c)+1]
	t.chunks[last] = c
	g := &c[len(c)-1]
	g.hash, g.key = h, key
	if !t.mem.fixedKey {
		t.beside += t.mem.keys.MemSize([]K{key}) - int(unsafe.Sizeof(key))
	}
	return g
}

func (t *table[K, A]) full() bool { return 4*(t.n+1) > 3*len(t.index) }

// growth is the memory that the next call of find needs for its index, the old one and
// the new one at once.
func (t *table[K, A]) growth() int {
	if t.full() {
		return 16*len(t.index) + 128
	}
	return 0
}

// grow doubles the index.
func (t *table[K, A]) grow() {
	index := make([]uint64, max(16, 2*len(t.index)))
	mask := uint64(len(index) - 1)
	n := 0
	for _, c := range t.chunks {
		for i := range c {
			n++
			h := c[i].hash
			at := slot(h) & mask
			for index[at] != 0 {
				at = (at + 1) & mask
			}
			index[at] = uint64(h)&^(1<<32-1) | uint64(uint32(n))
		}
	}
	t.index = index
}

// measure looks at all accumulators.
func (t *table[K, A]) measure() {
	if t.mem.fixedAcc {
		return
	}
	t.besideAccs = 0
	for _, c := range t.chunks {
		for i := range c {
			t.besideAccs += t.mem.accs.MemSize([]A{c[i].acc}) - int(unsafe.Sizeof(c[i].acc))
		}
	}
}

// size is the memory that reset gives back.
func (t *table[K, A]) size() int {
	return len(t.chunks)*t.mem.bytes + 8*len(t.index) + t.beside + t.besideAccs
}

// besides is size without chunks.
func (t *table[K, A]) besides() int { return 8*len(t.index) + t.beside + t.besideAccs }

// reset empties the table. keep keeps its index, for a table that fills again at once.
func (t *table[K, A]) reset(keep bool) {
	for _, c := range t.chunks {
		t.mem.put(c)
	}
	clear(t.chunks)
	t.chunks = t.chunks[:0]
	if keep {
		clear(t.index)
	} else {
		t.index = nil
	}
	t.n, t.beside, t.besideAccs = 0, 0, 0
}
