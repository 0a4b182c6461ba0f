package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/weirflow/weir/flow/codec"
)

// What is stored or sent of a checkpoint has one frame: a magic word that says what
// it is, a version, the value in the named form of msgpack, and the CRC-32C of all
// that. docs/format/checkpoint.md describes it.
const (
	magicManifest = "WRCM"
	magicSnapshot = "WRTS"
	magicRestore  = "WRTR"
	formVersion   = 1
	frameHead     = 4 + 1
	frameTail     = 4
)

var (
	// ErrCorrupt is wrapped by errors about bytes that are not what they should be:
	// of another kind, cut off, or changed.
	ErrCorrupt = errors.New("checkpoint: damaged")
	// ErrVersion is wrapped by errors about bytes that a newer release has written.
	ErrVersion = errors.New("checkpoint: written by a newer release")
)

var (
	manifestCodec = compiled[Manifest]()
	snapshotCodec = compiled[TaskSnapshot]()
	restoreCodec  = compiled[TaskRestore]()
	castagnoli    = crc32.MakeTable(crc32.Castagnoli)
)

// compiled is the codec of one of this package's own types.
func compiled[T any]() *codec.Codec[T] {
	c, err := codec.For[T]()
	if err != nil {
		panic("checkpoint: a stored type that cannot be stored: " + err.Error())
	}
	return c
}

// AppendManifest appends the stored form of m.
func AppendManifest(dst []byte, m *Manifest) []byte {
	return appendFrame(dst, magicManifest, manifestCodec, m)
}

// DecodeManifest reads what AppendManifest wrote. The error wraps [ErrCorrupt] or
// [ErrVersion].
func DecodeManifest(b []byte) (*Manifest, error) {
	return decodeFrame(b, magicManifest, "manifest", manifestCodec)
}

// AppendTaskSnapshot appends the stored form of s.
func AppendTaskSnapshot(dst []byte, s *TaskSnapshot) []byte {
	return appendFrame(dst, magicSnapshot, snapshotCodec, s)
}

// DecodeTaskSnapshot reads what AppendTaskSnapshot wrote. The error wraps
// [ErrCorrupt] or [ErrVersion].
func DecodeTaskSnapshot(b []byte) (*TaskSnapshot, error) {
	return decodeFrame(b, magicSnapshot, "task snapshot", snapshotCodec)
}

// AppendTaskRestore appends the stored form of r.
func AppendTaskRestore(dst []byte, r *TaskRestore) []byte {
	return appendFrame(dst, magicRestore, restoreCodec, r)
}

// DecodeTaskRestore reads what AppendTaskRestore wrote. The error wraps
// [ErrCorrupt] or [ErrVersion].
func DecodeTaskRestore(b []byte) (*TaskRestore, error) {
	return decodeFrame(b, magicRestore, "task restore", restoreCodec)
}

func appendFrame[T any](dst []byte, magic string, c *codec.Codec[T], v *T) []byte {
	start := len(dst)
	dst = append(append(dst, magic...), formVersion)
	dst = c.AppendNamed(dst, v)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// decodeFrame looks at the sum first: of bytes that were changed nothing is
// believed, their version neither.
func decodeFrame[T any](b []byte, magic, what string, c *codec.Codec[T]) (*T, error) {
	if len(b) < frameHead+frameTail {
		return nil, fmt.Errorf("%w: %s of %d bytes is too short", ErrCorrupt, what, len(b))
	}
	if got := string(b[:4]); got != magic {
		return nil, fmt.Errorf("%w: %s begins with %q and not with %q", ErrCorrupt, what, got, magic)
	}
	body, tail := b[:len(b)-frameTail], b[len(b)-frameTail:]
	if got, want := crc32.Checksum(body, castagnoli), binary.LittleEndian.Uint32(tail); got != want {
		return nil, fmt.Errorf("%w: %s of %d bytes has the sum %08x and says %08x", ErrCorrupt, what, len(b), got, want)
	}
	if v := body[4]; v != formVersion {
		return nil, fmt.Errorf("%w: %s has version %d, this release reads %d", ErrVersion, what, v, formVersion)
	}
	v := new(T)
	rest, err := c.Decode(body[frameHead:], v)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, what, err)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %s has %d bytes behind its end", ErrCorrupt, what, len(rest))
	}
	return v, nil
}

// Files calls f for every stored file that m names, one by one; some may be named
// more than once. f may change them.
func (m *Manifest) Files(f func(*File)) {
	for i := range m.Tasks {
		t := &m.Tasks[i]
		if t.Keyed != nil {
			for j := range t.Keyed.Files {
				f(&t.Keyed.Files[j])
			}
		}
		if t.InFlight != nil {
			f(t.InFlight)
		}
	}
	for i := range m.Committables {
		for j := range m.Committables[i].Files {
			f(&m.Committables[i].Files[j])
		}
	}
}

// Size counts the stored files that m names, each once, and their bytes; added are the
// bytes that the epoch's tasks have written anew.
func (m *Manifest) Size() (files int, bytes, added int64) {
	seen := map[string]bool{}
	m.Files(func(f *File) {
		if !seen[f.Blob] {
			seen[f.Blob] = true
			files++
			bytes += f.Size
		}
	})
	for i := range m.Tasks {
		added += m.Tasks[i].Bytes
	}
	return files, bytes, added
}
