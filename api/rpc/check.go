package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// maxDepth is how deep a message may be nested. None of ours is deeper than 6.
const maxDepth = 16

var errCut = errors.New("it is cut short")

// check walks through a msgpack value and refuses what is not one whole value, or is
// nested too deeply: a decoder recurses into what it skips, and a stack that has no end
// ends the process.
func check(data []byte) error {
	var left [maxDepth]uint64 // values to come, at each depth
	depth := 0
	left[0] = 1
	for {
		for left[depth] == 0 {
			if depth == 0 {
				if len(data) > 0 {
					return fmt.Errorf("%d bytes follow it", len(data))
				}
				return nil
			}
			depth--
		}
		left[depth]--
		size, inner, err := head(data)
		if err != nil {
			return err
		}
		data = data[size:]
		if inner == 0 {
			continue
		}
		if inner > uint64(len(data)) {
			return errCut // each value takes a byte at least
		}
		if depth++; depth == maxDepth {
			return fmt.Errorf("it is nested deeper than %d", maxDepth)
		}
		left[depth] = inner
	}
}

// head measures the first value of data: all of it, or for a container what stands before
// its inner values.
func head(data []byte) (size int, inner uint64, err error) {
	if len(data) == 0 {
		return 0, 0, errCut
	}
	c := data[0]
	n, width, per := uint64(0), 0, uint64(0) // bytes that follow; bytes of a length; values for each of the length
	switch {
	case c <= 0x7f || c >= 0xe0 || c == 0xc0 || c == 0xc2 || c == 0xc3:
	case c <= 0x8f:
		return 1, 2 * uint64(c&0x0f), nil
	case c <= 0x9f:
		return 1, uint64(c & 0x0f), nil
	case c <= 0xbf:
		n = uint64(c & 0x1f)
	case c >= 0xc4 && c <= 0xc6:
		width = 1 << (c - 0xc4)
	case c >= 0xc7 && c <= 0xc9:
		width, n = 1<<(c-0xc7), 1
	case c == 0xca:
		n = 4
	case c == 0xcb:
		n = 8
	case c >= 0xcc && c <= 0xcf:
		n = 1 << (c - 0xcc)
	case c >= 0xd0 && c <= 0xd3:
		n = 1 << (c - 0xd0)
	case c >= 0xd4 && c <= 0xd8:
		n = 1<<(c-0xd4) + 1
	case c >= 0xd9 && c <= 0xdb:
		width = 1 << (c - 0xd9)
	case c == 0xdc || c == 0xdd:
		width, per = 2<<(c-0xdc), 1
	case c == 0xde || c == 0xdf:
		width, per = 2<<(c-0xde), 2
	default:
		return 0, 0, fmt.Errorf("the byte %#x begins no value", c)
	}
	if len(data) < 1+width {
		return 0, 0, errCut
	}
	var length uint64
	switch width {
	case 1:
		length = uint64(data[1])
	case 2:
		length = uint64(binary.BigEndian.Uint16(data[1:]))
	case 4:
		length = uint64(binary.BigEndian.Uint32(data[1:]))
	}
	if per > 0 {
		return 1 + width, per * length, nil
	}
	if n += length; n > uint64(len(data)-1-width) {
		return 0, 0, errCut
	}
	return 1 + width + int(n), 0, nil
}
