package state

import (
	"fmt"

	"github.com/weirflow/weir/flow/codec"
)

// cuts is which marks mean what: see [mark].
type cuts struct {
	cur, old mark // dirty bits of this epoch, and of what is frozen: 0 if nothing is
	flying   mark // flight bits of the cuts that have not settled
	last     mark // flight bit of the last cut
	put      Put
}

// begin exchanges the bits.
func (c *cuts) begin(put Put) {
	if c.old != 0 || c.flying&(c.cur<<2) != 0 {
		panic("state: a cut before the last is drained, or the one before it has settled")
	}
	c.old, c.last = c.cur, c.cur<<2
	c.flying |= c.last
	c.cur ^= dirty
	c.put = put
}

// drained says that nothing is frozen any more.
func (c *cuts) drained() { c.old, c.put = 0, nil }

// settled says that what was put at the earliest cut that has not settled is on
// disk.
func (c *cuts) settled() {
	if c.flying != c.last {
		c.flying &= c.last
		return
	}
	if c.old != 0 {
		panic("state: settled before it is drained")
	}
	c.flying = 0
}

// given is the mark of an entry that has just been put: deleted if it is gone.
func (c *cuts) given(m mark) mark {
	if m&gone != 0 {
		m &^= onDisk
	} else {
		m |= onDisk
	}
	return m&^(c.old|flight) | c.last
}

// idle reports that an entry is on disk as it is here.
func (c *cuts) idle(m mark) bool { return m&(dirty|c.flying) == 0 }

// failEncode hands the panic of a value that cannot be encoded to the store.
func failEncode(d Disk, desc Descriptor) {
	switch r := recover().(type) {
	case nil:
	case *codec.EncodeError:
		d.Fail(fmt.Errorf("%s: %w", desc, r))
	default:
		panic(r)
	}
}
