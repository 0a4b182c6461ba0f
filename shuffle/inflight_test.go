package shuffle_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
)

var rewrite = flag.Bool("rewrite", false, "write golden files anew")

type order struct {
	ID   int64
	Tags []string
	Paid bool
}

// laterOrder is order after a change: a field wider, one gone, one new.
type laterOrder struct {
	Paid bool
	Note string
	ID   int64
}

type otherOrder struct{ ID string }

// gathered keeps what it receives.
type gathered[T any] struct {
	vals    []T
	times   []flow.Time
	hashes  []flow.Hash
	batches int
}

func (g *gathered[T]) Receive(b *flow.Batch[T]) error {
	for i, v := range b.Values {
		g.vals, g.times = append(g.vals, v), append(g.times, b.Time(i))
	}
	g.hashes = append(g.hashes, b.Hashes...)
	g.batches++
	return nil
}

func orders() []*flow.Batch[order] {
	return []*flow.Batch[order]{
		{Values: []order{{1, []string{"a", "b"}, true}, {2, nil, false}}, Times: []flow.Time{10, flow.MinTime}, Hashes: []flow.Hash{5 << 32, 6 << 32}},
		{Values: []order{{3, []string{}, true}}, Hashes: []flow.Hash{7 << 32}},
		{Values: []order{{-4, []string{"c"}, false}}, Times: []flow.Time{-1}, Hashes: []flow.Hash{5<<32 | 1}},
	}
}

