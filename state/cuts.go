package state

import (
	"fmt"

	"github.com/weirflow/weir/flow/codec"
)

// cuts is which marks mean what: see [mark].
type cuts struct {
	cur, old mark // dirty bits of this epoch, and of what is frozen: 0 if nothing is
	from     mark // dirty bit of what Drain gives: old, or cur for a Flush, or 0 for nothing
	flying   mark // flight bits of the cuts that have not settled
	last     mark // flight bit of the last cut
	put      Put
}

// freeze exchanges the dirty bits. With join it is one cut with the last one, which was
// a flush.
func (c *cuts) freeze(put Put, join bool) {
	if c.old != 0 {
		panic("state: a cut before the last is drained")
	}
	if !join || c.flying == 0 {
		c.takeOff()
	}
	c.old, c.from, c.put = c.cur, c.cur, put
	c.cur ^= dirty
}

// flush begins a cut that freezes nothing.
func (c *cuts) flush(put Put) {
	c.takeOff()
	c.from, c.put = c.cur, put
}

// takeOff chooses the flight bit of a cut.
func (c *cuts) takeOff() {
	next := flightA
	if c.last == flightA {
		next = flightB
	}
	if c.from != 0 || c.flying&next != 0 {
		panic("state: a cut before the last is drained, or the one before it has settled")
	}
	c.last = next
	c.flying |= next
}

// drained says that there is nothing more to give.
func (c *cuts) drained() { c.old, c.from, c.put = 0, 0, nil }

// settled says that what was put at the earliest cut that has not settled is on
// disk.
func (c *cuts) settled() {
	if c.flying != c.last {
		c.flying &= c.last
		return
	}
	if c.from != 0 {
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
	return m&^(c.from|flight) | c.last
}

// idle reports that an entry is on disk as it is here.
func (c *cuts) idle(m mark) bool { return m&(dirty|c.flying) == 0 }

// joined is all of two lists, the first of which may be lent to the second afterwards: what
// is to be gone through now, and an empty list.
func joined[T any](left, more []T) (all, empty []T) {
	if len(left) < len(more) {
		all, empty = append(more, left...), left
	} else {
		all, empty = append(left, more...), more
	}
	clear(empty) // of references
	return all, empty[:0]
}

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
