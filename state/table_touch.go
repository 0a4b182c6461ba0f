package state

import (
	"unsafe"

	"github.com/weirflow/weir/flow"
)

// touchFrom is the size in bytes from which on a table's entries are touched ahead: below
// it lookups find them in the processor's caches soon enough, and a pass more costs more
// than it saves.
const touchFrom = 4 << 20

// ahead starts to load what lookups by the hashes will read first. One after the other,
// lookups in a table that is larger than the caches wait for memory each in turn, as far
// as the processor does not see the next one coming behind a call and a
// comparison; here it has nothing to see but loads.
func (t *table[K, N, V]) ahead(hashes []flow.Hash, n N) {
	if t.bytes < touchFrom {
		return
	}
	var x byte
	mixed := t.place(0, n)
	for _, h := range hashes {
		p := uint64(h) ^ mixed
		s := t.dir[p>>1>>(t.shift&63)]
		i := p & s.mask
		x ^= *(*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(s.tags)), i))
		x ^= *(*byte)(unsafe.Pointer(&s.slots[i]))
		if s.marks != nil {
			x ^= byte(s.marks[i])
		}
	}
	t.touched = x
}
