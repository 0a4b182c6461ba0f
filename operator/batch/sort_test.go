package batch

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle/spill"
)

type record struct {
	Key  string
	Rank int64
	Seq  int
	Pad  []byte
}

func keyOfRecord(dst []byte, v *record) []byte {
	from := len(AppendString(dst, v.Key))
	return Descend(AppendInt(AppendString(dst, v.Key), v.Rank), from)
}

func compareRecords(a, b record) int {
	return cmp.Or(strings.Compare(a.Key, b.Key), cmp.Compare(b.Rank, a.Rank), cmp.Compare(a.Seq, b.Seq))
}

func sortAll(ctx context.Context, s *Sorter[record], in []record, size int) (out []record, err error) {
	for at := 0; at < len(in); at += size {
		var b flow.Batch[record]
		for _, v := range in[at:min(at+size, len(in))] {
			t := flow.MinTime
			if at/size%2 == 0 {
				t = flow.Time(v.Seq)
			}
			b.Append(v, t)
		}
		if err := s.Add(ctx, &b); err != nil {
			return nil, err
		}
	}
	sorted, err := s.Sort(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sorted.Close()) }()
	var b flow.Batch[record]
	for {
		if err := sorted.Next(ctx, &b, size); err != nil {
			return nil, err
		}
		if len(b.Values) == 0 {
			return out, nil
		}
		for i, v := range b.Values {
			if want := v.Seq / size % 2; want == 0 && b.Time(i) != flow.Time(v.Seq) || want == 1 && b.Time(i) != flow.MinTime {
				return nil, errors.New("another time")
			}
			out = append(out, v)
		}
	}
}

// TestSort: the same as a stable sort in memory, with whatever memory, fan-in and compression.
func TestSort(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		fs, dir := scratchFS()
		n := rapid.SampledFrom([]int{0, 1, 10, 700, 3000}).Draw(r, "records")
		keys := rapid.SampledFrom([]int{1, 5, 1000}).Draw(r, "keys")
		pad := rapid.SampledFrom([]int{0, 100, 3000}).Draw(r, "pad")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0))
		in := make([]record, n)
		for i := range in {
			in[i] = record{Key: strings.Repeat("k", rng.IntN(12)) + string(rune(rng.IntN(keys))), Rank: rng.Int64N(3) - 1, Seq: i, Pad: make([]byte, rng.IntN(pad+1))}
		}
		s, err := NewSorter(SorterOptions[record]{
			Key: keyOfRecord, FS: fs, Dir: dir,
			Memory:      rapid.SampledFrom([]int{1, 200 << 10, 0}).Draw(r, "memory"),
			FanIn:       rapid.SampledFrom([]int{0, 2, 3}).Draw(r, "fan-in"),
			Compression: rapid.SampledFrom([]spill.Compression{spill.None, spill.S2}).Draw(r, "compression"),
		})
		if err != nil {
			r.Fatal(err)
		}
		out, err := sortAll(r.Context(), s, in, rapid.IntRange(1, 300).Draw(r, "batch"))
		if err != nil {
			r.Fatal(err)
		}
		want := slices.Clone(in)
		slices.SortStableFunc(want, compareRecords)
		if !slices.EqualFunc(out, want, func(a, b record) bool { return compareRecords(a, b) == 0 && len(a.Pad) == len(b.Pad) }) {
			r.Fatalf("not sorted: %d of %d", len(out), n)
		}
		st := s.Stats()
		if st.Memory > s.memory || st.Records != int64(n) {
			r.Fatalf("%+v with %d", st, s.memory)
		}
		if _, err := s.Sort(r.Context()); err == nil {
			r.Fatal("sorted twice")
		}
		if err := s.Close(); err != nil {
			r.Fatal(err)
		}
		left(r, fs, dir)
	})
}

func TestSortMerges(t *testing.T) {
	fs, dir := scratchFS()
	s, err := NewSorter(SorterOptions[record]{Key: keyOfRecord, FS: fs, Dir: dir, Memory: MinMemory, FanIn: 3})
	if err != nil {
		t.Fatal(err)
	}
	in := make([]record, 20_000)
	for i := range in {
		in[i] = record{Key: "same", Rank: int64(i % 2), Seq: i}
	}
	out, err := sortAll(t.Context(), s, in, 100)
	if err != nil || !slices.IsSortedFunc(out, compareRecords) || len(out) != len(in) {
		t.Fatal(err, len(out))
	}
	if st := s.Stats(); st.Runs < 8 || st.Merges < 3 || st.Spilled < int64(st.Runs)*20_000 {
		t.Errorf("%+v", st)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	left(t, fs, dir)
}

// TestSortFailingDisk: each operation fails once; an error comes out, or the right order.
func TestSortFailingDisk(t *testing.T) {
	injected := errors.New("injected")
	in := make([]record, 3000)
	for i := range in {
		in[i] = record{Key: "k", Rank: int64(i * 7 % 1000), Seq: i, Pad: make([]byte, 50)}
	}
	failed := 0
	for n := 0; ; n += 1 + n/20 {
		mem, dir := scratchFS()
		count, hit, armed := 0, false, true
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(errorfs.Op) error {
			if count++; armed && count == n+1 {
				hit = true
				return injected
			}
			return nil
		}))
		s, err := NewSorter(SorterOptions[record]{Key: keyOfRecord, FS: fs, Dir: dir, Memory: MinMemory, FanIn: 3})
		if err != nil {
			t.Fatal(err)
		}
		out, err := sortAll(t.Context(), s, in, 100)
		switch {
		case err == nil && (len(out) != len(in) || !slices.IsSortedFunc(out, compareRecords)):
			t.Fatalf("operation %d: %d records", n, len(out))
		case err != nil && !errors.Is(err, injected):
			t.Fatalf("operation %d: %v", n, err)
		case err != nil:
			failed++
			if err := s.Add(t.Context(), &flow.Batch[record]{Values: in[:1]}); err == nil {
				t.Fatalf("operation %d: it goes on after its error", n)
			}
		}
		armed = false
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		left(t, mem, dir)
		if !hit {
			break
		}
	}
	if failed < 10 {
		t.Errorf("%d operations have failed", failed)
	}
}

