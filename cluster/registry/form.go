package registry

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds of one msgpack value, of a log's entry or of a snapshot.
const (
	maxDepth  = 16
	maxValues = 1 << 18
)

var errShort = errors.New("it ends in the middle of a value")

// checkForm walks over one msgpack value and refuses what would make a decoder take
// memory or stack beyond the value's size: lengths beyond the data, deep nesting, very
// many values. It keeps its own stack, of the values still to come on each level.
func checkForm(data []byte) error {
	var left [maxDepth]int
	depth, at := 0, 0
	left[0] = 1
	for values := 0; ; values++ {
		for left[depth] == 0 {
			if depth == 0 {
				if at != len(data) {
					return fmt.Errorf("%d bytes follow its end", len(data)-at)
				}
				return nil
			}
			depth--
		}
		left[depth]--
		if values == maxValues {
			return fmt.Errorf("it has more than %d values", maxValues)
		}
		if at >= len(data) {
			return errShort
		}
		skip, open, err := head(data[at:])
		if err != nil {
			return fmt.Errorf("at byte %d: %w", at, err)
		}
		if skip > len(data)-at || open > len(data)-at {
			return errShort
		}
		at += skip
		if open > 0 {
			if depth++; depth == maxDepth {
				return fmt.Errorf("at byte %d: it nests deeper than %d", at, maxDepth-1)
			}
			left[depth] = open
		}
	}
}

// head reads the beginning of a value: how many bytes it takes without what it holds,
// and how many values it holds.
func head(b []byte) (skip, open int, err error) {
	c := b[0]
	switch {
	case c <= 0x7f || c >= 0xe0 || c == 0xc0 || c == 0xc2 || c == 0xc3: // integer, nil, bool
		return 1, 0, nil
	case c <= 0x8f: // map
		return 1, 2 * int(c&0x0f), nil
	case c <= 0x9f: // array
		return 1, int(c & 0x0f), nil
	case c <= 0xbf: // text
		return 1 + int(c&0x1f), 0, nil
	case c >= 0xc4 && c <= 0xc6: // bytes
		n, width, err := length(b, 1<<(c-0xc4))
		return width + n, 0, err
	case c == 0xca || c == 0xcb: // floats
		return 1 + 4<<(c-0xca), 0, nil
	case c >= 0xcc && c <= 0xcf: // unsigned
		return 1 + 1<<(c-0xcc), 0, nil
	case c >= 0xd0 && c <= 0xd3: // signed
		return 1 + 1<<(c-0xd0), 0, nil
	case c >= 0xd9 && c <= 0xdb: // text
		n, width, err := length(b, 1<<(c-0xd9))
		return width + n, 0, err
	case c == 0xdc || c == 0xdd: // array
		n, width, err := length(b, 2<<(c-0xdc))
		return width, n, err
	case c == 0xde || c == 0xdf: // map
		n, width, err := length(b, 2<<(c-0xde))
		return width, 2 * n, err
	}
	return 0, 0, fmt.Errorf("type code 0x%02x is not used here", c)
}

// length reads a length of width bytes behind the code. All of them are bounded by a
// frame's size, so that sums and doubles stay small.
func length(b []byte, width int) (n, skip int, err error) {
	if len(b) < 1+width {
		return 0, 0, errShort
	}
	switch width {
	case 1:
		n = int(b[1])
	case 2:
		n = int(binary.BigEndian.Uint16(b[1:]))
	default:
		u := binary.BigEndian.Uint32(b[1:])
		if u > maxFrame {
			return 0, 0, errShort
		}
		n = int(u)
	}
	return n, 1 + width, nil
}