func recordOf[T any](t testing.TB, bs []*flow.Batch[T]) shuffle.InFlight {
	t.Helper()
	r, err := shuffle.NewRecorder[T](true)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bs {
		r.Add(b)
	}
	in, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// replay hands everything to a receiver.
func replay[T any](data []byte, keep func(flow.Hash) bool) (*gathered[T], shuffle.Count, error) {
	var g gathered[T]
	r, err := shuffle.NewReplay(data, &g, keep, true)
	if err != nil {
		return nil, shuffle.Count{}, err
	}
	for {
		if _, ok, err := r.Next(); !ok || err != nil {
			return &g, r.Count(), err
		}
	}
}

func TestInFlightGolden(t *testing.T) {
	const path = "testdata/inflight.hex"
	in := recordOf(t, orders())
	if *rewrite {
		if err := os.WriteFile(path, []byte(hex.Dump(in.Data)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.Dump(in.Data); got != string(want) {
		t.Errorf("the stored form has changed: see docs/format/inflight.md\n%s", got)
	}
	if in.Records != 4 {
		t.Error(in.Count)
	}
}

func TestInFlightRoundTrip(t *testing.T) {
	in := recordOf(t, orders())
	g, n, err := replay[order](in.Data, nil)
	if err != nil {
		t.Fatal(err)
	}
	var want gathered[order]
	for _, b := range orders() {
		_ = want.Receive(b)
	}
	if len(g.vals) != 4 || g.vals[0].Tags[1] != "b" || !slices.Equal(g.times, want.times) || !slices.Equal(g.hashes, want.hashes) || g.batches != 3 {
		t.Errorf("got %+v, want %+v", g, want)
	}
	if n != in.Count {
		t.Errorf("read %v, written %v", n, in.Count)
	}
	if none := recordOf[order](t, nil); none.Data != nil || none.Count != (shuffle.Count{}) {
		t.Errorf("nothing is %+v", none)
	}
}

func TestInFlightFilter(t *testing.T) {
	in := recordOf(t, orders())
	var sum shuffle.Count
	for _, keep := range []func(flow.Hash) bool{
		func(h flow.Hash) bool { return h>>32 == 5 },
		func(h flow.Hash) bool { return h>>32 == 6 },
		func(h flow.Hash) bool { return h>>32 > 6 },
	} {
		g, n, err := replay[order](in.Data, keep)
		if err != nil {
			t.Fatal(err)
		}
		if int(n.Records) != len(g.vals) || len(g.hashes) != len(g.vals) || slices.ContainsFunc(g.hashes, func(h flow.Hash) bool { return !keep(h) }) {
			t.Errorf("%+v", g)
		}
		for i, v := range g.vals {
			if v.ID == 1 && g.times[i] != 10 || v.ID == -4 && g.times[i] != -1 || v.ID == 3 && g.times[i] != flow.MinTime {
				t.Errorf("%+v at %v", v, g.times[i])
			}
		}
		sum.Add(n)
	}
	if sum != in.Count {
		t.Errorf("the parts are %v, the whole is %v", sum, in.Count)
	}
	bare := recordOf(t, []*flow.Batch[order]{{Values: []order{{ID: 1}}}})
	if _, _, err := replay[order](bare.Data, func(flow.Hash) bool { return true }); err == nil || errors.Is(err, shuffle.ErrCorrupt) {
		t.Errorf("records without hashes were divided: %v", err)
	}
}

func TestInFlightOfAnotherType(t *testing.T) {
	in := recordOf(t, orders())
	g, n, err := replay[laterOrder](in.Data, nil)
	if err != nil || n.Records != 4 || g.vals[0] != (laterOrder{ID: 1, Paid: true}) || g.vals[3].ID != -4 {
		t.Errorf("%+v, %v", g, err)
	}
	if _, _, err := replay[otherOrder](in.Data, nil); err == nil || errors.Is(err, shuffle.ErrCorrupt) || !strings.Contains(err.Error(), "ID") {
		t.Errorf("another type: %v", err)
	}
	if _, err := shuffle.NewRecorder[chan int](false); err == nil {
		t.Error("channels can be recorded")
	}
}

// TestInFlightDamage: whatever bit flips, wherever it is cut, and whichever frame is
// left out or doubled, it is found.
func TestInFlightDamage(t *testing.T) {
	in := recordOf(t, orders())
	damaged := func(what string, at int, data []byte) {
		t.Helper()
		if _, _, err := replay[order](data, nil); !errors.Is(err, shuffle.ErrCorrupt) {
			t.Fatalf("%s at %d: %v", what, at, err)
		}
	}
	for i := range in.Data {
		damaged("cut", i, in.Data[:i])
		for bit := range 8 {
			d := slices.Clone(in.Data)
			d[i] ^= 1 << bit
			damaged("bit", i, d)
		}
	}
	damaged("more", len(in.Data), append(slices.Clone(in.Data), 0))
	// The frames, by their lengths.
	at := 8
	next := func() int { return at + 8 + int(binary.LittleEndian.Uint32(in.Data[at:])) }
	at = next()
	for range orders() {
		end := next()
		damaged("without a frame", at, slices.Concat(in.Data[:at], in.Data[end:]))
		damaged("a frame twice", at, slices.Concat(in.Data[:end], in.Data[at:]))
		at = end
	}
}

type unwilling struct{ Bad bool }

func (u unwilling) AppendMsgpack(dst []byte) ([]byte, error) {
	if u.Bad {
		return nil, errors.New("unwilling")
	}
	return append(dst, 0xc0), nil
}

func (u *unwilling) ReadMsgpack([]byte) error { u.Bad = false; return nil }

// TestRecordThatCannotBeEncoded is told at the end.
func TestRecordThatCannotBeEncoded(t *testing.T) {
	for _, hashes := range []bool{false, true} {
		r, err := shuffle.NewRecorder[unwilling](hashes)
		if err != nil {
			t.Fatal(err)
		}
		r.Add(&flow.Batch[unwilling]{Values: []unwilling{{}}})
		r.Add(&flow.Batch[unwilling]{Values: []unwilling{{}, {true}}})
		r.Add(&flow.Batch[unwilling]{Values: []unwilling{{}}})
		if in, err := r.Finish(); err == nil || !strings.Contains(err.Error(), "unwilling") || in.Data != nil {
			t.Fatal(in, err)
		}
	}
}

// TestSumIsOrderFree: the sum of records is that of their multiset, and shows any
// change of one.
func TestSumIsOrderFree(t *testing.T) {
	s, err := shuffle.NewSummer[order]()
	if err != nil {
		t.Fatal(err)
	}
	batch := func(vals []order, at flow.Time) shuffle.Sum {
		t.Helper()
		b := &flow.Batch[order]{Values: vals}
		if at != flow.MinTime {
			b.Times = slices.Repeat([]flow.Time{at}, len(vals))
		}
		c, err := s.Batch(b)
		if err != nil {
			t.Fatal(err)
		}
		return c.Sum
	}
	rapid.Check(t, func(rt *rapid.T) {
		vals := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) order {
			return order{ID: rapid.Int64Range(0, 5).Draw(rt, "id"), Paid: rapid.Bool().Draw(rt, "paid")}
		}), 1, 20).Draw(rt, "orders")
		whole := batch(vals, flow.MinTime)
		cut := rapid.IntRange(0, len(vals)).Draw(rt, "cut")
		parts := batch(vals[cut:], flow.MinTime)
		parts.Add(batch(vals[:cut], flow.MinTime))
		if parts != whole {
			rt.Fatal("the sum depends on order")
		}
		for _, other := range []shuffle.Sum{batch(vals[1:], flow.MinTime), batch(append(slices.Clone(vals), vals[0]), flow.MinTime), batch(vals, 0)} {
			if other == whole {
				rt.Fatal("one missing, one more, or other times have the same sum")
			}
		}
	})
	// The hash is stored in the books of a job: it stays.
	if got := batch([]order{{1, []string{"a"}, true}}, 7); got != (shuffle.Sum{High: 0xa310fde79587dc, Low: 0x99a00bdb4adbfa2b}) {
		t.Errorf("the hash of a record has changed: %#x", got)
	}
}

func FuzzReplay(f *testing.F) {
	in := recordOf(f, orders())
	f.Add(in.Data)
	f.Add(in.Data[:len(in.Data)-16])
	f.Fuzz(func(t *testing.T, data []byte) {
		// As it is, and with sums that are right, so that what is behind them is reached.
		_, _, _ = replay[order](data, nil)
		data = slices.Clone(data)
		for at := 8; at+8 <= len(data); {
			n := int(binary.LittleEndian.Uint32(data[at:]))
			if n == 0 {
				n = 8
			}
			if n > len(data)-at-8 {
				break
			}
			body := data[at+8 : at+8+n]
			binary.LittleEndian.PutUint32(data[at+4:], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
			at += 8 + n
		}
		for _, keep := range []func(flow.Hash) bool{nil, func(h flow.Hash) bool { return h&1 == 0 }} {
			if g, n, err := replay[order](data, keep); err == nil && (n.Records != int64(len(g.vals)) || len(g.times) != len(g.vals)) {
				t.Fatalf("%v of %+v", n, g)
			}
		}
	})
}
