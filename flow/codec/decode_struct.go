package codec

import (
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
		case opInt64:
			*(*int64)(q), next = readInt(src, i)
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
		case opInt8, opInt16, opInt32, opUint8, opUint16, opUint32, opUint64, opFloat32:
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
	n.zero(p)
	expect := 0 // Writers keep an order: the next field is mostly the one after the last.
	for range count {
		lo, hi := strBounds(r.src, next)
		if hi < 0 {
			r.fail(next, "a field's name")
			return r.in(".(name)")
		}
		k := expect
		if k >= len(n.names) || n.names[k].name != string(r.src[lo:hi]) {
			var known bool
			if k, known = n.byName[string(r.src[lo:hi])]; !known {
				if next = skip(r.src, hi); next < 0 {
					r.fail(hi, "a value")
					return r.in("." + string(r.src[lo:min(hi, lo+40)]))
				}
				continue
			}
		}
		expect = k + 1
		f := &n.fields[k]
		if next = f.node.decode(r, hi, unsafe.Add(p, f.off)); next < 0 {
			return r.in("." + n.names[k].name)
		}
	}
	return next
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
