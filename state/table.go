package state

import (
	"math/bits"
	"reflect"
	"unsafe"

	"github.com/weirflow/weir/flow"
)

// table is the hash table under all states: values by key and namespace, with
// the key's hash given by the caller.
//
// Why not Go's map: it hashes the key a second time, cannot say which key group
// an entry is in without a third, and moves all of a large map's entries in one
// call when it grows. See BenchmarkCells for what that is worth.
//
// The layout is open addressing with linear probing in segments:
//
//	place = hash, mixed with the namespace
//	        top bits ──► dir ──► segment          (as many as dir needs)
//	        bits 16-22 ─► tag, with the top bit set; 0 is an empty slot
//	        low bits ──► slot at which probing starts
//
//	segment  tags   [t t 0 t ...] one byte a slot, 7 more repeat the first 7, so
//	                              that 8 can be read at once from any slot
//	         slots  [{value, namespace, key} ...]
//	         hashes [hash ...]    only read when entries move or are listed; not
//	                              there for keys that are hashed as fast
//	         marks  [mark ...]    only there if entries may be on disk: see pages
//
// A lookup reads eight tags in one word, and the slots whose tag fits: mostly one
// word and one slot. A deletion moves later entries of the same run back, so that
// there are no tombstones: windows come and go all day, and the table stays as
// good as new. A segment that has the full size splits in two instead of
// growing, so that no call ever moves more than one segment's entries.
type table[K, N comparable, V any] struct {
	dir   []*segment[K, N, V] // a power of two long
	shift uint8               // place>>1>>shift is the index in dir
	n     int
	bytes int64
	plain bool              // N is whole words without padding: mixed in line
	mix   func(N) flow.Hash // where N is not plain
	own   func(K) K         // nil where a key has no memory of its own
	// rehash gives the hash of a key where segments do not keep hashes.
	rehash func(K) flow.Hash
	pages  *pages[K, N, V] // nil where all entries are here
	// touched is written by ahead, and read by nobody.
	touched byte
}

type slot[K, N comparable, V any] struct {
	v V
	n N
	k K // last: Go pads a struct that ends in a field without size
}

type segment[K, N comparable, V any] struct {
	tags    []byte
	slots   []slot[K, N, V]
	mask    uint64
	touched byte // see touch
	marks   []mark
	hashes  []flow.Hash
	used    int
	limit   int    // used at which it grows
	peak    int    // most of used since the last trim
	depth   uint8  // of the top bits of place, those that all its entries share
	hand    uint32 // slot at which eviction goes on
	drained uint32 // the last cut of which nothing is left here
}

