package keyhash

import (
	"reflect"
	"slices"
	"unsafe"

	"github.com/zeebo/xxh3"

	"github.com/weirflow/weir/flow"
)

// For makes the hash function of key type K. The error is a [*TypeError].
func For[K comparable]() (func(K) flow.Hash, error) {
	h, err := compile(reflect.TypeFor[K]())
	if err != nil {
		return nil, err
	}
	switch h.kind {
	case reflect.String:
		return as[K](func(k string) flow.Hash { return flow.Hash(xxh3.HashString(k)) }), nil
	case reflect.Bool:
		return as[K](hashBool), nil
	case reflect.Int:
		return as[K](func(k int) flow.Hash { return hashInt(int64(k)) }), nil
	case reflect.Int8:
		return as[K](func(k int8) flow.Hash { return hashInt(int64(k)) }), nil
	case reflect.Int16:
		return as[K](func(k int16) flow.Hash { return hashInt(int64(k)) }), nil
	case reflect.Int32:
		return as[K](func(k int32) flow.Hash { return hashInt(int64(k)) }), nil
	case reflect.Int64:
		return as[K](hashInt), nil
	case reflect.Uint:
		return as[K](func(k uint) flow.Hash { return hashUint(uint64(k)) }), nil
	case reflect.Uintptr:
		return as[K](func(k uintptr) flow.Hash { return hashUint(uint64(k)) }), nil
	case reflect.Uint8:
		return as[K](func(k uint8) flow.Hash { return hashUint(uint64(k)) }), nil
	case reflect.Uint16:
		return as[K](func(k uint16) flow.Hash { return hashUint(uint64(k)) }), nil
	case reflect.Uint32:
		return as[K](func(k uint32) flow.Hash { return hashUint(uint64(k)) }), nil
	case reflect.Uint64:
		return as[K](hashUint), nil
	case reflect.Float32:
		return as[K](func(k float32) flow.Hash { return hashFloat(float64(k)) }), nil
	case reflect.Float64:
		return as[K](hashFloat), nil
	}
	leaves := h.leaves
	return func(k K) flow.Hash { return flow.Hash(hashLeaves(seed, leaves, unsafe.Pointer(&k))) }, nil
}

// as gives a function over the underlying type of K the type that it has over K:
// the two are called alike, as their parameters lie in memory and registers alike.
func as[K, U any](f func(U) flow.Hash) func(K) flow.Hash {
	return *(*func(K) flow.Hash)(unsafe.Pointer(&f))
}

// hasher is what compiling a key type finds: a kind for scalars, else leaves.
type hasher struct {
	kind   reflect.Kind
	leaves []leaf
}

func compile(t reflect.Type) (hasher, error) {
	leaves, err := flatten(nil, t, t, 0, "")
	if err != nil {
		return hasher{}, err
	}
	h := hasher{leaves: leaves}
	if scalar(t.Kind()) {
		h.kind = t.Kind()
	}
	return h, nil
}

// Columns makes a function that appends the hash of each value's key to dst: a
// whole batch in one loop, in which only key itself is called indirectly.
func Columns[T any, K comparable](key func(T) K) (func(vals []T, dst []flow.Hash) []flow.Hash, error) {
	h, err := compile(reflect.TypeFor[K]())
	if err != nil {
		return nil, err
	}
	switch h.kind {
	case reflect.String:
		return stringColumn(keyAs[T, K, string](key)), nil
	case reflect.Int:
		return intColumn(keyAs[T, K, int](key)), nil
	case reflect.Int32:
		return intColumn(keyAs[T, K, int32](key)), nil
	case reflect.Int64:
		return intColumn(keyAs[T, K, int64](key)), nil
	case reflect.Uint:
		return intColumn(keyAs[T, K, uint](key)), nil
	case reflect.Uint32:
		return intColumn(keyAs[T, K, uint32](key)), nil
	case reflect.Uint64:
		return intColumn(keyAs[T, K, uint64](key)), nil
	case reflect.Invalid:
		return leavesColumn(key, h.leaves), nil
	}
	hash, err := For[K]()
	if err != nil {
		return nil, err
	}
	return func(vals []T, dst []flow.Hash) []flow.Hash {
		out, dst := extend(dst, len(vals))
		for i := range vals {
			out[i] = hash(key(vals[i]))
		}
		return dst
	}, nil
}

// keyAs is as for the function that takes the key out of a value.
func keyAs[T, K, U any](key func(T) K) func(T) U {
	return *(*func(T) U)(unsafe.Pointer(&key))
}

// extend makes dst longer by n and returns the new part as well.
func extend(dst []flow.Hash, n int) (part, all []flow.Hash) {
	old := len(dst)
	dst = slices.Grow(dst, n)[:old+n]
	return dst[old:], dst
}

// integer is the types of which a conversion to uint64 extends the sign.
type integer interface {
	int | int32 | int64 | uint | uint32 | uint64
}

func intColumn[T any, U integer](key func(T) U) func([]T, []flow.Hash) []flow.Hash {
	return func(vals []T, dst []flow.Hash) []flow.Hash {
		out, dst := extend(dst, len(vals))
		for i := range out {
			out[i] = flow.Hash(mix(uint64(key(vals[i]))))
		}
		return dst
	}
}

func stringColumn[T any](key func(T) string) func([]T, []flow.Hash) []flow.Hash {
	return func(vals []T, dst []flow.Hash) []flow.Hash {
		out, dst := extend(dst, len(vals))
		for i := range out {
			out[i] = flow.Hash(xxh3.HashString(key(vals[i])))
		}
		return dst
	}
}

func leavesColumn[T any, K comparable](key func(T) K, leaves []leaf) func([]T, []flow.Hash) []flow.Hash {
	return func(vals []T, dst []flow.Hash) []flow.Hash {
		out, dst := extend(dst, len(vals))
		for i := range out {
			k := key(vals[i])
			out[i] = flow.Hash(hashLeaves(seed, leaves, unsafe.Pointer(&k)))
		}
		return dst
	}
}
