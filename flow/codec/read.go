package codec

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The functions of this file read one value, or its head, at src[i:]. They return
// the offset behind it, or -1 when the value is of another type, out of range or
// cut off; what is wrong is found out later, by describe.

// headLen reads the big-endian number in the size bytes at i.
func headLen(src []byte, i, size int) (n, next int) {
	if len(src)-i < size {
		return 0, -1
	}
	switch size {
	case 1:
		return int(src[i]), i + 1
	case 2:
		return int(binary.BigEndian.Uint16(src[i:])), i + 2
	}
	v := binary.BigEndian.Uint32(src[i:])
	if uint64(v) > math.MaxInt {
		return 0, -1
	}
	return int(v), i + 4
}

// intRead says how to read an integer by its first byte: off bytes on, take 8
// bytes, shift them right, and extend the sign, which is the bit sign. size is 0
// for what is no integer.
type intRead struct {
	sign             uint64
	off, shift, size uint8
}

var intReads = func() (t [256]intRead) {
	for c := range t {
		switch {
		case c < tagFixMap:
			t[c] = intRead{shift: 56, size: 1}
		case c >= tagNegFix:
			t[c] = intRead{shift: 56, size: 1, sign: 1 << 7}
		case c >= tagUint8 && c <= tagInt64:
			bits := 8 << ((c - tagUint8) & 3)
			t[c] = intRead{off: 1, shift: uint8(64 - bits), size: uint8(1 + bits/8)}
			if c >= tagInt8 {
				t[c].sign = 1 << (bits - 1)
			}
		}
	}
	return t
}()

// readBits reads an integer where at least maxScalar bytes follow, without a
// branch on its form: v is the number as 64 bits, next is i for no integer.
func readBits(src []byte, i int) (v uint64, next int) {
	f := &intReads[src[i]]
	v = binary.BigEndian.Uint64(src[i+int(f.off):]) >> (f.shift & 63)
	return (v ^ f.sign) - f.sign, i + int(f.size)
}

// readBitsAtEnd is readBits where src ends before: it takes the last 8 bytes of
// src instead and shifts out those before the number.
func readBitsAtEnd(src []byte, i int) (v uint64, next int) {
	if uint(i) >= uint(len(src)) {
		return 0, i
	}
	f := &intReads[src[i]]
	if int(f.size) > len(src)-i {
		return 0, i
	}
	last := len(src) - 8
	if last < 0 {
		var b [maxScalar]byte
		copy(b[:], src[i:])
		v, _ = readBits(b[:], 0)
		return v, i + int(f.size)
	}
	v = binary.BigEndian.Uint64(src[last:]) << (8 * uint(i+int(f.off)-last)) >> (f.shift & 63)
	return (v ^ f.sign) - f.sign, i + int(f.size)
}

// readInt reads a number that fits an int64.
func readInt(src []byte, i int) (v int64, next int) {
	var x uint64
	if len(src)-i >= maxScalar {
		x, next = readBits(src, i)
	} else {
		x, next = readBitsAtEnd(src, i)
	}
	if next == i || int64(x) < 0 && src[i] == tagUint64 {
		return 0, -1
	}
	return int64(x), next
}

// readUint reads a number that is not negative.
func readUint(src []byte, i int) (v uint64, next int) {
	if len(src)-i >= maxScalar {
		v, next = readBits(src, i)
	} else {
		v, next = readBitsAtEnd(src, i)
	}
	if next == i || int64(v) < 0 && src[i] != tagUint64 {
		return 0, -1
	}
	return v, next
}

// readFloat reads a float of either size, or an integer that a float64 can be
// without loss.
func readFloat(src []byte, i int) (v float64, next int) {
	if uint(i) >= uint(len(src)) {
		return 0, -1
	}
	switch src[i] {
	case tagFloat64:
		if len(src)-i < 9 {
			return 0, -1
		}
		return math.Float64frombits(binary.BigEndian.Uint64(src[i+1:])), i + 9
	case tagFloat32:
		if len(src)-i < 5 {
			return 0, -1
		}
		return float64(math.Float32frombits(binary.BigEndian.Uint32(src[i+1:]))), i + 5
	}
	n, next := readInt(src, i)
	if n > 1<<53 || n < -1<<53 {
		return 0, -1
	}
	return float64(n), next
}

// readFloat32 reads a float of 32 bits, as bits, or an integer without loss.
func readFloat32(src []byte, i int) (v uint32, next int) {
	if len(src)-i >= 5 && src[i] == tagFloat32 {
		return binary.BigEndian.Uint32(src[i+1:]), i + 5
	}
	n, next := readInt(src, i)
	if n > 1<<24 || n < -1<<24 {
		return 0, -1
	}
	return math.Float32bits(float32(n)), next
}

// strBounds reads the head of a str or bin and returns where its bytes are.
func strBounds(src []byte, i int) (lo, hi int) {
	if uint(i) >= uint(len(src)) {
		return 0, -1
	}
	var n int
	switch c := src[i]; {
	case c&0xe0 == tagFixStr:
		n, lo = int(c&0x1f), i+1
	case c >= tagStr8 && c <= tagStr32:
		n, lo = headLen(src, i+1, 1<<(c-tagStr8))
	case c >= tagBin8 && c <= tagBin32:
		n, lo = headLen(src, i+1, 1<<(c-tagBin8))
	default:
		return 0, -1
	}
	if lo < 0 || n > len(src)-lo {
		return 0, -1
	}
	return lo, lo + n
}

