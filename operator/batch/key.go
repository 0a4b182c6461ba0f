package batch

import (
	"encoding/binary"
	"math"
)

// AppendUint appends a number to a key.
func AppendUint(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }

// AppendInt appends a number to a key.
func AppendInt(dst []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(v)^1<<63)
}

// AppendFloat appends a number to a key: both zeroes are one, and a NaN comes behind
// everything.
func AppendFloat(dst []byte, v float64) []byte {
	if v == 0 {
		v = 0 // without its sign
	}
	bits := math.Float64bits(v)
	switch {
	case v != v:
		bits = math.MaxUint64
	case bits>>63 == 1:
		bits = ^bits
	default:
		bits |= 1 << 63
	}
	return binary.BigEndian.AppendUint64(dst, bits)
}

// AppendBool appends a bool to a key, false before true.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// AppendString appends a string or bytes to a key. What ends it comes before any
// byte, so that more may follow; a key of one string alone may be its bytes.
func AppendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	for i := range len(s) {
		if s[i] <= 1 { // 0 and 1 are 1 1 and 1 2, as 0 is the end
			dst = append(dst, 1, s[i]+1)
			continue
		}
		dst = append(dst, s[i])
	}
	return append(dst, 0)
}

// Descend turns around the order of what is in key from byte from on.
func Descend(key []byte, from int) []byte {
	for i := from; i < len(key); i++ {
		key[i] = ^key[i]
	}
	return key
}

// prefixOf is the first eight bytes of a key; a shorter one has zeroes behind it.
func prefixOf(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var p uint64
	for i, c := range key {
		p |= uint64(c) << (56 - 8*i)
	}
	return p
}
