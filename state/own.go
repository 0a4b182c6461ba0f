package state

import (
	"reflect"
	"strings"
	"unsafe"
)

// Own returns a function that copies a key so that it owns the memory of its
// strings, or nil for types that have none.
//
// A key is often a part of something larger: a word is a part of the line that it
// stood in, and a line a part of the block that was read. To keep the key as it is
// would keep the block, and a count of words would grow with its input. Whoever
// stores a key for longer than a call stores its own copy; that happens once a
// key, not once a record.
func Own[K any]() func(K) K {
	var offsets []uintptr
	stringsIn(reflect.TypeFor[K](), 0, &offsets)
	if len(offsets) == 0 {
		return nil
	}
	return func(k K) K {
		for _, o := range offsets {
			s := (*string)(unsafe.Add(unsafe.Pointer(&k), o))
			*s = strings.Clone(*s)
		}
		return k
	}
}

// stringsIn appends the offsets of the strings of t.
func stringsIn(t reflect.Type, at uintptr, offsets *[]uintptr) {
	switch t.Kind() {
	case reflect.String:
		*offsets = append(*offsets, at)
	case reflect.Array:
		for i := range t.Len() {
			stringsIn(t.Elem(), at+uintptr(i)*t.Elem().Size(), offsets)
		}
	case reflect.Struct:
		for i := range t.NumField() {
			stringsIn(t.Field(i).Type, at+t.Field(i).Offset, offsets)
		}
	}
}
