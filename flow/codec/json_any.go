package codec

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// any writes a value of which nothing is known.
func (w *jsonWriter) any(i int) int {
	end := skip(w.src, i)
	if end < 0 {
		return w.fail(i, "a msgpack value")
	}
	c := w.src[i]
	switch {
	case c == tagNil:
		w.out = append(w.out, "null"...)
	case c == tagFalse || c == tagTrue:
		w.out = strconv.AppendBool(w.out, c == tagTrue)
	case c == tagFloat64:
		v, _ := readFloat(w.src, i)
		w.float(v, 64)
	case c == tagFloat32:
		v, _ := readFloat32(w.src, i)
		w.float(float64(math.Float32frombits(v)), 32)
	case c >= tagBin8 && c <= tagBin32:
		lo, hi := strBounds(w.src, i)
		w.base64(w.src[lo:hi])
	case isText(c):
		lo, hi := strBounds(w.src, i)
		w.out = appendJSONString(w.out, string(w.src[lo:hi]))
	case c&0xf0 == tagFixArray || c == tagArray16 || c == tagArray32:
		return w.anyParts(i, false)
	case c&0xf0 == tagFixMap || c == tagMap16 || c == tagMap32:
		return w.anyParts(i, true)
	default:
		if v, next := readInt(w.src, i); next >= 0 {
			w.out = strconv.AppendInt(w.out, v, 10)
		} else if v, next := readUint(w.src, i); next >= 0 {
			w.out = strconv.AppendUint(w.out, v, 10)
		} else if t, next := readTime(w.src, i); next >= 0 {
			w.time(t)
		} else {
			typ, lo, hi := extBounds(w.src, i)
			w.out = append(w.out, `{"extension":`...)
			w.out = append(strconv.AppendInt(w.out, int64(int8(typ)), 10), `,"data":`...)
			w.base64(w.src[lo:hi])
			w.out = append(w.out, '}')
		}
	}
	return end
}

// isText reports whether a value with the first byte c is a str.
func isText(c byte) bool { return c&0xe0 == tagFixStr || c >= tagStr8 && c <= tagStr32 }

// anyParts writes an array, or a map: as an object if all its keys are text.
func (w *jsonWriter) anyParts(i int, isMap bool) int {
	if !w.deeper(i, "a msgpack value") {
		return -1
	}
	defer func() { w.depth-- }()
	count, next := readArrayHead(w.src, i)
	object := isMap
	if isMap {
		count, next = readMapHead(w.src, i)
		for k, at := 0, next; k < count && object; k++ {
			object = isText(w.src[at])
			at = skip(w.src, skip(w.src, at))
		}
	}
	w.out = append(w.out, "[{"[b2i(object)])
	for k := range count {
		if k > 0 {
			w.out = append(w.out, ',')
		}
		if isMap && !object {
			w.out = append(w.out, '[')
		}
		if isMap {
			if next = w.any(next); next < 0 {
				return -1
			}
			w.out = append(w.out, ",:"[b2i(object)])
		}
		if next = w.any(next); next < 0 {
			return -1
		}
		if isMap && !object {
			w.out = append(w.out, ']')
		}
	}
	w.out = append(w.out, "]}"[b2i(object)])
	return next
}

const hexDigits = "0123456789abcdef"

// appendJSONString appends s as a string of JSON; what is not UTF-8 becomes U+FFFD.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			dst = append(dst, s[from:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			from = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, s[from:i]...)
			dst = append(dst, "\ufffd"...)
			from = i + 1
		}
		i += size
	}
	return append(append(dst, s[from:]...), '"')
}