func TestSortStops(t *testing.T) {
	fs, dir := scratchFS()
	s, err := NewSorter(SorterOptions[record]{Key: keyOfRecord, FS: fs, Dir: dir, Memory: MinMemory})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	in := make([]record, 5000)
	if err := s.Add(ctx, &flow.Batch[record]{Values: in}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Add(ctx, &flow.Batch[record]{Values: in}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := s.Sort(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	left(t, fs, dir)
	if _, err := NewSorter(SorterOptions[record]{}); err == nil {
		t.Error("a sorter without a key")
	}
	if _, err := NewSorter(SorterOptions[chan int]{Key: func(dst []byte, _ *chan int) []byte { return dst }}); err == nil {
		t.Error("channels are sorted")
	}
}

// TestSortDamage: a byte that changed on disk is found.
func TestSortDamage(t *testing.T) {
	fs, dir := scratchFS()
	s, err := NewSorter(SorterOptions[record]{Key: keyOfRecord, FS: fs, Dir: dir, Memory: MinMemory})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Add(t.Context(), &flow.Batch[record]{Values: make([]record, 10_000)}); err != nil {
		t.Fatal(err)
	}
	f, err := fs.OpenReadWrite(s.runs[1].path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	var one [1]byte
	if _, err := f.ReadAt(one[:], s.runs[1].bytes/2); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 4
	if _, err := f.WriteAt(one[:], s.runs[1].bytes/2); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := s.Sort(t.Context())
	if err != nil { // A merge before the last one has found it.
		if !errors.Is(err, spill.ErrCorrupt) {
			t.Error(err)
		}
		return
	}
	defer out.Close()
	var b flow.Batch[record]
	for {
		if err := out.Next(t.Context(), &b, 100); err != nil {
			if !errors.Is(err, spill.ErrCorrupt) {
				t.Error(err)
			}
			return
		}
		if len(b.Values) == 0 {
			t.Fatal("it was not found")
		}
	}
}

// TestKeys: the order of keys is that of values.
func TestKeys(t *testing.T) {
	sign := func(n int) int { return cmp.Compare(n, 0) }
	rapid.Check(t, func(r *rapid.T) {
		a, b := rapid.Int64().Draw(r, "a"), rapid.Int64().Draw(r, "b")
		if got := bytes.Compare(AppendInt(nil, a), AppendInt(nil, b)); got != cmp.Compare(a, b) {
			r.Fatal(got)
		}
		if got := bytes.Compare(AppendUint(nil, uint64(a)), AppendUint(nil, uint64(b))); got != cmp.Compare(uint64(a), uint64(b)) {
			r.Fatal(got)
		}
		x, y := rapid.Float64().Draw(r, "x"), rapid.Float64().Draw(r, "y")
		if got := bytes.Compare(AppendFloat(nil, x), AppendFloat(nil, y)); got != cmp.Compare(x, y) {
			r.Fatal(got)
		}
		chars := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 'a', 255}), 0, 12)
		s, u := chars.Draw(r, "s"), chars.Draw(r, "u")
		k, l := AppendInt(AppendString(nil, s), a), AppendInt(AppendString(nil, u), b)
		want := cmp.Or(bytes.Compare(s, u), cmp.Compare(a, b))
		if got := bytes.Compare(k, l); got != want {
			r.Fatal(got, want)
		}
		if got := bytes.Compare(Descend(k, 0), Descend(l, 0)); got != -want {
			r.Fatal(got, want)
		}
		p, q := prefixOf(s), prefixOf(u)
		if p != q && sign(cmp.Compare(p, q)) != bytes.Compare(s, u) {
			r.Fatal("prefix")
		}
	})
	order := [][]byte{AppendFloat(nil, math.Inf(-1)), AppendFloat(nil, -1), AppendFloat(nil, 0), AppendFloat(nil, 1), AppendFloat(nil, math.Inf(1)), AppendFloat(nil, math.NaN())}
	if !slices.IsSortedFunc(order, bytes.Compare) || !bytes.Equal(AppendFloat(nil, math.Copysign(0, -1)), order[2]) {
		t.Error(order)
	}
	if bytes.Compare(AppendBool(nil, false), AppendBool(nil, true)) != -1 {
		t.Error("bool")
	}
}

func FuzzEntry(f *testing.F) {
	f.Add(appendEntry(nil, []byte("key"), []byte("value"), 5))
	f.Add(appendEntry(nil, nil, nil, flow.MinTime))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e entry
		if err := e.parse(data); err != nil {
			if !errors.Is(err, spill.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if len(e.all) > len(data) || len(e.key)+len(e.value) > len(e.all) {
			t.Fatal(e)
		}
	})
}