const (
	minSlots = 8
	// maxSlots bounds a segment, and with it the longest pause of one call.
	maxSlots = 1 << 15
	// maxDepth bounds the directory. It is reached with 1.6e9 entries, or with
	// hashes that are all alike; from there on segments grow without bound.
	maxDepth = 16

	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

func (t *table[K, N, V]) init(mix func(N) flow.Hash) {
	t.plain, t.mix, t.own = plainWords[N](), mix, Own[K]()
	t.restart()
}

// unhashed makes t hash keys with f when they move, instead of keeping their
// hashes, if keys are so small that this is as fast. It is called before t is used.
func (t *table[K, N, V]) unhashed(f func(K) flow.Hash) {
	if k := reflect.TypeFor[K](); k.Size() == 0 || k.Size() > 16 || !plainBits(k) {
		return
	}
	t.rehash = f
	t.restart()
}

// restart gives an empty table segments of the right make.
func (t *table[K, N, V]) restart() {
	s := t.newSegment(minSlots, 0)
	t.dir, t.shift = []*segment[K, N, V]{s}, 63
	t.bytes = s.bytes()
}

func (t *table[K, N, V]) newSegment(size int, depth uint8) *segment[K, N, V] {
	s := &segment[K, N, V]{
		tags:  make([]byte, size+7),
		slots: make([]slot[K, N, V], size),
		mask:  uint64(size - 1),
		limit: limitOf(size),
		depth: depth,
	}
	if t.rehash == nil {
		s.hashes = make([]flow.Hash, size)
	}
	if t.pages != nil {
		s.marks = make([]mark, size)
	}
	return s
}

// limitOf is how many of size slots are used at most.
func limitOf(size int) int { return size - size/8 - size/16 }

func (s *segment[K, N, V]) bytes() int64 {
	var one slot[K, N, V]
	return int64(len(s.slots))*int64(unsafe.Sizeof(one)+1) + int64(len(s.hashes))*8 + int64(len(s.marks)) +
		int64(unsafe.Sizeof(*s)) + 7
}

// hashAt is the hash of the entry in slot i.
func (t *table[K, N, V]) hashAt(s *segment[K, N, V], i uint64) flow.Hash {
	if s.hashes != nil {
		return s.hashes[i]
	}
	return t.rehash(s.slots[i].k)
}

// place is where an entry belongs: well mixed in all bits if h is.
func (t *table[K, N, V]) place(h flow.Hash, n N) uint64 {
	if unsafe.Sizeof(n) == 0 {
		return uint64(h)
	}
	return uint64(h) ^ t.mixed(n)
}

// mixed spreads a namespace over all bits.
func (t *table[K, N, V]) mixed(n N) uint64 {
	if !t.plain {
		return uint64(t.mix(n)) * mix1
	}
	switch size := unsafe.Sizeof(n); size {
	case 8:
		return mum(*(*uint64)(unsafe.Pointer(&n))^mix1, mix2)
	case 16:
		w := (*[2]uint64)(unsafe.Pointer(&n))
		return mum(w[0]^mix1, w[1]^mix2)
	default:
		x := uint64(mix2)
		for _, w := range unsafe.Slice((*uint64)(unsafe.Pointer(&n)), size/8) {
			x = mum(x^w^mix1, mix2)
		}
		return x
	}
}

const (
	mix1 = 0x9e3779b97f4a7c15
	mix2 = 0xd6e8feb86659fd93
)

func mum(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func tagOf(place uint64) uint64 { return place>>16&0x7f | 0x80 }

// same marks the bytes of g that equal tag with their top bit. A used slot's
// byte can be marked wrongly, so the key decides; an empty slot's never is.
func same(g, tag uint64) uint64 {
	y := g ^ tag*lows
	return (y - lows) &^ y & highs
}

// group is the tags from slot i on, which is at most mask: there are 7 tags more
// than slots.
func (s *segment[K, N, V]) group(i uint64) uint64 {
	return load((*[8]byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(s.tags)), i)))
}

// touch starts to load slot i while the tags are being loaded. Without it the
// slot's address would be known only when the tags have come, and in a table that
// is larger than the caches a lookup would wait for memory twice; the entry is
// mostly in the cache line of its home. It is the prefetch that Go does not have:
// a load into a field that nobody reads.
func (s *segment[K, N, V]) touch(i uint64) {
	s.touched = *(*byte)(unsafe.Pointer(&s.slots[i]))
}

