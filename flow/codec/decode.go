package codec

import (
	"encoding/binary"
	"strconv"
	"time"
	"unsafe"
)

// reader is the state of decoding one value. Functions return the offset behind
// what they read; -1 says that err is set.
type reader struct {
	src   []byte
	depth int
	err   *DecodeError
}

// fail notes that the value at i is not a want.
func (r *reader) fail(i int, want string) int {
	r.err = &DecodeError{Offset: i, Want: want, Found: describe(r.src, i)}
	return -1
}

func (r *reader) failFound(i int, want, found string) int {
	r.err = &DecodeError{Offset: i, Want: want, Found: found}
	return -1
}

// maxPath is about how much of an error's path is kept, from the innermost part.
const maxPath = 200

// in notes that the error happened in the given part of a value.
func (r *reader) in(part string) int {
	switch n := len(r.err.Path); {
	case n < maxPath:
		r.err.Path = part + r.err.Path
	case r.err.Path[0] != '(':
		r.err.Path = "(...)" + r.err.Path
	}
	return -1
}

// deeper counts one level of pointers, slices and maps; each return of r.depth to
// its old value is the caller's.
func (r *reader) deeper(i int, n *node) bool {
	if r.depth++; r.depth > maxDepth {
		r.failFound(i, n.want, "values nested more than "+strconv.Itoa(maxDepth)+" deep")
		return false
	}
	return true
}

// decode reads the value at r.src[i:] into p and overwrites all that was there.
func (n *node) decode(r *reader, i int, p unsafe.Pointer) int {
	switch n.op {
	case opStruct:
		return n.decodeStruct(r, i, p)
	case opPtr:
		return n.decodePointer(r, i, p)
	case opSlice:
		return n.decodeSlice(r, i, p)
	case opArray:
		count, at := readArrayHead(r.src, i)
		if at < 0 || count != n.len {
			return r.fail(i, n.want)
		}
		return n.elem.decodeAll(r, at, p, count)
	case opBytes:
		if i < len(r.src) && r.src[i] == tagNil {
			*(*[]byte)(p) = nil
			return i + 1
		}
		lo, hi := strBounds(r.src, i)
		if hi < 0 {
			return r.fail(i, n.want)
		}
		b := make([]byte, hi-lo)
		copy(b, r.src[lo:hi])
		*(*[]byte)(p) = b
		return hi
	case opByteArray:
		lo, hi := strBounds(r.src, i)
		if hi < 0 || hi-lo != n.len {
			return r.fail(i, n.want)
		}
		copy(unsafe.Slice((*byte)(p), n.len), r.src[lo:hi])
		return hi
	case opMap:
		return n.decodeMap(r, i, p)
	case opTime:
		t, at := readTime(r.src, i)
		if at < 0 {
			return r.fail(i, n.want)
		}
		*(*time.Time)(p) = t
		return at
	case opCustom:
		return n.decodeCustom(r, i, p)
	}
	at := decodeScalar(r.src, i, n.op, p)
	if at < 0 {
		return r.fail(i, n.want)
	}
	return at
}

// decodeScalar reads a bool, a number or a string.
func decodeScalar(src []byte, i int, o op, p unsafe.Pointer) int {
	switch o {
	case opInt64:
		v, at := readInt(src, i)
		*(*int64)(p) = v
		return at
	case opString:
		lo, hi := strBounds(src, i)
		if hi < 0 {
			return -1
		}
		*(*string)(p) = string(src[lo:hi])
		return hi
	case opFloat64:
		if len(src)-i >= 9 && src[i] == tagFloat64 {
			*(*uint64)(p) = binary.BigEndian.Uint64(src[i+1:])
			return i + 9
		}
		v, at := readFloat(src, i)
		*(*float64)(p) = v
		return at
	case opBool:
		if uint(i) >= uint(len(src)) || src[i]&^1 != tagFalse {
			return -1
		}
		*(*bool)(p) = src[i] == tagTrue
		return i + 1
	case opInt32:
		v, at := readInt(src, i)
		*(*int32)(p) = int32(v)
		return inRange(at, int64(int32(v)) == v)
	case opUint64:
		v, at := readUint(src, i)
		*(*uint64)(p) = v
		return at
	case opInt8:
		v, at := readInt(src, i)
		*(*int8)(p) = int8(v)
		return inRange(at, int64(int8(v)) == v)
	case opInt16:
		v, at := readInt(src, i)
		*(*int16)(p) = int16(v)
		return inRange(at, int64(int16(v)) == v)
	case opUint8:
		v, at := readUint(src, i)
		*(*uint8)(p) = uint8(v)
		return inRange(at, uint64(uint8(v)) == v)
	case opUint16:
		v, at := readUint(src, i)
		*(*uint16)(p) = uint16(v)
		return inRange(at, uint64(uint16(v)) == v)
	case opUint32:
		v, at := readUint(src, i)
		*(*uint32)(p) = uint32(v)
		return inRange(at, uint64(uint32(v)) == v)
	case opFloat32:
		v, at := readFloat32(src, i)
		*(*uint32)(p) = v
		return at
	}
	panic("flow/codec: internal: op is not a scalar")
}

func inRange(at int, ok bool) int {
	if !ok {
		return -1
	}
	return at
}

// decodeAll reads count values of n's type into an array.
func (n *node) decodeAll(r *reader, i int, p unsafe.Pointer, count int) int {
	if n.op <= opLastScalar {
		for k := range count {
			next := decodeScalar(r.src, i, n.op, at(p, k, n.size))
			if next < 0 {
				r.fail(i, n.want)
				return r.in("[" + strconv.Itoa(k) + "]")
			}
			i = next
		}
		return i
	}
	if n.op == opStruct {
		for k := range count {
			if i = n.decodeStruct(r, i, at(p, k, n.size)); i < 0 {
				return r.in("[" + strconv.Itoa(k) + "]")
			}
		}
		return i
	}
	for k := range count {
		if i = n.decode(r, i, at(p, k, n.size)); i < 0 {
			return r.in("[" + strconv.Itoa(k) + "]")
		}
	}
	return i
}

// readTime reads a timestamp extension. The location is UTC, so that a value is
// the same wherever it is decoded.
func readTime(src []byte, i int) (time.Time, int) {
	typ, lo, hi := extBounds(src, i)
	if hi < 0 || typ != extTime {
		return time.Time{}, -1
	}
	var sec, nsec uint64
	switch hi - lo {
	case 4:
		sec = uint64(binary.BigEndian.Uint32(src[lo:]))
	case 8:
		v := binary.BigEndian.Uint64(src[lo:])
		sec, nsec = v&(1<<34-1), v>>34
	case 12:
		nsec, sec = uint64(binary.BigEndian.Uint32(src[lo:])), binary.BigEndian.Uint64(src[lo+4:])
	default:
		return time.Time{}, -1
	}
	if nsec > 999999999 {
		return time.Time{}, -1
	}
	return time.Unix(int64(sec), int64(nsec)).UTC(), hi
}
