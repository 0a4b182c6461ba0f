package lsm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/weirflow/weir/flow"
)

const (
	slabSize = 1 << 20
	// partSize is the number of bytes at which a part is full.
	partSize = 24 << 20
	// prefixSize is that of key group and id before an entry's key.
	prefixSize = 4
)

// part is entries of a cut, and the deletions among them, in any order until sorted.
// It holds copies.
type part struct {
	first flow.KeyGroup
	slabs [][]byte
	refs  []ref
	size  int64
	spare [][]byte
}

// ref is one entry: where it is, and enough of its key to compare most without
// looking there.
type ref struct {
	head  uint64 // the key's first bytes
	group uint16
	id    uint16
	at    uint32 // slab, byte
}

func (p *part) add(g flow.KeyGroup, id uint16, key, value []byte) {
	need := 2*binary.MaxVarintLen32 + len(key) + len(value)
	last := len(p.slabs) - 1
	if last < 0 || cap(p.slabs[last])-len(p.slabs[last]) < need {
		if n := len(p.spare); n > 0 && need <= slabSize {
			p.slabs, p.spare = append(p.slabs, p.spare[n-1][:0]), p.spare[:n-1]
		} else {
			p.slabs = append(p.slabs, make([]byte, 0, max(slabSize, need)))
		}
		last++
	}
	b := p.slabs[last]
	at := len(b)
	b = binary.AppendUvarint(b, uint64(len(key)))
	if value == nil {
		b = binary.AppendUvarint(b, 0)
	} else {
		b = binary.AppendUvarint(b, uint64(len(value))+1)
	}
	b = append(append(b, key...), value...)
	p.slabs[last] = b
	p.size += int64(len(b) - at + 16)
	p.refs = append(p.refs, ref{head: headOf(key), group: uint16(g), id: id, at: uint32(last*slabSize + at)})
}

// full reports that no more should be added. A slab that is larger than usual holds
// one entry, at its beginning; so the number of slabs bounds what at can say.
func (p *part) full() bool { return p.size >= partSize || len(p.slabs) >= 1<<31/slabSize }

func headOf(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

// entry is the entry of r; value is nil if it is a deletion.
func (p *part) entry(r ref) (key, value []byte) {
	b := p.slabs[r.at/slabSize][r.at%slabSize:]
	k, n := binary.Uvarint(b)
	v, m := binary.Uvarint(b[n:])
	b = b[n+m:]
	key = b[:k:k]
	if v > 0 {
		value = b[k : k+v-1]
		if value == nil {
			value = []byte{}
		}
	}
	return key, value
}

// sort brings the entries into the order of the database: by key group in linear time,
// then within each, which fits the processor's caches.
func (p *part) sort(groups int) {
	ends := make([]int, groups+1)
	for _, r := range p.refs {
		ends[int(r.group)-int(p.first)+1]++
	}
	for i := 1; i < len(ends); i++ {
		ends[i] += ends[i-1]
	}
	sorted := make([]ref, len(p.refs))
	for _, r := range p.refs {
		i := int(r.group) - int(p.first)
		sorted[ends[i]] = r
		ends[i]++
	}
	p.refs = sorted
	start := 0
	for _, end := range ends[:groups] {
		slices.SortFunc(sorted[start:end], p.compare)
		start = end
	}
}

// compare is for entries of one key group. Of those with one key the later is behind.
func (p *part) compare(a, b ref) int {
	if a.id != b.id {
		return cmp.Compare(a.id, b.id)
	}
	if a.head != b.head {
		return cmp.Compare(a.head, b.head)
	}
	ka, _ := p.entry(a)
	kb, _ := p.entry(b)
	return cmp.Or(bytes.Compare(ka, kb), cmp.Compare(a.at, b.at))
}

// same reports that two entries have one key.
func (p *part) same(a, b ref) bool {
	if a.head != b.head || a.group != b.group || a.id != b.id {
		return false
	}
	ka, _ := p.entry(a)
	kb, _ := p.entry(b)
	return bytes.Equal(ka, kb)
}

// reset empties the part and keeps its memory for the next.
func (p *part) reset() {
	for _, b := range p.slabs {
		if cap(b) == slabSize {
			p.spare = append(p.spare, b)
		}
	}
	p.slabs, p.refs, p.size = nil, p.refs[:0], 0
}

// appendPrefix is the beginning of all keys of a state in a key group.
func appendPrefix(dst []byte, g flow.KeyGroup, id uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(dst, uint16(g)), id)
}

// appendEnd is the first key behind those that begin with b: none if there is none.
func appendEnd(dst, b []byte) []byte {
	dst = append(dst[:0], b...)
	for i := len(dst) - 1; i >= 0; i-- {
		if dst[i]++; dst[i] != 0 {
			return dst[:i+1]
		}
	}
	return nil
}
