package datagen_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/connector/collect/sourcetest"
	"github.com/weirflow/weir/connector/datagen"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

func index(i int64) int64 { return i }

func TestOneReaderKeepsOrder(t *testing.T) {
	for _, n := range []int64{0, 1, 63, 64, 65, 1000, 5000, 300_000} {
		j := sourcetest.Start(t, datagen.New(index, datagen.Count(n)), sourcetest.Options{Max: 1024}, nil)
		j.ReadAll()
		if int64(len(j.Records)) != n || j.Progress != n {
			t.Fatalf("count %d gave %d records, progress %d", n, len(j.Records), j.Progress)
		}
		for i, r := range j.Records {
			if r.Value != int64(i) {
				t.Fatalf("count %d: record %d is %d", n, i, r.Value)
			}
		}
	}
}

// The records of a split do not depend on the number of readers, and together the
// splits have each index once.
func TestAnyReaders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 4000).Draw(t, "count")
		opts := []datagen.Option{datagen.Count(n), datagen.Splits(rapid.IntRange(1, 70).Draw(t, "splits"))}
		if rapid.Bool().Draw(t, "limited") {
			opts = append(opts, datagen.Rate(rapid.Float64Range(0.01, 3e6).Draw(t, "rate")))
		}
		o := sourcetest.Options{
			Readers: rapid.IntRange(1, 5).Draw(t, "readers"), Max: rapid.IntRange(1, 2000).Draw(t, "max"),
			Seed: rapid.Uint64().Draw(t, "seed"),
		}
		whole := sourcetest.Start(t, datagen.New(index, opts...), sourcetest.Options{}, nil)
		whole.ReadAll()
		j := sourcetest.Start(t, datagen.New(index, opts...), o, nil)
		j.Read(rapid.IntRange(0, int(n)).Draw(t, "stop"))
		state := j.Snapshot()
		o.Readers = rapid.IntRange(1, 5).Draw(t, "more readers")
		rest := sourcetest.Start(t, datagen.New(index, opts...), o, state)
		rest.ReadAll()
		got := append(j.Values(), rest.Values()...)
		slices.Sort(got)
		if int64(len(got)) != n || (n > 0 && (got[0] != 0 || got[n-1] != n-1)) || len(slices.Compact(got)) != int(n) {
			t.Fatalf("%d records of %d", len(got), n)
		}
		for split, want := range whole.BySplit() {
			if got := append(j.BySplit()[split], rest.BySplit()[split]...); !slices.Equal(got, want) {
				t.Fatalf("split %s: got %v, want %v", split, got, want)
			}
		}
		var left int64
		for _, s := range state.Splits {
			left += s.Size
		}
		if len(j.Records) > 0 && left+int64(len(j.Records)) != n { // else nothing was discovered yet
			t.Fatalf("%d records read, %d left of %d", len(j.Records), left, n)
		}
	})
}

func TestResume(t *testing.T) {
	sourcetest.Resume(t, datagen.New(index, datagen.Count(97), datagen.Splits(5)), 98)
	sourcetest.Resume(t, datagen.New(index, datagen.Count(97), datagen.Splits(1), datagen.Rate(10)), 98)
}

func TestSurvive(t *testing.T) {
	sourcetest.Survive(t, datagen.New(index, datagen.Count(97), datagen.Splits(5)), 100, sourcetest.Options{})
	sourcetest.Survive(t, datagen.New(index, datagen.Count(97), datagen.Splits(1), datagen.Rate(10)), 100, sourcetest.Options{})
}

func TestRateIsExact(t *testing.T) {
	for _, rate := range []float64{0.5, 3, 10, 999, 12_345, 1e6} {
		const n = 500
		j := sourcetest.Start(t, datagen.New(index, datagen.Count(n), datagen.Rate(rate)), sourcetest.Options{Max: 64}, nil)
		start := j.Clock
		for len(j.Records) < n {
			before := len(j.Records)
			if _, more, err := j.Step(); err != nil || !more {
				t.Fatal(more, err)
			}
			// The clock stands still but for waits: all that is read is due now, and
			// had it been due earlier it would have been read then.
			for _, r := range j.Records[before:] {
				due := start + flow.Time(math.Ceil(float64(r.Value)*1e6/rate))
				if j.Clock != due && rate < 1e6 {
					t.Fatalf("rate %v: record %d came at %d, was due at %d", rate, r.Value, j.Clock, due)
				}
			}
		}
		j.ReadAll()
		if len(j.Records) != n {
			t.Fatalf("rate %v: %d records", rate, len(j.Records))
		}
	}
}

func TestRateCatchesUp(t *testing.T) {
	j := sourcetest.Start(t, datagen.New(index, datagen.Rate(1000), datagen.Splits(4)), sourcetest.Options{Readers: 2}, nil)
	j.Read(1)
	waits := j.Waits
	j.Clock += flow.Time(10_000_000) // the job stands for ten seconds
	j.Read(10_000)
	if j.Waits > waits+1 {
		t.Fatalf("waited %d times while late", j.Waits-waits)
	}
	state := j.Snapshot()
	j.Close()
	// The time in which a job is down is not made up for.
	k := sourcetest.Start(t, datagen.New(index, datagen.Rate(1000), datagen.Splits(4)), sourcetest.Options{}, state)
	k.Clock += flow.Time(3600_000_000)
	begun := k.Clock
	k.Read(2000)
	if d := k.Clock - begun; d < 1_900_000 || d > 2_100_000 {
		t.Fatalf("2,000 records took %d µs", d)
	}
}

