package codec

import (
	"reflect"
	"unsafe"
)

// sliceHeader is a slice as it lies in memory.
type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}

// noescape hides p from escape analysis, so that a caller's value may stay on its
// stack. It is right only where nothing that is called keeps p: nodes do not, and
// methods of custom types get copies. The caller keeps the value alive until it
// has been used.
//
// The address must never be a plain number while something is called: the stack may
// move then, and the number with it go stale. The race detector calls something at
// each access to memory, so that the number must not be in memory either.
//
//go:nosplit
//go:norace
//go:nocheckptr
func noescape(p unsafe.Pointer) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(nil), uintptr(p))
}

// at is element k of the array at p. It is always computed from the start: a
// pointer behind the last element could point into memory that is free, which
// the garbage collector does not forgive.
func at(p unsafe.Pointer, k int, size uintptr) unsafe.Pointer {
	return unsafe.Add(p, uintptr(k)*size)
}

// makeElems allocates the array of a slice of n's type, all zero.
func (n *node) makeElems(count int) unsafe.Pointer {
	switch {
	case n.elemPlain:
		// Memory without pointers has no type: words give the alignment. One word
		// at least, as a slice without elements is not a nil slice.
		words := max(1, (uintptr(count)*n.elem.size+7)/8)
		return unsafe.Pointer(unsafe.SliceData(make([]uint64, words)))
	case n.elem.op == opString:
		return unsafe.Pointer(unsafe.SliceData(make([]string, count)))
	}
	return reflect.MakeSlice(n.typ, count, count).UnsafePointer()
}

// copyElems copies the first count elements of one array of a slice of n's type
// to another.
func (n *node) copyElems(dst, src unsafe.Pointer, count int) {
	to, from := &sliceHeader{dst, count, count}, &sliceHeader{src, count, count}
	reflect.Copy(reflect.NewAt(n.typ, unsafe.Pointer(to)).Elem(), reflect.NewAt(n.typ, unsafe.Pointer(from)).Elem())
}

// zero clears the value at p.
func (n *node) zero(p unsafe.Pointer) {
	reflect.NewAt(n.typ, p).Elem().SetZero()
}
