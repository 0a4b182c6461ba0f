package kafka

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
)

// TestFormat pins what docs/format/kafka.md describes.
func TestFormat(t *testing.T) {
	p := position{Topic: "t", Partition: 1, Next: 2, End: -1, Earliest: true, ID: [16]byte{9}}
	s := staged{Job: "j", Operator: "o", Attempt: 1, Subtask: 2, Records: 3, Topics: []stagedTopic{{"t", 4}},
		Files: []stagedFile{{checkpoint.File{Name: "n", Blob: "b", Size: 5, CRC: 6}, 3}}}
	for _, c := range []struct {
		v    any
		want string
	}{
		{&p, "map[earliest:true end:-1 id:[9 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0] next:2 partition:1 topic:t]"},
		{&discovered{Known: map[string][]int32{"t": {0}}, First: true}, "map[first:true known:map[t:[0]]]"},
		{&s, "map[attempt:1 files:[map[file:map[blob:b crc:6 name:n size:5] records:3]] job:j operator:o records:3 subtask:2 topics:[map[limit:4 name:t]]]"},
	} {
		b, err := msgpack.Marshal(c.v)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := msgpack.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(m); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	m := mark{attempt: 3, epoch: 7, nonce: "x1", topic: "t"}
	if got := m.metadata(); got != "weir 1 attempt=3 nonce=x1" {
		t.Error(got)
	}
	if got, ok := parseMark(kadm.Offset{Topic: "t", At: 7, Metadata: m.metadata()}); !ok || got != m {
		t.Errorf("%+v", got)
	}
	if _, ok := parseMark(kadm.Offset{Topic: "t", At: 7}); ok {
		t.Error("an offset of others is a mark")
	}
	var b bytes.Buffer
	st := stager{w: &b}
	for _, m := range []Message{{Topic: "t", Key: []byte("k"), Value: []byte("v"), Headers: []Header{{Key: "h"}, {Key: "i", Value: []byte{}}}}, {Topic: "t"}} {
		if err := st.add(m.Topic, &m, 5, m.Key != nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.flush(); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b.Bytes()); got != goldenStaged {
		t.Errorf("a staged file is %s, want %s", got, goldenStaged)
	}
}

const goldenStaged = "776569726b7300011500000013000000c577f3b613480174070a016b01760201680001690101740000"

func TestMarkCovers(t *testing.T) {
	at := func(a, e int) mark { return mark{topic: "t", attempt: flow.Attempt(a), epoch: flow.Epoch(e)} }
	for _, c := range []struct {
		m, e mark
		want bool
	}{
		{at(1, 5), at(1, 5), true},
		{at(1, 5), at(1, 4), true},
		{at(1, 5), at(1, 6), false},
		{at(2, 1), at(1, 9), true},
		{at(1, 9), at(2, 1), false},
		{mark{}, at(0, 0), false},
	} {
		if got := c.m.covers(c.e); got != c.want {
			t.Errorf("%+v covers %+v: %v", c.m, c.e, got)
		}
	}
}

func TestStagedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string) []byte {
			switch rapid.IntRange(0, 3).Draw(t, name) {
			case 0:
				return nil
			case 1:
				return []byte{}
			case 2:
				return bytes.Repeat([]byte(rapid.String().Draw(t, name)+"x"), rapid.IntRange(1, 30_000).Draw(t, name+" times"))
			}
			return rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, name)
		}
		var b bytes.Buffer
		s := stager{w: &b}
		type item struct {
			m     Message
			milli int64
			timed bool
		}
		var want []string
		show := func(i item) string { return fmt.Sprintf("%#v", i) }
		for range rapid.IntRange(0, 12).Draw(t, "messages") {
			i := item{m: Message{Topic: rapid.String().Draw(t, "topic"), Key: some("key"), Value: some("value")}, timed: rapid.Bool().Draw(t, "timed")}
			if i.timed {
				i.milli = rapid.Int64().Draw(t, "milli")
			}
			for range rapid.IntRange(0, 2).Draw(t, "headers") {
				i.m.Headers = append(i.m.Headers, Header{Key: rapid.String().Draw(t, "header"), Value: some("header value")})
			}
			want = append(want, show(i))
			if err := s.add(i.m.Topic, &i.m, i.milli, i.timed); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		if len(want) == 0 {
			return
		}
		var got []string
		n, err := readStaged(bytes.NewReader(b.Bytes()), func(m Message, milli int64, timed bool) error {
			got = append(got, show(item{m, milli, timed}))
			return nil
		})
		if err != nil || n != int64(len(want)) || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("read %d of %d, %v", n, len(want), err)
		}
		// Any bit that flips is found.
		data := b.Bytes()
		data[rapid.IntRange(0, len(data)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := readStaged(bytes.NewReader(data), func(Message, int64, bool) error { return nil }); !errors.Is(err, errStaged) {
			t.Fatalf("a bit that flipped: %v", err)
		}
	})
}

func FuzzReadStaged(f *testing.F) {
	golden, _ := hex.DecodeString(goldenStaged)
	f.Add(golden)
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = readStaged(bytes.NewReader(data), func(Message, int64, bool) error { return nil })
		p := parser{b: data}
		for len(p.b) > 0 && !p.bad {
			p.message()
		}
		_, _ = decodeStaged(data)
	})
}
