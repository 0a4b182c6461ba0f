package spill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/local"
)

// TestRoundTrip: what producers have written reaches consumers once, in order, and the
// books of both sides agree, whatever the sizes are.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		fs := vfs.NewMem()
		s, err := Open(fs, "spill", StoreOptions{})
		if err != nil {
			r.Fatal(err)
		}
		defer s.Close()
		producers := rapid.IntRange(1, 4).Draw(r, "producers")
		opt := Options{
			Partitions:  rapid.SampledFrom([]int{1, 2, 5, 32, 128}).Draw(r, "partitions"),
			Memory:      rapid.SampledFrom([]int{1, 1 << 14, 1 << 16, 1 << 20}).Draw(r, "memory"),
			Compression: rapid.SampledFrom([]Compression{None, LZ4, S2, Zstd}).Draw(r, "compression"),
			Sums:        true,
		}
		batch := rapid.SampledFrom([]int{1, 3, 100, 1024}).Draw(r, "batch")
		var ids []ID
		var sums []Summary
		total := 0
		for p := range producers {
			n := rapid.SampledFrom([]int{0, 1, 50, 777, 3000}).Draw(r, "records")
			sum, counts, err := write(fs, s, idOf(p, 1), opt, n, batch)
			if err != nil {
				r.Fatal(err)
			}
			for i, c := range counts {
				if sum.Partitions[i].Count != c {
					r.Fatalf("sub-partition %d: %v written, %v in the index", i, c, sum.Partitions[i].Count)
				}
			}
			ids, sums, total = append(ids, sum.ID), append(sums, sum), total+n
		}
		if out := s.Outputs(""); len(out) != producers || s.Used() != used(out) {
			r.Fatal(out, s.Used())
		}
		sizes := Sizes(sums)
		if len(sizes) != opt.Partitions {
			r.Fatal(sizes)
		}
		seen := map[[2]int]bool{}
		for _, of := range Split(sizes, rapid.Int64Range(1, 1<<16).Draw(r, "target"), rapid.IntRange(1, 7).Draw(r, "parallelism")) {
			got, counts, err := read(t, s, ids, of, opt.Partitions, rapid.IntRange(1, 1<<16).Draw(r, "credit"))
			if err != nil {
				r.Fatal(err)
			}
			for _, v := range got {
				if seen[[2]int{v.From, v.Seq}] {
					r.Fatalf("%+v comes twice", v)
				}
				seen[[2]int{v.From, v.Seq}] = true
			}
			for i := range ids {
				if want := sums[i].Range(of); counts[i] != want {
					r.Fatalf("producer %d, %s: %v written, %v read", i, of, want, counts[i])
				}
			}
		}
		if len(seen) != total {
			r.Fatalf("%d of %d records came", len(seen), total)
		}
	})
}

func used(out []Summary) (n int64) {
	for _, s := range out {
		n += s.FileBytes
	}
	return n
}

var (
	_ Written = (*Output[order])(nil)
	_ Feed    = (*Reader[order])(nil)
	_ Host    = (*Store)(nil)
	_ Opener  = (*Store)(nil)
)

// TestOtherWriters: a rebalanced and a broadcast exchange.
func TestOtherWriters(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{})
	for attempt, parts := range []int{1, 8} {
		id := idOf(0, flow.Attempt(attempt+1))
		o, err := NewOutput[int64](fs, s, id, Options{Partitions: parts})
		if err != nil {
			t.Fatal(err)
		}
		var w interface {
			shuffle.Writer
			shuffle.Receiver[int64]
		} = shuffle.NewRebalance(t.Context(), o.Senders(), 0, shuffle.RouterOptions[int64]{})
		if parts == 1 {
			w = shuffle.NewForward(t.Context(), o.Senders()[0], shuffle.RouterOptions[int64]{})
		}
		for i := range 100 {
			if err := w.Receive(&flow.Batch[int64]{Values: []int64{int64(i), int64(-i)}}); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil || !w.Available() {
				t.Fatal(err)
			}
		}
		w.Notify(func() {})
		if _, err := NewOutput[int64](fs, s, id, Options{}); err == nil {
			t.Error("one attempt has two outputs")
		}
		if err := w.Control(flow.Control{Kind: flow.ControlEnd}); err != nil {
			t.Fatal(err)
		}
		sum, err := o.Finish()
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range sum.Partitions {
			if p.Records != int64(200/parts) {
				t.Errorf("sub-partition %d has %d records", i, p.Records)
			}
		}
		if err := o.Senders()[0].Push(&flow.Batch[int64]{Values: []int64{1}}, 0); !errors.Is(err, shuffle.ErrClosed) {
			t.Error(err)
		}
	}
}

