package memory

import (
	"bytes"
	"errors"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/portable"
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

// FuzzRestore restores bytes as they come, and entries with a right frame around
// them: there is an error or a store that works, no panic.
func FuzzRestore(f *testing.F) {
	stream := sample(f)
	f.Add(stream, []byte(nil), uint16(0), false)
	in, err := portable.NewReader(bytes.NewReader(stream))
	if err != nil {
		f.Fatal(err)
	}
	head := in.Header()
	for {
		e, err := in.Next()
		if err != nil {
			break
		}
		f.Add(e.Key, e.Value, e.ID, true)
	}
	f.Fuzz(func(t *testing.T, data, value []byte, id uint16, framed bool) {
		if framed {
			var b bytes.Buffer
			w, err := portable.NewWriter(&b, head)
			for g := flow.KeyGroup(0); err == nil && g < 4; g++ {
				err = w.Add(g, id, data, value)
			}
			if err := errors.Join(err, w.Close()); err != nil {
				t.Fatal(err)
			}
			data = b.Bytes()
		}
		for _, declaredFirst := range []bool{true, false} {
			s := New(Options{MaxParallelism: 4, KeyGroups: flow.KeyGroupRange{First: 0, End: 3}})
			if declaredFirst {
				program(t, s, false)
			}
			err := s.Read(bytes.NewReader(data))
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
