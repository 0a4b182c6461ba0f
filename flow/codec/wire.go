package codec

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// The first bytes of msgpack values.
const (
	tagFixMap   = 0x80
	tagFixArray = 0x90
	tagFixStr   = 0xa0
	tagNil      = 0xc0
	tagNever    = 0xc1
	tagFalse    = 0xc2
	tagTrue     = 0xc3
	tagBin8     = 0xc4
	tagBin16    = 0xc5
	tagBin32    = 0xc6
	tagExt8     = 0xc7
	tagExt16    = 0xc8
	tagExt32    = 0xc9
	tagFloat32  = 0xca
	tagFloat64  = 0xcb
	tagUint8    = 0xcc
	tagUint64   = 0xcf
	tagInt8     = 0xd0
	tagInt64    = 0xd3
	tagFixExt1  = 0xd4
	tagFixExt4  = 0xd6
	tagFixExt8  = 0xd7
	tagStr8     = 0xd9
	tagStr16    = 0xda
	tagStr32    = 0xdb
	tagArray16  = 0xdc
	tagArray32  = 0xdd
	tagMap16    = 0xde
	tagMap32    = 0xdf
	tagNegFix   = 0xe0
)

// extTime is the extension type that the msgpack specification gives timestamps.
const extTime = 0xff

// intForm says how an integer of some bit length is written: the first byte is
// tag | low byte & mask, then come the size-1 high bytes of the number << shift.
type intForm struct {
	tag, mask, size, shift uint8
}

// uintForms is indexed by bits.Len64 of the number, so that the shortest form is
// found without a branch: the sizes of a column's numbers are data, and branches
// on them are mispredicted.
var uintForms = func() (t [128]intForm) {
	for n := range t {
		t[n] = pickForm(n, intForm{mask: 0x7f, size: 1, shift: 56}, 7, tagUint8, 8)
	}
	return t
}()

// intForms is the same for signed numbers: first those that are not negative,
// which have the unsigned forms, as the specification advises; from 64 on the
// negative ones, by bits.Len64 of their complement.
var intForms = func() (t [128]intForm) {
	copy(t[:64], uintForms[:])
	for n := range 64 {
		t[64+n] = pickForm(n, intForm{tag: tagNegFix, mask: 0x1f, size: 1, shift: 56}, 5, tagInt8, 7)
	}
	return t
}()

// pickForm is the form of a number of n bits: fix up to fixBits, else the first of
// the four forms from tag8 on that holds it, where the one-byte form holds bits8.
func pickForm(n int, fix intForm, fixBits int, tag8 uint8, bits8 int) intForm {
	switch {
	case n <= fixBits:
		return fix
	case n <= bits8:
		return intForm{tag: tag8, size: 2, shift: 56}
	case n <= bits8+8:
		return intForm{tag: tag8 + 1, size: 3, shift: 48}
	case n <= bits8+24:
		return intForm{tag: tag8 + 2, size: 5, shift: 32}
	}
	return intForm{tag: tag8 + 3, size: 9}
}

// maxScalar is the most bytes that a number, a bool or the head of a string,
// array, map or extension takes.
const maxScalar = 9

// putUint writes v to the start of buf and returns how many bytes of it count.
func putUint(buf *[maxScalar]byte, v uint64) int {
	f := &uintForms[bits.Len64(v)&0x7f]
	buf[0] = f.tag | byte(v)&f.mask
	binary.BigEndian.PutUint64(buf[1:], v<<(f.shift&63))
	return int(f.size)
}

// putInt is putUint for signed numbers.
func putInt(buf *[maxScalar]byte, v int64) int {
	sign := uint64(v >> 63)
	f := &intForms[(uint64(bits.Len64(uint64(v)^sign))|sign&64)&0x7f]
	buf[0] = f.tag | byte(v)&f.mask
	binary.BigEndian.PutUint64(buf[1:], uint64(v)<<(f.shift&63))
	return int(f.size)
}

func putFloat64(buf *[maxScalar]byte, v float64) int {
	buf[0] = tagFloat64
	binary.BigEndian.PutUint64(buf[1:], math.Float64bits(v))
	return 9
}

func putFloat32(buf *[maxScalar]byte, bits uint32) int {
	buf[0] = tagFloat32
	binary.BigEndian.PutUint32(buf[1:], bits)
	return 5
}

// putHead writes the head of something with a length: tags are those of the
// forms with 8, 16 and 32 bits of length, tag8 0 where there is no such form.
func putHead(buf *[maxScalar]byte, n int, tag8, tag16, tag32 byte) int {
	switch {
	case n <= math.MaxUint8 && tag8 != 0:
		buf[0], buf[1] = tag8, byte(n)
		return 2
	case n <= math.MaxUint16:
		buf[0] = tag16
		binary.BigEndian.PutUint16(buf[1:], uint16(n))
		return 3
	case uint64(n) <= math.MaxUint32:
		buf[0] = tag32
		binary.BigEndian.PutUint32(buf[1:], uint32(n))
		return 5
	}
	// Append has no error, TryAppend returns this as one.
	panic(&EncodeError{Reason: "it has a length over 4294967295, the most that msgpack can say"})
}

func putStrHead(buf *[maxScalar]byte, n int) int {
	if n < 32 {
		buf[0] = tagFixStr | byte(n)
		return 1
	}
	return putHead(buf, n, tagStr8, tagStr16, tagStr32)
}

func putBinHead(buf *[maxScalar]byte, n int) int {
	return putHead(buf, n, tagBin8, tagBin16, tagBin32)
}

func putArrayHead(buf *[maxScalar]byte, n int) int {
	if n < 16 {
		buf[0] = tagFixArray | byte(n)
		return 1
	}
	return putHead(buf, n, 0, tagArray16, tagArray32)
}

func putMapHead(buf *[maxScalar]byte, n int) int {
	if n < 16 {
		buf[0] = tagFixMap | byte(n)
		return 1
	}
	return putHead(buf, n, 0, tagMap16, tagMap32)
}

func appendArrayHead(dst []byte, n int) []byte {
	var b [maxScalar]byte
	return append(dst, b[:putArrayHead(&b, n)]...)
}

func appendMapHead(dst []byte, n int) []byte {
	var b [maxScalar]byte
	return append(dst, b[:putMapHead(&b, n)]...)
}

func appendString(dst []byte, s string) []byte {
	var b [maxScalar]byte
	dst = append(dst, b[:putStrHead(&b, len(s))]...)
	return append(dst, s...)
}

func appendBytes(dst []byte, s []byte) []byte {
	var b [maxScalar]byte
	dst = append(dst, b[:putBinHead(&b, len(s))]...)
	return append(dst, s...)
}
