package codec

import (
	"encoding/binary"
	"reflect"
	"slices"
	"time"
	"unsafe"
)

// walk is the state of encoding one value.
type walk struct {
	named  bool // structs as maps
	sorted bool // maps in the order of their encoded entries
	depth  int32
}

// maxDepth bounds how deep pointers, slices and maps may nest in a value, in
// both directions, so that neither a cycle nor hostile bytes exhaust the stack.
const maxDepth = 10000

func (w walk) deeper(n *node) walk {
	if w.depth++; w.depth > maxDepth {
		// A panic and not an error, because Append has none: whoever encodes values
		// that it does not know calls TryAppend.
		panic(&EncodeError{Type: n.typ.String(), Reason: "it is nested more than 10000 deep, or its pointers form a cycle"})
	}
	return w
}

// room makes sure that n bytes fit behind dst and returns all of its capacity.
func room(dst []byte, n int) []byte {
	if cap(dst)-len(dst) < n {
		dst = slices.Grow(dst, n)
	}
	return dst[:cap(dst)]
}

// append encodes the value at p.
func (n *node) append(dst []byte, p unsafe.Pointer, w walk) []byte {
	switch n.op {
	case opStruct:
		if w.named && n.omits {
			return n.appendOmitting(dst, p, w)
		}
		return n.appendStruct(dst, p, w)
	case opPtr:
		p = *(*unsafe.Pointer)(p)
		if p == nil {
			return append(dst, tagNil)
		}
		return n.elem.append(dst, p, w.deeper(n))
	case opSlice:
		s := (*sliceHeader)(p)
		if s.data == nil {
			return append(dst, tagNil)
		}
		return n.elem.appendAll(appendArrayHead(dst, s.len), s.data, s.len, w.deeper(n))
	case opArray:
		return n.elem.appendAll(appendArrayHead(dst, n.len), p, n.len, w)
	case opBytes:
		b := *(*[]byte)(p)
		if b == nil {
			return append(dst, tagNil)
		}
		return appendBytes(dst, b)
	case opByteArray:
		return appendBytes(dst, unsafe.Slice((*byte)(p), n.len))
	case opMap:
		return n.appendMap(dst, p, w.deeper(n))
	case opTime:
		return appendTime(dst, *(*time.Time)(p))
	case opCustom:
		return n.appendCustom(dst, p)
	case opString:
		return appendString(dst, *(*string)(p))
	}
	var b [maxScalar]byte
	return append(dst, b[:putScalar(&b, n.op, p)]...)
}

// putScalar writes a bool or a number.
func putScalar(b *[maxScalar]byte, o op, p unsafe.Pointer) int {
	switch o {
	case opBool:
		b[0] = tagFalse
		if *(*bool)(p) {
			b[0] = tagTrue
		}
		return 1
	case opInt8:
		return putInt(b, int64(*(*int8)(p)))
	case opInt16:
		return putInt(b, int64(*(*int16)(p)))
	case opInt32:
		return putInt(b, int64(*(*int32)(p)))
	case opInt64:
		return putInt(b, *(*int64)(p))
	case opUint8:
		return putUint(b, uint64(*(*uint8)(p)))
	case opUint16:
		return putUint(b, uint64(*(*uint16)(p)))
	case opUint32:
		return putUint(b, uint64(*(*uint32)(p)))
	case opUint64:
		return putUint(b, *(*uint64)(p))
	case opFloat32:
		return putFloat32(b, *(*uint32)(p))
	case opFloat64:
		return putFloat64(b, *(*float64)(p))
	}
	panic("flow/codec: internal: op is not a scalar")
}

// appendStruct writes either form, the named one with all fields. Room for everything but the bytes of
// strings is made once, and again after whatever is not a scalar; so the loop
// writes behind a plain pointer: i stays below cap(buf)-maxScalar by construction.
func (n *node) appendStruct(dst []byte, p unsafe.Pointer, w walk) []byte {
	buf, i := room(dst, n.reserve), len(dst)
	base := unsafe.Pointer(unsafe.SliceData(buf))
	switch {
	case w.named:
		i += putMapHead((*[maxScalar]byte)(unsafe.Add(base, i)), len(n.fields))
	case len(n.head) == 1:
		buf[i] = n.head[0]
		i++
	default:
		i += copy(buf[i:], n.head)
	}
	for k := range n.fields {
		f := &n.fields[k]
		q := unsafe.Add(p, f.off)
		if w.named {
			if m := &n.names[k]; len(m.head) <= shortName {
				*(*[shortName]byte)(unsafe.Add(base, i)) = m.short
				i += len(m.head)
			} else {
				i += copy(buf[i:], m.head)
			}
		}
		b := (*[maxScalar]byte)(unsafe.Add(base, i))
		switch f.op {
		case opInt64:
			i += putInt(b, *(*int64)(q))
		case opInt32:
			i += putInt(b, int64(*(*int32)(q)))
		case opUint64:
			i += putUint(b, *(*uint64)(q))
		case opFloat64:
			b[0] = tagFloat64
			binary.BigEndian.PutUint64(b[1:], *(*uint64)(q))
			i += 9
		case opBool:
			b[0] = tagFalse | *(*byte)(q)
			i++
		case opString:
			s := *(*string)(q)
			if len(buf)-i < len(s)+n.reserve {
				buf = room(buf[:i], len(s)+n.reserve)
				base = unsafe.Pointer(unsafe.SliceData(buf))
				b = (*[maxScalar]byte)(unsafe.Add(base, i))
			}
			if len(s) < 32 {
				b[0] = tagFixStr | byte(len(s))
				i++
			} else {
				i += putStrHead(b, len(s))
			}
			i += copy(buf[i:], s)
		case opInt8, opInt16, opUint8, opUint16, opUint32, opFloat32:
			i += putScalar(b, f.op, q)
		default:
			dst = f.node.append(buf[:i], q, w)
			buf, i = room(dst, n.reserve), len(dst)
			base = unsafe.Pointer(unsafe.SliceData(buf))
		}
	}
	return buf[:i]
}

