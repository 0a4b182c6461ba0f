package codec

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"unsafe"
)

// decodeStruct reads either form of a struct.
func (n *node) decodeStruct(r *reader, i int, p unsafe.Pointer) int {
	src := r.src
	if n.order != nil || n.partial || uint(i) >= uint(len(src)) || len(n.head) != 1 || src[i] != n.head[0] {
		return n.decodeStructSlow(r, i, p)
	}
	return n.decodeFields(r, i+1, p)
}

// decodeFields reads the elements of the array form. The commonest kinds are
// read here, in their commonest forms; the rest in decodeScalar.
func (n *node) decodeFields(r *reader, i int, p unsafe.Pointer) int {
	src := r.src
	for k := range n.fields {
		f := &n.fields[k]
		q := unsafe.Add(p, f.off)
		next := -1
		switch f.op {
		case opInt64, opInt32:
			var v int64
			if v, next = readInt(src, i); f.op == opInt64 {
				*(*int64)(q) = v
			} else if *(*int32)(q) = int32(v); int64(int32(v)) != v {
				next = -1
			}
		case opFloat64:
			if uint(i) < uint(len(src)) && src[i] == tagFloat64 && len(src)-i >= 9 {
				*(*uint64)(q) = binary.BigEndian.Uint64(src[i+1:])
				next = i + 9
			} else {
				next = decodeScalar(src, i, f.op, q)
			}
		case opString:
			if uint(i) < uint(len(src)) && src[i]&0xe0 == tagFixStr {
				if next = i + 1 + int(src[i]&0x1f); next <= len(src) {
					*(*string)(q) = string(src[i+1 : next])
				} else {
					next = -1
				}
			} else {
				next = decodeScalar(src, i, f.op, q)
			}
		case opBool:
			if uint(i) < uint(len(src)) && src[i]&^1 == tagFalse {
				*(*bool)(q) = src[i] == tagTrue
				next = i + 1
			}
		case opInt8, opInt16, opUint8, opUint16, opUint32, opUint64, opFloat32:
			next = decodeScalar(src, i, f.op, q)
		default:
			if i = f.node.decode(r, i, q); i < 0 {
				return r.in("." + n.names[k].name)
			}
			continue
		}
		if next < 0 {
			r.fail(i, f.node.want)
			return r.in("." + n.names[k].name)
		}
		i = next
	}
	return i
}

// decodeStructSlow handles what is not the array form with as many fields as the
// type has.
func (n *node) decodeStructSlow(r *reader, i int, p unsafe.Pointer) int {
	if count, next := readArrayHead(r.src, i); next >= 0 {
		switch {
		case n.order != nil && count == len(n.order):
			n.zero(p)
			n.preset(p)
			return n.decodeOrdered(r, next, p)
		case n.order != nil || count != len(n.fields):
			return r.fail(i, n.want+" as "+n.arrayWant())
		}
		if n.partial {
			n.zero(p)
		}
		return n.decodeFields(r, next, p)
	}
	count, next := readMapHead(r.src, i)
	if next < 0 {
		return r.fail(i, n.want+" as "+n.arrayWant())
	}
	return n.decodeNamed(r, next, p, count)
}

// decodeNamed reads count pairs of name and value. If they are all the fields in
// order, which is the rule, nothing need be cleared before.
func (n *node) decodeNamed(r *reader, i int, p unsafe.Pointer, count int) int {
	cleared := n.partial || count != len(n.fields) || len(n.presets) > 0
	if cleared {
		n.zero(p)
		n.preset(p)
	}
	expect := 0 // Writers keep an order: the next field is mostly the one after the last.
	for range count {
		k := expect
		if k < len(n.names) && n.names[k].at(r.src, i) {
			i += len(n.names[k].head)
		} else {
			if !cleared {
				cleared = true
				for j := expect; j < len(n.fields); j++ {
					n.fields[j].node.zero(unsafe.Add(p, n.fields[j].off))
				}
			}
			lo, hi := strBounds(r.src, i)
			if hi < 0 {
				r.fail(i, "a field's name")
				return r.in(".(name)")
			}
			var known bool
			if k, known = n.byName[string(r.src[lo:hi])]; !known {
				if i = skip(r.src, hi); i < 0 {
					r.fail(hi, "a value")
					return r.in("." + string(r.src[lo:min(hi, lo+40)]))
				}
				continue
			}
			i = hi
		}
		expect = k + 1
		f := &n.fields[k]
		if f.op <= opLastScalar {
			next := decodeScalar(r.src, i, f.op, unsafe.Add(p, f.off))
			if next < 0 {
				r.fail(i, f.node.want)
				return r.in("." + n.names[k].name)
			}
			i = next
		} else if i = f.node.decode(r, i, unsafe.Add(p, f.off)); i < 0 {
			return r.in("." + n.names[k].name)
		}
	}
	return i
}

// at reports whether the name, in its shortest form, is at src[i:].
func (m *fieldName) at(src []byte, i int) bool {
	n := len(m.head)
	if n > shortName || len(src)-i < shortName {
		return bytes.HasPrefix(src[min(i, len(src)):], m.head)
	}
	s := src[i : i+shortName : i+shortName]
	lo := binary.LittleEndian.Uint64(s) ^ binary.LittleEndian.Uint64(m.short[:])
	hi := binary.LittleEndian.Uint64(s[8:]) ^ binary.LittleEndian.Uint64(m.short[8:])
	if n <= 8 {
		return lo<<(64-8*uint(n)) == 0
	}
	return lo == 0 && hi<<(128-8*uint(n)) == 0
}

// decodeOrdered reads the array form of another version of the type.
func (n *node) decodeOrdered(r *reader, i int, p unsafe.Pointer) int {
	for _, k := range n.order {
		if k < 0 {
			next := skip(r.src, i)
			if next < 0 {
				return r.fail(i, "a value to skip in "+n.want)
			}
			i = next
			continue
		}
		f := &n.fields[k]
		if i = f.node.decode(r, i, unsafe.Add(p, f.off)); i < 0 {
			return r.in("." + n.names[k].name)
		}
	}
	return i
}

func (n *node) arrayWant() string {
	count := len(n.fields)
	if n.order != nil {
		count = len(n.order)
	}
	return "an array of " + strconv.Itoa(count) + " or a map"
}
