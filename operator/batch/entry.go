package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle/spill"
)

// entry is a record as it is sorted: lengths, key, time and encoded value.
type entry struct {
	prefix uint64
	key    []byte
	value  []byte
	time   flow.Time
	all    []byte // all of it, as it is stored
}

// appendEntry appends a record to dst.
func appendEntry(dst, key, value []byte, t flow.Time) []byte {
	timed := uint64(0)
	if t != flow.MinTime {
		timed = 1
	}
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = binary.AppendUvarint(dst, uint64(len(value))<<1|timed)
	dst = append(dst, key...)
	if timed == 1 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(t))
	}
	return append(dst, value...)
}

// maxEntry is the size of the largest record with its key.
const maxEntry = spill.MaxBlock / 2

// parse reads the entry that src begins with.
func (e *entry) parse(src []byte) error {
	klen, n := binary.Uvarint(src)
	if n <= 0 {
		return errEntry(src)
	}
	vlen, m := binary.Uvarint(src[n:])
	timed := vlen&1 == 1
	vlen >>= 1
	at, all := uint64(n+m), uint64(len(src))
	if m <= 0 || klen > all-at || vlen > all-at-klen {
		return errEntry(src)
	}
	e.key = src[at : at+klen]
	at += klen
	e.time = flow.MinTime
	if timed {
		if all-at < 8+vlen {
			return errEntry(src)
		}
		e.time = flow.Time(binary.LittleEndian.Uint64(src[at:]))
		at += 8
	}
	e.value, e.all = src[at:at+vlen], src[:at+vlen]
	e.prefix = prefixOf(e.key)
	return nil
}

func errEntry(src []byte) error {
	return fmt.Errorf("operator/batch: %w: no record at the beginning of %d bytes", spill.ErrCorrupt, len(src))
}

// keyOf is the key of an entry of our own, in memory.
func keyOf(src []byte) []byte {
	klen, n := binary.Uvarint(src)
	for src[n] >= 0x80 {
		n++
	}
	return src[n+1 : n+1+int(klen)]
}

// ref stands for an entry in memory while it is sorted.
type ref struct {
	prefix uint64
	at     uint64 // chunk<<32 | offset: grows with each entry
}

// arena holds entries in chunks.
type arena struct {
	chunk  int
	chunks [][]byte
	free   [][]byte
	bytes  int // of all chunks, free ones too
	refs   []ref
	spare  []ref // for sorting
	keyLen int   // of all keys so far, -1 where they differ
}

func (a *arena) size() int { return a.bytes + 2*cap(a.refs)*refSize }

const refSize = 16

// wants is the size that it has after another entry of n bytes.
func (a *arena) wants(n int) int {
	s := a.size()
	if len(a.refs) == cap(a.refs) {
		s += 2 * refSize * (refRoom(cap(a.refs)) - cap(a.refs))
	}
	if last := len(a.chunks) - 1; (last < 0 || cap(a.chunks[last])-len(a.chunks[last]) < n) && (n > a.chunk || len(a.free) == 0) {
		s += max(n, a.chunk)
	}
	return s
}

// refRoom is the next capacity. While references are copied to their new place there
// is no spare, whose memory is counted: so both fit into what is counted for one.
func refRoom(n int) int { return max(256, n+n/4) }

func (a *arena) add(entry []byte, prefix uint64, keyLen int) {
	last := len(a.chunks) - 1
	if last < 0 || cap(a.chunks[last])-len(a.chunks[last]) < len(entry) {
		var c []byte
		if n := len(a.free); n > 0 && len(entry) <= a.chunk {
			c, a.free = a.free[n-1], a.free[:n-1]
		} else {
			c = make([]byte, 0, max(a.chunk, len(entry)))
			a.bytes += cap(c)
		}
		a.chunks = append(a.chunks, c)
		last++
	}
	if len(a.refs) == cap(a.refs) {
		a.spare = nil
		grown := make([]ref, len(a.refs), refRoom(cap(a.refs)))
		copy(grown, a.refs)
		a.refs = grown
	}
	if len(a.refs) == 0 {
		a.keyLen = keyLen
	} else if a.keyLen != keyLen {
		a.keyLen = -1
	}
	a.refs = append(a.refs, ref{prefix, uint64(last)<<32 | uint64(len(a.chunks[last]))})
	a.chunks[last] = append(a.chunks[last], entry...)
}

func (a *arena) at(r ref) []byte { return a.chunks[r.at>>32][uint32(r.at):] }

// reset empties it and keeps the chunks of the usual size.
func (a *arena) reset() {
	for _, c := range a.chunks {
		if cap(c) == a.chunk {
			a.free = append(a.free, c[:0])
		} else {
			a.bytes -= cap(c)
		}
	}
	clear(a.chunks)
	a.chunks, a.refs = a.chunks[:0], a.refs[:0]
}

// sort sorts the references by key, and equal keys by their places.
//
// The prefixes are sorted by radix, from the last byte to the first: each pass keeps the
// order of the one before. A byte that is the same in all is passed over, so that small
// numbers take few passes. Where the prefix is not all of the key, what has one prefix
// is then sorted by comparing keys.
func (a *arena) sort() {
	if len(a.refs) < 512 {
		slices.SortFunc(a.refs, a.compare)
		return
	}
	var counts [8][256]uint32
	for _, r := range a.refs {
		for d := range 8 {
			counts[d][byte(r.prefix>>(8*d))]++
		}
	}
	if cap(a.spare) < len(a.refs) {
		a.spare = make([]ref, cap(a.refs))
	}
	from, to := a.refs, a.spare[:len(a.refs)]
	for d := range 8 {
		c := &counts[d]
		if int(c[byte(from[0].prefix>>(8*d))]) == len(from) {
			continue
		}
		var at uint32
		for i, n := range c {
			c[i] = at
			at += n
		}
		shift := 8 * d & 63
		for _, r := range from {
			k := byte(r.prefix >> shift)
			to[c[k]] = r
			c[k]++
		}
		from, to = to, from
	}
	a.refs, a.spare = from, to[:cap(to)]
	if 0 <= a.keyLen && a.keyLen <= 8 {
		return // the prefixes say all
	}
	for first := 0; first < len(from); {
		end := first + 1
		for end < len(from) && from[end].prefix == from[first].prefix {
			end++
		}
		if end-first > 1 {
			slices.SortFunc(from[first:end], a.compare)
		}
		first = end
	}
}

func (a *arena) compare(x, y ref) int {
	switch {
	case x.prefix < y.prefix:
		return -1
	case x.prefix > y.prefix:
		return 1
	}
	if c := bytes.Compare(keyOf(a.at(x)), keyOf(a.at(y))); c != 0 {
		return c
	}
	if x.at < y.at {
		return -1
	}
	return 1
}

// maxRefs bounds the records of a run: counts of the radix sort have 32 bits.
const maxRefs = math.MaxUint32