// appendOmitting writes the named form without the fields that omitempty leaves out.
func (n *node) appendOmitting(dst []byte, p unsafe.Pointer, w walk) []byte {
	count := len(n.fields)
	for k := range n.fields {
		if n.names[k].omitEmpty && n.fields[k].node.isEmpty(unsafe.Add(p, n.fields[k].off)) {
			count--
		}
	}
	dst = appendMapHead(dst, count)
	for k := range n.fields {
		f, q := &n.fields[k], unsafe.Add(p, n.fields[k].off)
		if n.names[k].omitEmpty && f.node.isEmpty(q) {
			continue
		}
		dst = append(dst, n.names[k].head...)
		dst = f.node.append(dst, q, w)
	}
	return dst
}

// isEmpty is what omitempty asks: decoding nothing would give the same value, but
// for empty slices and maps, which become nil.
func (n *node) isEmpty(p unsafe.Pointer) bool {
	switch n.op {
	case opSlice, opBytes:
		return (*sliceHeader)(p).len == 0
	case opString:
		return len(*(*string)(p)) == 0
	case opMap:
		return reflect.NewAt(n.typ, p).Elem().Len() == 0
	case opFloat64:
		return *(*uint64)(p) == 0
	case opFloat32:
		return *(*uint32)(p) == 0
	}
	return reflect.NewAt(n.typ, p).Elem().IsZero()
}

// appendAll encodes count values of n's type that lie one behind the other.
func (n *node) appendAll(dst []byte, p unsafe.Pointer, count int, w walk) []byte {
	switch {
	case n.op < opString:
		const chunk = 256
		for k := 0; k < count; {
			buf, i := room(dst, maxScalar*chunk), len(dst)
			for end := min(k+chunk, count); k < end; k++ {
				i += putScalar((*[maxScalar]byte)(buf[i:]), n.op, at(p, k, n.size))
			}
			dst = buf[:i]
		}
	case n.op == opStruct && !(w.named && n.omits):
		for k := range count {
			dst = n.appendStruct(dst, at(p, k, n.size), w)
		}
	default:
		for k := range count {
			dst = n.append(dst, at(p, k, n.size), w)
		}
	}
	return dst
}

func appendTime(dst []byte, t time.Time) []byte {
	sec, nsec := uint64(t.Unix()), uint64(t.Nanosecond())
	switch {
	case sec>>34 != 0:
		dst = append(dst, tagExt8, 12, extTime)
		dst = binary.BigEndian.AppendUint32(dst, uint32(nsec))
		return binary.BigEndian.AppendUint64(dst, sec)
	case sec>>32 != 0 || nsec != 0:
		dst = append(dst, tagFixExt8, extTime)
		return binary.BigEndian.AppendUint64(dst, nsec<<34|sec)
	}
	dst = append(dst, tagFixExt4, extTime)
	return binary.BigEndian.AppendUint32(dst, uint32(sec))
}

func (n *node) appendCustom(dst []byte, p unsafe.Pointer) []byte {
	// The methods get a copy: they may keep it, and p may point into a stack.
	v := reflect.New(n.typ)
	v.Elem().Set(reflect.NewAt(n.typ, p).Elem())
	if k := n.typ.Kind(); (k == reflect.Map || k == reflect.Slice) && v.Elem().IsNil() {
		return append(dst, tagNil)
	}
	start := len(dst)
	dst, err := n.custom.append(dst, v.Interface())
	if err == nil && (len(dst) < start || skip(dst, start) != len(dst)) {
		err = errNotOneValue
	}
	if err != nil {
		// See deeper: Append has no error, TryAppend returns this as one.
		panic(&EncodeError{Type: n.typ.String(), Reason: "its " + n.custom.via + " gave an error", Err: err})
	}
	return dst
}