// readArrayHead reads the head of an array. An array cannot have more elements
// than bytes follow, so what its length makes us allocate is bounded by the input.
func readArrayHead(src []byte, i int) (n, next int) {
	if uint(i) >= uint(len(src)) {
		return 0, -1
	}
	switch c := src[i]; {
	case c&0xf0 == tagFixArray:
		n, next = int(c&0x0f), i+1
	case c == tagArray16 || c == tagArray32:
		n, next = headLen(src, i+1, 2<<(c-tagArray16))
	default:
		return 0, -1
	}
	if next < 0 || n > len(src)-next {
		return 0, -1
	}
	return n, next
}

// readMapHead is readArrayHead for maps.
func readMapHead(src []byte, i int) (n, next int) {
	if uint(i) >= uint(len(src)) {
		return 0, -1
	}
	switch c := src[i]; {
	case c&0xf0 == tagFixMap:
		n, next = int(c&0x0f), i+1
	case c == tagMap16 || c == tagMap32:
		n, next = headLen(src, i+1, 2<<(c-tagMap16))
	default:
		return 0, -1
	}
	if next < 0 || n > (len(src)-next)/2 {
		return 0, -1
	}
	return n, next
}

// extBounds reads the head of an extension and returns its type and where its
// bytes are.
func extBounds(src []byte, i int) (typ byte, lo, hi int) {
	if uint(i) >= uint(len(src)) {
		return 0, 0, -1
	}
	var n int
	switch c := src[i]; {
	case c >= tagFixExt1 && c < tagStr8:
		n, lo = 1<<(c-tagFixExt1), i+1
	case c >= tagExt8 && c <= tagExt32:
		n, lo = headLen(src, i+1, 1<<(c-tagExt8))
	default:
		return 0, 0, -1
	}
	if lo < 0 || n >= len(src)-lo {
		return 0, 0, -1
	}
	return src[lo], lo + 1, lo + 1 + n
}

// skip passes over one value of any type, without recursion.
func skip(src []byte, i int) int {
	for left := 1; left > 0; left-- {
		if uint(i) >= uint(len(src)) {
			return -1
		}
		n, lo := 0, i
		switch c := src[i]; {
		case c < tagFixMap || c >= tagNegFix || c == tagNil || c == tagFalse || c == tagTrue:
			i++
		case c&0xf0 == tagFixMap || c == tagMap16 || c == tagMap32:
			n, i = readMapHead(src, i)
			left += 2 * n
		case c&0xf0 == tagFixArray || c == tagArray16 || c == tagArray32:
			n, i = readArrayHead(src, i)
			left += n
		case c == tagFloat32:
			i += 5
		case c == tagFloat64:
			i += 9
		case c >= tagUint8 && c <= tagInt64:
			i += 1 + 1<<((c-tagUint8)&3)
		case c >= tagExt8 && c <= tagExt32 || c >= tagFixExt1 && c < tagStr8:
			_, _, i = extBounds(src, lo)
		case c == tagNever:
			return -1
		default:
			_, i = strBounds(src, lo)
		}
		// Every value still due takes a byte at least: a count that cannot be
		// met ends here and not after walking over all of the input.
		if i < 0 || left-1 > len(src)-i {
			return -1
		}
	}
	return i
}

// describe says what is at src[i:], for errors.
func describe(src []byte, i int) string {
	if i >= len(src) {
		return "the end of the input"
	}
	if skip(src, i) < 0 {
		return describeCut(src, i)
	}
	c := src[i]
	switch c {
	case tagNil:
		return "nil"
	case tagFalse:
		return "false"
	case tagTrue:
		return "true"
	case tagFloat32, tagFloat64:
		v, _ := readFloat(src, i)
		return fmt.Sprintf("float%d %v", 32<<(c-tagFloat32), v)
	}
	if v, next := readInt(src, i); next >= 0 {
		return fmt.Sprintf("int %d", v)
	}
	if v, next := readUint(src, i); next >= 0 {
		return fmt.Sprintf("uint %d", v)
	}
	if lo, hi := strBounds(src, i); hi >= 0 {
		kind := "str"
		if c >= tagBin8 && c <= tagBin32 {
			kind = "bin"
		}
		return fmt.Sprintf("%s of %d bytes", kind, hi-lo)
	}
	if n, next := readArrayHead(src, i); next >= 0 {
		return fmt.Sprintf("array of %d", n)
	}
	if n, next := readMapHead(src, i); next >= 0 {
		return fmt.Sprintf("map of %d", n)
	}
	typ, lo, hi := extBounds(src, i)
	return fmt.Sprintf("extension %d of %d bytes", int8(typ), hi-lo)
}

func describeCut(src []byte, i int) string {
	if src[i] == tagNever {
		return "byte 0xc1, which msgpack never uses"
	}
	return fmt.Sprintf("a value (first byte 0x%02x) that the end of the input cuts off, or that is broken inside", src[i])
}