// load reads the byte at the lowest address into the lowest bits. It is written
// out because what is compiled into another package's code, as this is, does not
// get encoding/binary inlined.
func load(b *[8]byte) uint64 {
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// find returns the entry's segment and slot, or a nil segment.
func (t *table[K, N, V]) find(h flow.Hash, k K, n N) (*segment[K, N, V], *slot[K, N, V], uint64) {
	p := t.place(h, n)
	s := t.dir[p>>1>>(t.shift&63)]
	s.touch(p & s.mask)
	tag := tagOf(p)
	for i := p & s.mask; ; i = (i + 8) & s.mask {
		g := s.group(i)
		for m := same(g, tag); m != 0; m &= m - 1 {
			j := (i + uint64(bits.TrailingZeros64(m))>>3) & s.mask
			if e := &s.slots[j]; e.k == k && e.n == n {
				return s, e, j
			}
		}
		if ^g&highs != 0 {
			return nil, nil, 0
		}
	}
}

func (t *table[K, N, V]) get(h flow.Hash, k K, n N) *V {
	s, e, i := t.find(h, k, n)
	if t.pages != nil {
		return t.read(h, k, n, s, i)
	}
	if e != nil {
		return &e.v
	}
	return nil
}

// ref returns the entry's value, which is new and zero if fresh.
func (t *table[K, N, V]) ref(h flow.Hash, k K, n N) (v *V, fresh bool) {
	p := t.place(h, n)
	s := t.dir[p>>1>>(t.shift&63)]
	s.touch(p & s.mask)
	tag := tagOf(p)
	for i := p & s.mask; ; i = (i + 8) & s.mask {
		g := s.group(i)
		for m := same(g, tag); m != 0; m &= m - 1 {
			j := (i + uint64(bits.TrailingZeros64(m))>>3) & s.mask
			if e := &s.slots[j]; e.k == k && e.n == n {
				if t.pages != nil && !t.pages.changed(s.marks[j]) {
					return t.change(s, j)
				}
				return &e.v, false
			}
		}
		if ^g&highs != 0 {
			if t.pages != nil {
				return t.fetch(p, h, k, n)
			}
			s, j := t.insert(p, h, k, n)
			return &s.slots[j].v, true
		}
	}
}

// insert adds an entry that is not there.
func (t *table[K, N, V]) insert(p uint64, h flow.Hash, k K, n N) (*segment[K, N, V], uint64) {
	s := t.dir[p>>1>>(t.shift&63)]
	for s.used >= s.limit {
		if t.pages == nil || !t.makeRoom(p, s) {
			t.grow(p, t.dir[p>>1>>(t.shift&63)])
		}
		s = t.dir[p>>1>>(t.shift&63)]
	}
	t.n++
	i := s.add(p, h)
	if t.own != nil {
		k = t.own(k)
	}
	e := &s.slots[i]
	e.k, e.n = k, n
	return s, i
}

// add takes the first empty slot for p.
func (s *segment[K, N, V]) add(p uint64, h flow.Hash) uint64 {
	i := p & s.mask
	for {
		if m := ^s.group(i) & highs; m != 0 {
			i = (i + uint64(bits.TrailingZeros64(m))>>3) & s.mask
			break
		}
		i = (i + 8) & s.mask
	}
	s.used++
	s.peak = max(s.peak, s.used)
	s.setTag(i, byte(tagOf(p)))
	if s.hashes != nil {
		s.hashes[i] = h
	}
	return i
}

func (s *segment[K, N, V]) setTag(i uint64, tag byte) {
	s.tags[i] = tag
	if i < 7 {
		s.tags[uint64(len(s.slots))+i] = tag
	}
}

// remove deletes an entry.
func (t *table[K, N, V]) remove(h flow.Hash, k K, n N) bool {
	s, _, i := t.find(h, k, n)
	if t.pages != nil {
		return t.strike(h, k, n, s, i)
	}
	if s == nil {
		return false
	}
	t.drop(s, i)
	return true
}

// drop empties a slot.
func (t *table[K, N, V]) drop(s *segment[K, N, V], i uint64) {
	draining := t.pages != nil && t.pages.seg == s
	// Each later entry of the run moves to the gap if it may stand there: if the
	// gap is not before its home.
	for j := (i + 1) & s.mask; s.tags[j] != 0; j = (j + 1) & s.mask {
		home := t.place(t.hashAt(s, j), s.slots[j].n) & s.mask
		if (j-home)&s.mask >= (j-i)&s.mask {
			s.slots[i] = s.slots[j]
			if s.hashes != nil {
				s.hashes[i] = s.hashes[j]
			}
			if s.marks != nil {
				s.marks[i] = s.marks[j]
			}
			if draining && i < t.pages.cursor && j >= t.pages.cursor {
				t.pages.cursor = i // it moves to where Drain has been
			}
			s.setTag(i, s.tags[j])
			i = j
		}
	}
	s.slots[i] = slot[K, N, V]{}
	if s.marks != nil {
		s.marks[i] = 0
	}
	s.setTag(i, 0)
	s.used--
	t.n--
}

// each calls f for all entries, in an order that depends on nothing but the
// calls made so far, until f returns false. Those on disk come last, and are
// copies.
func (t *table[K, N, V]) each(f func(h flow.Hash, e *slot[K, N, V]) bool) {
	var last *segment[K, N, V]
	for _, s := range t.dir {
		if s == last {
			continue
		}
		last = s
		for i := range s.slots {
			if s.tags[i] != 0 && (s.marks == nil || s.marks[i]&gone == 0) && !f(t.hashAt(s, uint64(i)), &s.slots[i]) {
				return
			}
		}
	}
	if t.pages != nil {
		t.eachOnDisk(f)
	}
}