func TestUnended(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{})
	o, err := NewOutput[order](fs, s, idOf(0, 1), Options{Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	o.Senders()[0].Control(flow.Control{Kind: flow.ControlEnd})
	o.Senders()[0].Control(flow.Control{Kind: flow.ControlEnd})
	if _, err := o.Finish(); err == nil || !strings.Contains(err.Error(), "1 of 2") {
		t.Error(err)
	}
	o.Abort()
	if s.Used() != 0 {
		t.Error(s.Used())
	}
	if _, err := s.OpenRange(t.Context(), idOf(0, 1), Range{0, 1}); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if o, err = NewOutput[order](fs, s, idOf(0, 2), Options{Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	end := o.Senders()[0]
	end.Control(flow.Control{Kind: flow.ControlEnd})
	if err := end.Push(&flow.Batch[order]{Values: make([]order, 1)}, 0); err == nil {
		t.Error("records behind the end are taken")
	}
	if _, err := o.Finish(); err == nil {
		t.Error("and stored")
	}
	if _, err := NewOutput[func()](fs, s, idOf(0, 3), Options{}); err == nil {
		t.Error("a func is stored")
	}
}

// TestMemory: an output holds its budget and one batch.
func TestMemory(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{})
	opt := Options{Memory: 1 << 20, Partitions: 16}
	o, err := NewOutput[[]byte](fs, s, idOf(0, 1), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Abort()
	senders := o.Senders()
	for i := range 3000 {
		b := senders[0].Buffer()
		b.Values = append(b.Values, make([]byte, 1+i*i%10_000))
		if err := senders[i*i%16].Send(t.Context(), b, 0); err != nil {
			t.Fatal(err)
		}
		if got := (o.used + len(o.free)) * o.chunk; got > opt.Memory+10_000+16*o.chunk {
			t.Fatalf("%d bytes are held", got)
		}
	}
	if len(o.index.lengths)/16 < 5 {
		t.Errorf("%d regions", len(o.index.lengths)/16)
	}
	if got := opt.BatchBytes(); got != 64<<10 {
		t.Error(got)
	}
}

func TestReaderStops(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{})
	if _, _, err := write(fs, s, idOf(0, 1), Options{Partitions: 4}, 5000, 10); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"context", "gate"} {
		rd, err := NewReader[order](s, []ID{idOf(0, 1)}, Range{0, 4}, ReaderOptions{Gate: local.Options{Credit: 1}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		some := make(chan struct{}, 1)
		rd.Gate().Notify(func() { some <- struct{}{} })
		done := make(chan error, 1)
		go func() { done <- rd.Run(ctx) }()
		<-some
		want := context.Canceled
		if end == "gate" {
			rd.Gate().Close()
			want = shuffle.ErrClosed
		} else {
			cancel()
		}
		if err := <-done; !errors.Is(err, want) {
			t.Errorf("%s: %v", end, err)
		}
		cancel()
		rd.Gate().Close()
	}
}

// TestOtherType: fields are found by name, and a type that cannot hold them is refused.
func TestOtherType(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, StoreOptions{})
	if _, _, err := write(fs, s, idOf(0, 1), Options{Partitions: 1}, 10, 10); err != nil {
		t.Fatal(err)
	}
	type later struct{ Seq, New int }
	scan := func(next func() (bool, error)) error {
		for {
			if ok, err := next(); !ok || err != nil {
				return err
			}
		}
	}
	stream, err := s.OpenRange(t.Context(), idOf(0, 1), Range{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	sc, err := NewScanner[later](stream, idOf(0, 1), Range{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	var b flow.Batch[later]
	if err := scan(func() (bool, error) { return sc.Next(&b) }); err != nil || len(b.Values) != 10 || b.Values[9].Seq != 9 {
		t.Fatal(err, b)
	}
	again, err := s.OpenRange(t.Context(), idOf(0, 1), Range{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := NewScanner[struct{ Seq string }](again, idOf(0, 1), Range{0, 1}); err == nil {
		t.Error("a number is read as a text")
	}
}

func TestSplit(t *testing.T) {
	datadriven.RunTest(t, "testdata/split", func(t *testing.T, d *datadriven.TestData) string {
		var target, most int
		d.ScanArgs(t, "target", &target)
		d.ScanArgs(t, "most", &most)
		var sizes []int64
		for _, f := range strings.Fields(d.Input) {
			var n int64
			if _, err := fmt.Sscan(f, &n); err != nil {
				d.Fatalf(t, "%v", err)
			}
			sizes = append(sizes, n)
		}
		var out strings.Builder
		for _, r := range Split(sizes, int64(target), most) {
			var n int64
			for _, s := range sizes[r.First:r.End] {
				n += s
			}
			fmt.Fprintf(&out, "%s: %d\n", r, n)
		}
		return out.String()
	})
}

func TestSplitCovers(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		sizes := rapid.SliceOfN(rapid.Int64Range(0, 1000), 1, 50).Draw(r, "sizes")
		most := rapid.IntRange(1, 60).Draw(r, "most")
		ranges := Split(sizes, rapid.Int64Range(1, 5000).Draw(r, "target"), most)
		if len(ranges) == 0 || len(ranges) > most {
			r.Fatal(ranges)
		}
		at := 0
		for _, x := range ranges {
			if x.First != at || x.Len() < 1 {
				r.Fatal(ranges)
			}
			at = x.End
		}
		if at != len(sizes) {
			r.Fatal(ranges)
		}
	})
}

func TestCompressionNames(t *testing.T) {
	for _, c := range []Compression{None, LZ4, S2, Zstd} {
		if got, err := ParseCompression(c.String()); err != nil || got != c {
			t.Error(got, err)
		}
	}
	if _, err := ParseCompression("brotli"); err == nil {
		t.Error("brotli")
	}
	if !slices.Contains(compressions, None.String()) || Compression(99).String() != "compression(99)" {
		t.Error(Compression(99))
	}
}
