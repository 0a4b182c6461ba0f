package codec

import (
	"reflect"
	"unsafe"
)

// measure finds for every node which parts of a value have memory of their own
// beside the value: inMem. Parts of nested structs and arrays are listed in the
// outer node with their offset, so that measuring a value is one loop.
func (c *compiler) measure() {
	for _, n := range c.nodes {
		n.inMem = n.owns(nil, 0)
	}
}

// arrayUnroll is up to how many elements an array's parts are listed one by one.
const arrayUnroll = 16

func (n *node) owns(list []field, off uintptr) []field {
	switch n.op {
	case opString, opBytes, opSlice, opMap, opPtr:
		return append(list, field{off: off, node: n, op: n.op})
	case opCustom:
		if n.extra > 0 {
			return append(list, field{off: off, node: n, op: n.op})
		}
	case opStruct:
		for _, f := range n.fields {
			list = f.node.owns(list, off+f.off)
		}
	case opArray:
		if len(n.elem.owns(nil, 0)) == 0 {
			return list
		}
		if n.len > arrayUnroll {
			return append(list, field{off: off, node: n, op: n.op})
		}
		for k := range n.len {
			list = n.elem.owns(list, off+uintptr(k)*n.elem.size)
		}
	}
	return list
}

// mapEntry is what one entry of a map takes beside key and value.
const mapEntry = 2

// measurer adds up memory. Values nested deeper than maxMeasured are left out:
// after that many levels a chain of pointers is more likely a cycle.
type measurer struct {
	size int
	stop bool
}

const maxMeasured = 1000

func (m *measurer) fields(list []field, p unsafe.Pointer, depth int) {
	if depth > maxMeasured {
		m.stop = true
	}
	for i := range list {
		f := &list[i]
		q := unsafe.Add(p, f.off)
		switch f.op {
		case opString:
			m.size += len(*(*string)(q))
		case opBytes:
			m.size += (*sliceHeader)(q).cap
		default:
			if m.stop {
				return
			}
			m.part(f.node, q, depth+1)
		}
	}
}

func (m *measurer) part(n *node, p unsafe.Pointer, depth int) {
	switch n.op {
	case opCustom:
		m.size += n.extra
	case opPtr:
		if p = *(*unsafe.Pointer)(p); p != nil {
			m.size += int(n.elem.size)
			m.fields(n.elem.inMem, p, depth)
		}
	case opSlice:
		s := (*sliceHeader)(p)
		m.size += s.cap * int(n.elem.size)
		m.array(n.elem, s.data, s.len, depth)
	case opArray:
		m.array(n.elem, p, n.len, depth)
	case opMap:
		v := reflect.NewAt(n.typ, p).Elem()
		m.size += v.Len() * int(n.key.size+n.elem.size+mapEntry)
		if v.Len() == 0 || len(n.key.inMem) == 0 && len(n.elem.inMem) == 0 {
			return
		}
		s := n.scratch.Get().(*mapScratch)
		for s.iter.Reset(v); s.iter.Next(); {
			s.key.SetIterKey(&s.iter)
			s.val.SetIterValue(&s.iter)
			m.fields(n.key.inMem, s.key.Addr().UnsafePointer(), depth)
			m.fields(n.elem.inMem, s.val.Addr().UnsafePointer(), depth)
		}
		s.release(n.scratch)
	}
}

func (m *measurer) array(elem *node, p unsafe.Pointer, count, depth int) {
	if len(elem.inMem) == 0 {
		return
	}
	for k := range count {
		if m.stop {
			return
		}
		m.fields(elem.inMem, at(p, k, elem.size), depth)
	}
}
