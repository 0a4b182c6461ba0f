package keyhash

import (
	"fmt"
	"reflect"
	"time"
	"unsafe"

	"github.com/zeebo/xxh3"

	"github.com/weirflow/weir/flow"
)

// TypeError says why a type cannot be a key.
type TypeError struct {
	Key    reflect.Type // the key type
	Path   string       // the way from there to the part; empty for the key itself
	Part   reflect.Type // the part's type
	Reason string       // what is wrong with it and what to do
}

// Error names the key type, the part and the reason.
func (e *TypeError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("flow/keyhash: %s cannot be a key: %s", e.Key, e.Reason)
	}
	return fmt.Sprintf("flow/keyhash: %s cannot be a key: field %s is of type %s: %s", e.Key, e.Path, e.Part, e.Reason)
}

// leaf is a part of a composite key: how to hash what lies at off. An array of
// more than unroll elements is one leaf with parts, which are hashed count times,
// stride bytes apart.
type leaf struct {
	off    uintptr
	kind   reflect.Kind // reflect.Array with parts: a loop; without: count bytes
	count  int
	stride uintptr
	parts  []leaf
}

const unroll = 16

// scalar reports whether a key of kind k is hashed by itself and not as parts.
func scalar(k reflect.Kind) bool {
	switch k {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return true
	}
	return false
}

// flatten appends the leaves of a value of t at offset off.
func flatten(list []leaf, key, t reflect.Type, off uintptr, path string) ([]leaf, error) {
	refuse := func(reason string) ([]leaf, error) {
		return nil, &TypeError{Key: key, Path: path, Part: t, Reason: reason}
	}
	if t == reflect.TypeFor[time.Time]() {
		return refuse("== on times compares location and monotonic reading too, so one instant would be several keys; " +
			"use t.UnixMicro(), or t.Truncate(...).Unix() for a coarser key")
	}
	if scalar(t.Kind()) {
		return append(list, leaf{off: off, kind: t.Kind()}), nil
	}
	var err error
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Name == "_" {
				continue
			}
			at := f.Name
			if path != "" {
				at = path + "." + at
			}
			if list, err = flatten(list, key, f.Type, off+f.Offset, at); err != nil {
				return nil, err
			}
		}
		return list, nil
	case reflect.Array:
		elem := t.Elem()
		if elem.Kind() == reflect.Uint8 {
			return append(list, leaf{off: off, kind: reflect.Array, count: t.Len()}), nil
		}
		parts, err := flatten(nil, key, elem, 0, path+"[]")
		if err != nil {
			return nil, err
		}
		if t.Len() > unroll {
			return append(list, leaf{off: off, kind: reflect.Array, count: t.Len(), stride: elem.Size(), parts: parts}), nil
		}
		for k := range t.Len() {
			for _, p := range parts {
				p.off += off + uintptr(k)*elem.Size()
				list = append(list, p)
			}
		}
		return list, nil
	case reflect.Pointer, reflect.Chan, reflect.UnsafePointer:
		return refuse("an address means nothing in another process; use what identifies the thing it points to")
	case reflect.Interface:
		return refuse("the type of its value is known only at run time; use a concrete type")
	case reflect.Complex64, reflect.Complex128:
		return refuse("complex numbers are not hashed; use a struct of two floats")
	}
	return refuse("it is not comparable; use a string or a number made from it")
}

// hashLeaves hashes the parts of the composite key at p.
func hashLeaves(h uint64, leaves []leaf, p unsafe.Pointer) uint64 {
	for i := range leaves {
		l := &leaves[i]
		q := unsafe.Add(p, l.off)
		var part uint64
		switch l.kind {
		case reflect.String:
			part = xxh3.HashString(*(*string)(q))
		case reflect.Array:
			if l.parts != nil {
				for k := range l.count {
					h = hashLeaves(h, l.parts, unsafe.Add(q, uintptr(k)*l.stride))
				}
				continue
			}
			part = xxh3.Hash(unsafe.Slice((*byte)(q), l.count))
		default:
			part = uint64(hashScalar(l.kind, q))
		}
		h = combine(h, part)
	}
	return h
}

// hashScalar hashes the bool or number at p.
func hashScalar(k reflect.Kind, p unsafe.Pointer) flow.Hash {
	switch k {
	case reflect.Bool:
		return hashBool(*(*bool)(p))
	case reflect.Int:
		return hashInt(int64(*(*int)(p)))
	case reflect.Int8:
		return hashInt(int64(*(*int8)(p)))
	case reflect.Int16:
		return hashInt(int64(*(*int16)(p)))
	case reflect.Int32:
		return hashInt(int64(*(*int32)(p)))
	case reflect.Int64:
		return hashInt(*(*int64)(p))
	case reflect.Uint, reflect.Uintptr:
		return hashUint(uint64(*(*uint)(p)))
	case reflect.Uint8:
		return hashUint(uint64(*(*uint8)(p)))
	case reflect.Uint16:
		return hashUint(uint64(*(*uint16)(p)))
	case reflect.Uint32:
		return hashUint(uint64(*(*uint32)(p)))
	case reflect.Uint64:
		return hashUint(*(*uint64)(p))
	case reflect.Float32:
		return hashFloat(float64(*(*float32)(p)))
	case reflect.Float64:
		return hashFloat(*(*float64)(p))
	}
	panic("flow/keyhash: internal: kind is not a scalar")
}
