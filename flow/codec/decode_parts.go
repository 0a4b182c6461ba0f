package codec

import (
	"reflect"
	"unsafe"
)

func (n *node) decodePointer(r *reader, i int, p unsafe.Pointer) int {
	if i < len(r.src) && r.src[i] == tagNil {
		*(*unsafe.Pointer)(p) = nil
		return i + 1
	}
	if !r.deeper(i, n) {
		return -1
	}
	q := reflect.New(n.elem.typ).UnsafePointer()
	i = n.elem.decode(r, i, q)
	*(*unsafe.Pointer)(p) = q
	r.depth--
	return i
}

// atOnce is how much memory a slice may get on the word of its head alone, if it
// is more than elements of that size may need: then it grows as elements arrive.
const atOnce = 1 << 20

func (n *node) decodeSlice(r *reader, i int, p unsafe.Pointer) int {
	if i < len(r.src) && r.src[i] == tagNil {
		*(*sliceHeader)(p) = sliceHeader{}
		return i + 1
	}
	count, next := readArrayHead(r.src, i)
	if next < 0 {
		return r.fail(i, n.want)
	}
	if !r.deeper(i, n) {
		return -1
	}
	e := n.elem
	got := count
	if e.size > 16 && uintptr(count) > atOnce/e.size {
		got = max(1, int(atOnce/e.size))
	}
	data := n.makeElems(got)
	next = e.decodeAll(r, next, data, got)
	for next >= 0 && got < count {
		more := min(2*got, count)
		grown := n.makeElems(more)
		n.copyElems(grown, data, got)
		next = e.decodeAll(r, next, at(grown, got, e.size), more-got)
		data, got = grown, more
	}
	*(*sliceHeader)(p) = sliceHeader{data, got, got}
	r.depth--
	return next
}

func (n *node) decodeMap(r *reader, i int, p unsafe.Pointer) int {
	if i < len(r.src) && r.src[i] == tagNil {
		*(*unsafe.Pointer)(p) = nil
		return i + 1
	}
	count, next := readMapHead(r.src, i)
	if next < 0 {
		return r.fail(i, n.want)
	}
	if !r.deeper(i, n) {
		return -1
	}
	m := reflect.MakeMapWithSize(n.typ, min(count, 1024))
	reflect.NewAt(n.typ, p).Elem().Set(m)
	key, val := reflect.New(n.key.typ), reflect.New(n.elem.typ)
	for range count {
		if next = n.key.decode(r, next, key.UnsafePointer()); next < 0 {
			return r.in("[key]")
		}
		if next = n.elem.decode(r, next, val.UnsafePointer()); next < 0 {
			return r.in("[value]")
		}
		m.SetMapIndex(key.Elem(), val.Elem())
	}
	r.depth--
	return next
}

func (n *node) decodeCustom(r *reader, i int, p unsafe.Pointer) int {
	end := skip(r.src, i)
	if end < 0 {
		return r.fail(i, n.want)
	}
	if r.src[i] == tagNil {
		n.zero(p)
		return end
	}
	v := reflect.New(n.typ)
	if err := n.custom.read(r.src[i:end:end], v.Interface()); err != nil {
		return r.failFound(i, n.want, describe(r.src, i)+", which its "+n.custom.via+"'s other half refuses: "+err.Error())
	}
	reflect.NewAt(n.typ, p).Elem().Set(v.Elem())
	return end
}
