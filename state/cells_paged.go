package state

import "unsafe"

// Mount says that entries which the tables lack may be on a disk.
func (c *Cells[K, N, V]) Mount(m Mount) {
	f := &c.f
	form := paging[K, N, V]{
		desc:        f.desc,
		appendKey:   f.appendKey,
		decodeKey:   f.decodeKey,
		appendValue: f.value.Append,
		decodeValue: f.decodeValue,
	}
	if !f.key.Pointerless() || !f.ns.Pointerless() || !f.value.Pointerless() {
		form.size = func(k *K, n *N, v *V) int {
			return f.key.MemSize(unsafe.Slice(k, 1)) + f.ns.MemSize(unsafe.Slice(n, 1)) + f.value.MemSize(unsafe.Slice(v, 1)) -
				int(unsafe.Sizeof(*k)+unsafe.Sizeof(*n)+unsafe.Sizeof(*v))
		}
	}
	c.t.mount(m, form)
}

// Entries is how many values there are, here and on disk.
func (c *Cells[K, N, V]) Entries() int64 { return int64(c.t.len()) }

// Changed is how many values have changed since the last Cut, about.
func (c *Cells[K, N, V]) Changed() int { return c.t.pages.dirtied }

// Cut freezes what has changed since the last Cut.
func (c *Cells[K, N, V]) Cut(put Put, join bool) { c.t.cut(put, join) }

// Flush begins to put what has changed without freezing it.
func (c *Cells[K, N, V]) Flush(put Put) { c.t.flush(put) }

// Drain gives about n values of the cut to put.
func (c *Cells[K, N, V]) Drain(n int) (done bool) { return c.t.drain(n) }

// Settled says that all that was put is on disk.
func (c *Cells[K, N, V]) Settled() { c.t.settled() }

// Evict lets go of about n bytes.
func (c *Cells[K, N, V]) Evict(n int64) int64 { return c.t.evict(n) }
