package graph

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// checkForm walks over msgpack bytes and refuses what the library would read
// with harm: nesting that overflows its stack when it skips an unknown field,
// lengths beyond the data, two fields of one name (of which readers differ in
// which they take), and anything behind the one value. It allocates next to
// nothing.
func checkForm(data []byte) error {
	if len(data) > MaxFormBytes {
		return fmt.Errorf("%d bytes, above the limit of %d", len(data), MaxFormBytes)
	}
	w := formWalk{data: data}
	if err := w.run(); err != nil {
		return fmt.Errorf("at byte %d: %w", w.at, err)
	}
	return nil
}

// formWalk has a stack of its own instead of recursion.
type formWalk struct {
	data  []byte
	at    int
	stack []formLevel
}

// formLevel is one open map or array.
type formLevel struct {
	left  int // values still to come, keys included
	isMap bool
	keys  [][]byte // of a map, while it has few
}

var (
	errFormShort = errors.New("the data ends in the middle of a value")
	errFormDepth = fmt.Errorf("values nest deeper than %d", maxFormDepth)
)

// maxFormKeys bounds the fields of one map, and with it the search for doubles.
const maxFormKeys = 256

func (w *formWalk) run() error {
	values := 0
	for first := true; first || len(w.stack) > 0; first = false {
		isKey := false
		if n := len(w.stack); n > 0 {
			top := &w.stack[n-1]
			if top.left == 0 {
				w.stack = w.stack[:n-1]
				continue
			}
			isKey = top.isMap && top.left%2 == 0
			top.left--
		}
		if values++; values > maxFormValues {
			return fmt.Errorf("more than %d values", maxFormValues)
		}
		if err := w.value(isKey); err != nil {
			return err
		}
	}
	if w.at != len(w.data) {
		return fmt.Errorf("%d bytes follow the value", len(w.data)-w.at)
	}
	return nil
}

// value steps over one value; of an array or map, over its head.
func (w *formWalk) value(isKey bool) error {
	if w.at >= len(w.data) {
		return errFormShort
	}
	code := w.data[w.at]
	isText := code >= 0xa0 && code <= 0xbf || code >= 0xd9 && code <= 0xdb
	if isKey && !isText {
		return fmt.Errorf("a field's name has the type code 0x%02x and is not a string", code)
	}
	w.at++
	switch {
	case code <= 0x7f || code >= 0xe0: // small integers
		return nil
	case code <= 0x8f:
		return w.open(int(code&0x0f), true)
	case code <= 0x9f:
		return w.open(int(code&0x0f), false)
	case code <= 0xbf:
		return w.bytes(int(code&0x1f), isKey)
	}
	switch code {
	case 0xc0, 0xc2, 0xc3: // nil, false, true
		return nil
	case 0xc4, 0xc5, 0xc6: // binary
		return w.sized(1<<(code-0xc4), 0, false)
	case 0xc7, 0xc8, 0xc9: // extension: a type byte more
		return w.sized(1<<(code-0xc7), 1, false)
	case 0xca, 0xcb: // floats
		return w.skip(4 << (code - 0xca))
	case 0xcc, 0xcd, 0xce, 0xcf: // unsigned
		return w.skip(1 << (code - 0xcc))
	case 0xd0, 0xd1, 0xd2, 0xd3: // signed
		return w.skip(1 << (code - 0xd0))
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8: // extensions of fixed size
		return w.skip(1 + 1<<(code-0xd4))
	case 0xd9, 0xda, 0xdb: // text
		return w.sized(1<<(code-0xd9), 0, isKey)
	case 0xdc, 0xdd: // arrays
		n, err := w.length(2 << (code - 0xdc))
		if err != nil {
			return err
		}
		return w.open(n, false)
	case 0xde, 0xdf: // maps
		n, err := w.length(2 << (code - 0xde))
		if err != nil {
			return err
		}
		return w.open(n, true)
	}
	return fmt.Errorf("type code 0x%02x does not exist", code)
}

// open begins an array or map of n elements. Each takes a byte at least, so a
// length beyond the data is refused at once.
func (w *formWalk) open(n int, isMap bool) error {
	if n > len(w.data)-w.at {
		return errFormShort
	}
	if len(w.stack) == maxFormDepth {
		return errFormDepth
	}
	level := formLevel{left: n, isMap: isMap}
	if isMap {
		if n > maxFormKeys {
			return fmt.Errorf("a map has %d fields, above the limit of %d", n, maxFormKeys)
		}
		level.left = 2 * n
	}
	w.stack = append(w.stack, level)
	return nil
}

// sized steps over a length of width bytes, extra bytes, and what it counts.
func (w *formWalk) sized(width, extra int, isKey bool) error {
	n, err := w.length(width)
	if err != nil {
		return err
	}
	if n > len(w.data) {
		return errFormShort
	}
	return w.bytes(n+extra, isKey)
}

func (w *formWalk) length(width int) (int, error) {
	at := w.at
	if err := w.skip(width); err != nil {
		return 0, err
	}
	switch width {
	case 1:
		return int(w.data[at]), nil
	case 2:
		return int(binary.BigEndian.Uint16(w.data[at:])), nil
	}
	n := binary.BigEndian.Uint32(w.data[at:])
	if n > MaxFormBytes {
		return 0, errFormShort // also where int has 32 bits
	}
	return int(n), nil
}

func (w *formWalk) skip(n int) error {
	if n > len(w.data)-w.at {
		return errFormShort
	}
	w.at += n
	return nil
}

// bytes steps over n bytes; those of a field's name must be new in its map.
func (w *formWalk) bytes(n int, isKey bool) error {
	at := w.at
	if err := w.skip(n); err != nil || !isKey {
		return err
	}
	key := w.data[at:w.at]
	top := &w.stack[len(w.stack)-1]
	for _, k := range top.keys {
		if string(k) == string(key) {
			return fmt.Errorf("field %.40q occurs twice", key)
		}
	}
	top.keys = append(top.keys, key)
	return nil
}
