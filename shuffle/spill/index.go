package spill

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/shuffle"
)

// magic begins a file and a stream; its last byte is the version.
const magic = "weirspl\x01"

// footerSize is the length of what ends a file, endMagic what ends that.
const (
	footerSize = 40
	endMagic   = "wspl"
)

// header says what a file holds. It is the first block of a file and of a stream.
type header struct {
	ID         ID           `msgpack:"id"`
	Partitions int          `msgpack:"partitions"`
	Schema     codec.Schema `msgpack:"schema"`
}

// Size is how much of an output is in one sub-partition.
type Size struct {
	shuffle.Count
	// Bytes is what it takes in the file, Raw what it was before compression.
	Bytes, Raw int64
}

// Summary is what is known of a finished output.
type Summary struct {
	ID         ID
	Partitions []Size
	// Count is the books of the whole output.
	shuffle.Count
	// FileBytes is what the file takes on disk.
	FileBytes int64
}

// Range is the count of a range of sub-partitions: what a consumer's channel must
// have counted when it ended.
func (s *Summary) Range(r Range) (c shuffle.Count) {
	for _, p := range s.Partitions[r.First:r.End] {
		c.Add(p.Count)
	}
	return c
}

// index says where sub-partitions are: regions follow each other from start to the index itself.
type index struct {
	start int64
	parts []Size
	// lengths has, region by region, the bytes of each sub-partition.
	lengths []int64
}

func (x *index) appendTo(dst []byte) []byte {
	p := len(x.parts)
	dst = binary.AppendUvarint(dst, uint64(p))
	dst = binary.AppendUvarint(dst, uint64(len(x.lengths)/p))
	for _, n := range x.lengths {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	for i := range x.parts {
		s := &x.parts[i]
		dst = binary.AppendUvarint(dst, uint64(s.Records))
		dst = binary.AppendUvarint(dst, uint64(s.Raw))
		dst = binary.LittleEndian.AppendUint64(dst, s.Sum.High)
		dst = binary.LittleEndian.AppendUint64(dst, s.Sum.Low)
	}
	return dst
}

// parseIndex reads an index that begins at byte end of its file.
func parseIndex(src []byte, start, end int64) (*index, error) {
	bad := func(format string, args ...any) (*index, error) {
		return nil, fmt.Errorf("%w: the index: %s", ErrCorrupt, fmt.Sprintf(format, args...))
	}
	short := false
	number := func() int64 {
		v, n := binary.Uvarint(src)
		if n <= 0 || v > math.MaxInt64/4 {
			short = true
			return 0
		}
		src = src[n:]
		return int64(v)
	}
	p, regions := number(), number()
	// Each length takes a byte at least: what is there bounds what is allocated.
	if short || p < 1 || p > flow.MaxMaxParallelism || regions > int64(len(src))/p {
		return bad("%d regions of %d sub-partitions in %d bytes", regions, p, len(src))
	}
	x := &index{start: start, parts: make([]Size, p), lengths: make([]int64, p*regions)}
	at := start
	for i := range x.lengths {
		n := number()
		if short || n > end-at {
			return bad("region %d, sub-partition %d: it does not fit into the file", i/int(p), i%int(p))
		}
		x.lengths[i] = n
		x.parts[i%int(p)].Bytes += n
		at += n
	}
	if at != end {
		return bad("the regions end at byte %d and not at %d", at, end)
	}
	for i := range x.parts {
		s := &x.parts[i]
		s.Records, s.Raw = number(), number()
		if short || len(src) < 16 {
			return bad("it ends in the count of sub-partition %d", i)
		}
		s.Sum = shuffle.Sum{High: binary.LittleEndian.Uint64(src), Low: binary.LittleEndian.Uint64(src[8:])}
		src = src[16:]
		if (s.Records == 0) != (s.Bytes == 0) || s.Records > s.Raw {
			return bad("sub-partition %d: %d records in %d bytes, %d before compression", i, s.Records, s.Bytes, s.Raw)
		}
	}
	if len(src) > 0 {
		return bad("%d bytes behind it", len(src))
	}
	return x, nil
}

// extent is a part of a file.
type extent struct{ offset, length int64 }

// extents are where the sub-partitions of r are, without empty ones.
func (x *index) extents(r Range) (out []extent) {
	p, at := len(x.parts), x.start
	for region := 0; region < len(x.lengths); region += p {
		e := extent{offset: at}
		for i, n := range x.lengths[region : region+p] {
			at += n
			switch {
			case i < r.First:
				e.offset += n
			case i < r.End:
				e.length += n
			}
		}
		if e.length > 0 {
			out = append(out, e)
		}
	}
	return out
}

// total is the books of all sub-partitions.
func (x *index) total() (c shuffle.Count) {
	for i := range x.parts {
		c.Add(x.parts[i].Count)
	}
	return c
}

func appendFooter(dst []byte, indexAt int64, c shuffle.Count) []byte {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(indexAt))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.Records))
	dst = binary.LittleEndian.AppendUint64(dst, c.Sum.High)
	dst = binary.LittleEndian.AppendUint64(dst, c.Sum.Low)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
	return append(dst, endMagic...)
}

// parseFooter reads the footer of a file of size bytes.
func parseFooter(src []byte, size int64) (indexAt int64, c shuffle.Count, err error) {
	if len(src) != footerSize || string(src[footerSize-4:]) != endMagic {
		return 0, c, fmt.Errorf("%w: it has no footer: it was not written to the end", ErrCorrupt)
	}
	if sum := binary.LittleEndian.Uint32(src[32:]); sum != crc32.Checksum(src[:32], castagnoli) {
		return 0, c, fmt.Errorf("%w: the sum of the footer is wrong", ErrCorrupt)
	}
	at := binary.LittleEndian.Uint64(src)
	if at < uint64(len(magic)) || at > uint64(size-footerSize) {
		return 0, c, fmt.Errorf("%w: the footer has the index at byte %d of %d", ErrCorrupt, at, size)
	}
	c.Records = int64(binary.LittleEndian.Uint64(src[8:]))
	c.Sum = shuffle.Sum{High: binary.LittleEndian.Uint64(src[16:]), Low: binary.LittleEndian.Uint64(src[24:])}
	return int64(at), c, nil
}

// Sizes adds up the sub-partitions of the outputs of all producers of an exchange, in
// bytes before compression: what [Split] is asked about.
func Sizes(outputs []Summary) []int64 {
	var sizes []int64
	for i := range outputs {
		for p := range outputs[i].Partitions {
			if p == len(sizes) {
				sizes = append(sizes, 0)
			}
			sizes[p] += outputs[i].Partitions[p].Raw
		}
	}
	return sizes
}
