package portable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/state"
)

func sample(tb testing.TB) (*Header, []Entry, []byte) {
	c, err := codec.For[string]()
	if err != nil {
		tb.Fatal(err)
	}
	sc := state.Schema{Kind: state.KindValue, Key: c.Schema(), Namespace: c.Schema(), Value: c.Schema()}
	h := &Header{MaxParallelism: 8, KeyGroups: flow.KeyGroupRange{First: 2, End: 5}, States: []State{
		{3, state.Stored{Descriptor: state.Descriptor{Operator: "op", Name: "a", Kind: state.KindValue}, Schema: sc}},
		{7, state.Stored{Descriptor: state.Descriptor{Operator: "op", Name: "b", Kind: state.KindValue}, Schema: sc}},
	}}
	entries := []Entry{
		{2, 3, []byte("k"), []byte("v")},
		{2, 7, []byte{}, []byte{}},
		{4, 3, bytes.Repeat([]byte("long"), 1<<15), []byte("v")},
		{4, 3, []byte("m"), []byte("v")},
	}
	var b bytes.Buffer
	w, err := NewWriter(&b, h)
	for _, e := range entries {
		err = errors.Join(err, w.Add(e.Group, e.ID, e.Key, e.Value))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		tb.Fatal(err)
	}
	return h, entries, b.Bytes()
}

func read(b []byte) (h *Header, entries []Entry, err error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, nil, err
	}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Header(), entries, nil
		}
		if err != nil {
			return nil, nil, err
		}
		e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
		entries = append(entries, e)
	}
}

func TestRoundTrip(t *testing.T) {
	h, want, b := sample(t)
	head, got, err := read(b)
	if err != nil || !reflect.DeepEqual(head, h) || !reflect.DeepEqual(got, want) {
		t.Fatalf("%v\n%v %v\nwant\n%v %v", err, head, got, h, want)
	}
	if err := head.Check(9); !errors.Is(err, state.ErrIncompatible) {
		t.Errorf("another max parallelism: %v", err)
	}
	for i := 0; i < len(b); i += 1 + len(b)/500 {
		if _, _, err := read(b[:i]); !errors.Is(err, state.ErrCorrupt) {
			t.Fatalf("cut off at %d: %v", i, err)
		}
		c := bytes.Clone(b)
		c[i] ^= 0x10
		if _, _, err := read(c); !errors.Is(err, state.ErrCorrupt) {
			t.Fatalf("changed at %d: %v", i, err)
		}
	}
}

// FuzzReader reads bytes as they come, and with right checksums around them as
// header or as entries.
func FuzzReader(f *testing.F) {
	h, _, stream := sample(f)
	head := headerCodec.AppendNamed(nil, stored(h))
	f.Add(stream, uint8(0), uint8(0))
	f.Add(head, uint8(1), uint8(0))
	f.Add([]byte{5, 0, 2, 0, 3, 'k', 1, 'v'}, uint8(2), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, as, entries uint8) {
		frame := func(kind byte, payload []byte) []byte {
			var b bytes.Buffer
			if err := writeSection(&b, kind, append(make([]byte, headSize), payload...)); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		end := frame(sectionEnd, binary.BigEndian.AppendUint64(nil, uint64(entries)))
		in := data
		switch as % 3 {
		case 1:
			in = bytes.Join([][]byte{[]byte(magic), frame(sectionHeader, data), end}, nil)
		case 2:
			in = bytes.Join([][]byte{[]byte(magic), frame(sectionHeader, head), frame(sectionEntries, data), end}, nil)
		}
		if _, all, err := read(in); err == nil && as%3 != 0 && len(all) != int(entries) {
			t.Fatalf("%d entries, said to be %d", len(all), entries)
		}
	})
}
