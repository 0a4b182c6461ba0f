package codec

import (
	"fmt"
	"reflect"
	"strconv"
	"time"
	"unsafe"
)

// presetOf encodes what a tag `msgpack:",default:text"` says; reason says why it
// is refused.
func presetOf(t reflect.Type, n *node, text string) (b []byte, reason string) {
	var err error
	var buf [maxScalar]byte
	switch {
	case t == reflect.TypeFor[time.Duration]():
		var d time.Duration
		d, err = time.ParseDuration(text)
		b = append(b, buf[:putInt(&buf, int64(d))]...)
	case n.op == opBool:
		var v bool
		v, err = strconv.ParseBool(text)
		b = append(b, tagFalse)
		if v {
			b[0] = tagTrue
		}
	case n.op >= opInt8 && n.op <= opInt64:
		var v int64
		v, err = strconv.ParseInt(text, 0, int(8*n.size))
		b = append(b, buf[:putInt(&buf, v)]...)
	case n.op >= opUint8 && n.op <= opUint64:
		var v uint64
		v, err = strconv.ParseUint(text, 0, int(8*n.size))
		b = append(b, buf[:putUint(&buf, v)]...)
	case n.op == opFloat32:
		var v float64
		v, err = strconv.ParseFloat(text, 32)
		f := float32(v)
		b = append(b, buf[:putFloat32(&buf, *(*uint32)(unsafe.Pointer(&f)))]...)
	case n.op == opFloat64:
		var v float64
		v, err = strconv.ParseFloat(text, 64)
		b = append(b, buf[:putFloat64(&buf, v)]...)
	case n.op == opString:
		b = appendString(b, text)
	default:
		return nil, "has a default in its msgpack tag, which only bool, numbers, strings and durations can have; " +
			"fill it in where it is used"
	}
	if err != nil {
		return nil, fmt.Sprintf("has the default %q in its msgpack tag, which is no %s", text, t)
	}
	return b, ""
}

// preset sets the fields that were not written and have a default.
func (n *node) preset(p unsafe.Pointer) {
	for _, k := range n.presets {
		f := &n.fields[k]
		decodeScalar(n.names[k].preset, 0, f.op, unsafe.Add(p, f.off))
	}
}
