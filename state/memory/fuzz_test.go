package memory

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
	"github.com/weirflow/weir/state"
)

type record struct {
	Name  string
	Parts []float64
	Tags  map[string]int
}

// program declares one state of each kind.
func program(tb testing.TB, s *Store, fill bool) {
	desc := func(name string) state.Descriptor { return state.Descriptor{Operator: "op", Name: name} }
	c, err1 := state.NewCells[string, int64, record](s, desc("cells"))
	l, err2 := state.NewLists[string, string](s, desc("lists"))
	m, err3 := state.NewMaps[string, uint16, bool](s, desc("maps"))
	t, err4 := state.NewTimers[string, struct{}](s, desc("timers"))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		if fill {
			tb.Fatal(err)
		}
		return
	}
	if !fill {
		return
	}
	hash, err := keyhash.For[string]()
	if err != nil {
		tb.Fatal(err)
	}
	for _, k := range []string{"", "a", "key"} {
		h := hash(k)
		c.Put(h, k, -1, record{"n", []float64{1}, map[string]int{"t": 2}})
		l.Append(h, k, "x", "y")
		m.Put(h, k, 300, true)
		t.Add(h, k, struct{}{}, 17)
		t.Add(h, k, struct{}{}, 16)
	}
}

func sample(tb testing.TB) []byte {
	s := New(Options{MaxParallelism: 4})
	program(tb, s, true)
	var b bytes.Buffer
	if err := s.Snapshot(&b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// payloads takes a stream apart.
func payloads(tb testing.TB, stream []byte) (all [][]byte) {
	in := &sections{r: bytes.NewReader(stream[len(magic):])}
	for {
		kind, p, err := in.next()
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, bytes.Clone(p))
		if kind == sectionEnd {
			return all
		}
	}
}

// FuzzRestore restores bytes as they come, and with right checksums around them
// as header or as entries: there is an error or a store that works, no panic.
func FuzzRestore(f *testing.F) {
	stream := sample(f)
	parts := payloads(f, stream)
	f.Add(stream, uint8(0), uint8(0))
	f.Add(parts[0], uint8(1), uint8(0))
	for _, p := range parts[1:] {
		f.Add(p, uint8(2), uint8(3))
	}
	head := parts[0]
	f.Fuzz(func(t *testing.T, data []byte, as, entries uint8) {
		frame := func(kind byte, payload []byte) []byte {
			var b bytes.Buffer
			if err := writeSection(&b, kind, append(make([]byte, headSize), payload...)); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		end := frame(sectionEnd, binary.BigEndian.AppendUint64(nil, uint64(entries)))
		var in []byte
		switch as % 3 {
		case 0:
			in = data
		case 1:
			in = bytes.Join([][]byte{[]byte(magic), frame(sectionHeader, data), end}, nil)
		case 2:
			in = bytes.Join([][]byte{[]byte(magic), frame(sectionHeader, head), frame(sectionEntries, data), end}, nil)
		}
		for _, declaredFirst := range []bool{true, false} {
			s := New(Options{MaxParallelism: 4, KeyGroups: flow.KeyGroupRange{First: 0, End: 3}})
			if declaredFirst {
				program(t, s, false)
			}
			err := s.Read(bytes.NewReader(in))
			if !declaredFirst {
				program(t, s, false)
			}
			if err != nil || s.Err() != nil {
				continue
			}
			var b bytes.Buffer
			if err := s.Snapshot(&b); err != nil {
				t.Fatal(err)
			}
			again := New(Options{MaxParallelism: 4})
			program(t, again, false)
			if err := again.Read(&b); err != nil {
				t.Fatal(err)
			}
		}
	})
}