func TestFillAndTimestamps(t *testing.T) {
	fill := func(first int64, out []int64) {
		for i := range out {
			out[i] = first + int64(i)
		}
	}
	times := func(i int64) flow.Time { return flow.Time(i * 1000) }
	j := sourcetest.Start(t, datagen.Fill(fill, datagen.Count(9000), datagen.Timestamps(times)),
		sourcetest.Options{Max: 1024, Readers: 3}, nil)
	j.ReadAll()
	slices.SortFunc(j.Records, func(a, b sourcetest.Record[int64]) int { return int(a.Value - b.Value) })
	for i, r := range j.Records {
		if r.Value != int64(i) || r.Time != flow.Time(i*1000) {
			t.Fatalf("record %d: %+v", i, r)
		}
	}
}

func TestPause(t *testing.T) {
	j := sourcetest.Start(t, datagen.New(index, datagen.Count(1000), datagen.Splits(2)), sourcetest.Options{}, nil)
	j.Read(10)
	j.Pause("0/2", true)
	for range 100 {
		if j.Idle() {
			break
		}
		if _, _, err := j.Step(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(j.BySplit()["1/2"]); n != 500 {
		t.Fatalf("%d records of the split that is not paused", n)
	}
	j.Pause("0/2", false)
	j.ReadAll()
	if len(j.Records) != 1000 {
		t.Fatalf("%d records", len(j.Records))
	}
}

func TestRefuses(t *testing.T) {
	for _, c := range []struct {
		src  operator.Source[int64]
		want string
	}{
		{datagen.New(index, datagen.Count(-1)), "Count(-1)"},
		{datagen.New(index, datagen.Rate(0)), "Rate(0)"},
		{datagen.New(index, datagen.Rate(math.NaN())), "Rate(NaN)"},
		{datagen.New(index, datagen.Splits(0)), "Splits(0)"},
		{datagen.New[int64](nil), "nil"},
		{datagen.Fill[int64](nil), "nil"},
	} {
		if _, err := c.src.Enumerator(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestInfo(t *testing.T) {
	info := datagen.New(index, datagen.Count(5), datagen.Rate(2.5)).Info()
	if got := fmt.Sprintf("%s %v %t", info.Kind, info.Attrs, info.Unbounded); got != "datagen [{count 5} {rate 2.5/s}] false" {
		t.Error(got)
	}
	if !datagen.New(index).Info().Unbounded {
		t.Error("a source without Count has an end")
	}
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte{})
	e, _ := datagen.New(index, datagen.Count(100)).Enumerator()
	d, _ := e.Discover(f.Context())
	f.Add(d.Splits[0].Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := datagen.New(index).Reader(&operator.ReaderContext{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Add(operator.Split{ID: "x", Data: data}) != nil {
			return
		}
		for range 5 {
			var into operator.Records[int64]
			if _, err := r.Read(&into, 10); err != nil || into.Len() > 10 {
				t.Fatal(into.Len(), err)
			}
		}
		if _, err := r.Snapshot(); err != nil {
			t.Fatal(err)
		}
	})
}

func ExampleRand() {
	r := datagen.Rand(7, 1000)
	fmt.Println(r.IntN(100), r.IntN(100))
	// Output: 3 90
}

func TestRandSpreads(t *testing.T) {
	const n = 100_000
	var buckets [10]int
	seen := map[uint64]bool{}
	for i := range int64(n) {
		r := datagen.Rand(1, i)
		buckets[r.IntN(10)]++
		if f := r.Float64(); f < 0 || f >= 1 {
			t.Fatal(f)
		}
		seen[datagen.Hash(2, i)] = true
	}
	if len(seen) != n {
		t.Errorf("%d different numbers of %d", len(seen), n)
	}
	for i, c := range buckets {
		if c < n/10*9/10 || c > n/10*11/10 {
			t.Errorf("bucket %d has %d", i, c)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, c := range []struct {
		name string
		src  operator.Source[int64]
	}{
		{"new", datagen.New(index)},
		{"fill", datagen.Fill(func(first int64, out []int64) {
			for i := range out {
				out[i] = first + int64(i)
			}
		})},
		{"rate", datagen.New(index, datagen.Rate(1e12))},
	} {
		b.Run(c.name, func(b *testing.B) {
			var now flow.Time
			r, err := c.src.Reader(&operator.ReaderContext{Now: func() flow.Time { now += 1024; return now }})
			if err != nil {
				b.Fatal(err)
			}
			e, _ := c.src.Enumerator()
			d, _ := e.Discover(b.Context())
			for _, s := range d.Splits {
				if err := r.Add(s); err != nil {
					b.Fatal(err)
				}
			}
			var into operator.Records[int64]
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				into.Truncate()
				if _, err := r.Read(&into, 1024); err != nil {
					b.Fatal(err)
				}
				n += into.Len()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(n, 1)), "ns/record")
		})
	}
}
