package codec

import (
	"bytes"
	"math"
	"reflect"
	"slices"
	"sync"
	"unsafe"
)

// mapScratch is what walking over a map by reflection needs, kept for reuse.
type mapScratch struct {
	iter     reflect.MapIter
	key, val reflect.Value
	spans    [][2]int
	bytes    []byte
}

func newMapScratch(t reflect.Type) *sync.Pool {
	return &sync.Pool{New: func() any {
		return &mapScratch{key: reflect.New(t.Key()).Elem(), val: reflect.New(t.Elem()).Elem()}
	}}
}

// release clears what would keep the user's values alive.
func (s *mapScratch) release(pool *sync.Pool) {
	s.iter.Reset(reflect.Value{})
	s.key.SetZero()
	s.val.SetZero()
	if cap(s.bytes) <= math.MaxUint16 {
		pool.Put(s)
	}
}

func (n *node) appendMap(dst []byte, p unsafe.Pointer, w walk) []byte {
	m := reflect.NewAt(n.typ, p).Elem()
	if m.IsNil() {
		return append(dst, tagNil)
	}
	dst = appendMapHead(dst, m.Len())
	if m.Len() == 0 {
		return dst
	}
	s := n.scratch.Get().(*mapScratch)
	kp, vp := s.key.Addr().UnsafePointer(), s.val.Addr().UnsafePointer()
	s.spans = s.spans[:0]
	start := len(dst)
	for s.iter.Reset(m); s.iter.Next(); {
		from := len(dst)
		s.key.SetIterKey(&s.iter)
		s.val.SetIterValue(&s.iter)
		dst = n.key.append(dst, kp, w)
		dst = n.elem.append(dst, vp, w)
		if w.sorted {
			s.spans = append(s.spans, [2]int{from, len(dst)})
		}
	}
	if w.sorted {
		slices.SortFunc(s.spans, func(a, b [2]int) int { return bytes.Compare(dst[a[0]:a[1]], dst[b[0]:b[1]]) })
		s.bytes = s.bytes[:0]
		for _, sp := range s.spans {
			s.bytes = append(s.bytes, dst[sp[0]:sp[1]]...)
		}
		copy(dst[start:], s.bytes)
	}
	s.release(n.scratch)
	return dst
}
