package lsm

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/state"
)

const (
	// metaFile is the file of a snapshot that is not Pebble's.
	metaFile  = "STATES"
	metaMagic = "weirlsm\x01"
)

// meta says whose the entries of a snapshot are.
type meta struct {
	MaxParallelism int
	KeyGroups      flow.KeyGroupRange
	NextID         uint16 // none of the states has it or a greater one
	States         []savedState
	Files          []savedFile
}

// savedFile is one of Pebble's files of a snapshot.
type savedFile struct {
	Name string `msgpack:"name"`
	// Size and CRC32C are of files that are not tables: Pebble would take the list of
	// its files for whole that is cut off. Tables have their own checksums.
	Size   int64  `msgpack:"size"`
	CRC32C uint32 `msgpack:"crc32c"`
}

// savedState is one state of a snapshot.
type savedState struct {
	ID uint16
	state.Stored
	Entries int64
}

// storedMeta is the form of meta in the file.
type storedMeta struct {
	MaxParallelism int           `msgpack:"maxParallelism"`
	First          uint16        `msgpack:"first"`
	End            uint16        `msgpack:"end"`
	NextID         uint16        `msgpack:"nextID"`
	States         []storedState `msgpack:"states"`
	Files          []savedFile   `msgpack:"files"`
}

type storedState struct {
	ID        uint16       `msgpack:"id"`
	Operator  string       `msgpack:"operator"`
	Name      string       `msgpack:"name"`
	Kind      uint8        `msgpack:"kind"`
	Key       codec.Schema `msgpack:"key"`
	Namespace codec.Schema `msgpack:"namespace"`
	Value     codec.Schema `msgpack:"value"`
	Entries   int64        `msgpack:"entries"`
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	// metaCodec cannot fail: the type is ours, and plain.
	metaCodec = func() *codec.Codec[storedMeta] {
		c, err := codec.For[storedMeta]()
		if err != nil {
			panic("state/lsm: " + err.Error())
		}
		return c
	}()
)

func appendMeta(dst []byte, m *meta) []byte {
	s := &storedMeta{MaxParallelism: m.MaxParallelism, First: uint16(m.KeyGroups.First), End: uint16(m.KeyGroups.End), NextID: m.NextID, Files: m.Files}
	for _, st := range m.States {
		s.States = append(s.States, storedState{
			ID: st.ID, Operator: string(st.Descriptor.Operator), Name: st.Descriptor.Name, Kind: uint8(st.Schema.Kind),
			Key: st.Schema.Key, Namespace: st.Schema.Namespace, Value: st.Schema.Value, Entries: st.Entries,
		})
	}
	start := len(dst)
	dst = metaCodec.AppendNamed(append(dst, metaMagic...), s)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func decodeMeta(b []byte) (*meta, error) {
	corrupt := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %w", state.ErrCorrupt, metaFile, fmt.Errorf(format, args...))
	}
	n := len(b) - 4
	if n < len(metaMagic) || string(b[:len(metaMagic)]) != metaMagic {
		return nil, corrupt("it begins %q, not %q: it is no snapshot, or of another version", b[:min(len(b), len(metaMagic))], metaMagic)
	}
	if crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return nil, corrupt("the checksum is wrong")
	}
	var s storedMeta
	rest, err := metaCodec.Decode(b[len(metaMagic):n], &s)
	if err != nil {
		return nil, corrupt("%w", err)
	}
	if len(rest) > 0 {
		return nil, corrupt("%d bytes too many", len(rest))
	}
	m := &meta{MaxParallelism: s.MaxParallelism, KeyGroups: flow.KeyGroupRange{First: flow.KeyGroup(s.First), End: flow.KeyGroup(s.End)}, NextID: s.NextID, Files: s.Files}
	ids, names := map[uint16]bool{}, map[[2]string]bool{}
	for _, st := range s.States {
		d := state.Descriptor{Operator: flow.OperatorID(st.Operator), Name: st.Name, Kind: state.Kind(st.Kind)}
		if name := [2]string{st.Operator, st.Name}; ids[st.ID] || names[name] || st.ID >= s.NextID || st.Entries < 0 {
			return nil, corrupt("%s is there twice, or its number, %d, or has %d entries", d, st.ID, st.Entries)
		} else {
			ids[st.ID], names[name] = true, true
		}
		m.States = append(m.States, savedState{ID: st.ID, Entries: st.Entries, Stored: state.Stored{
			Descriptor: d, Schema: state.Schema{Kind: d.Kind, Key: st.Key, Namespace: st.Namespace, Value: st.Value},
		}})
	}
	return m, nil
}
