package batch

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/operator"
)

// item is a record of about 100 bytes.
type item struct {
	Key   int64
	Value int64
	Text  string
}

type sum struct {
	Count, Sum int64
}

// items makes records of about 100 bytes, by batches, always the same.
func items(n int, keys int64) func() *flow.Batch[item] {
	rng := rand.New(rand.NewPCG(1, 2))
	texts := make([]string, 256)
	for i := range texts {
		texts[i] = fmt.Sprintf("%080x", rng.Uint64())
	}
	var b flow.Batch[item]
	return func() *flow.Batch[item] {
		b.Truncate()
		for range min(1024, n) {
			b.Values = append(b.Values, item{Key: rng.Int64N(keys), Value: int64(n), Text: texts[n&255]})
			n--
		}
		return &b
	}
}

// scale is the number of records of a benchmark: WEIR_BENCH_RECORDS, or a million.
func scale(b *testing.B) int {
	if s := os.Getenv("WEIR_BENCH_RECORDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	return 1_000_000
}

func report(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*b.N), "ns/record")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapSys)/1e6, "heapMB")
}

const benchMemory = 256 << 20

// BenchmarkGroupBySort groups whole records by key: they are sorted, and equal keys are counted
// as they come.
func BenchmarkGroupBySort(b *testing.B) {
	for _, keys := range []int64{100_000, 10_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			n := scale(b)
			for range b.N {
				s, err := NewSorter(SorterOptions[item]{Dir: b.TempDir(), Memory: benchMemory, Key: func(dst []byte, v *item) []byte { return AppendInt(dst, v.Key) }})
				if err != nil {
					b.Fatal(err)
				}
				began := time.Now()
				next := items(n, keys)
				for in := next(); in.Len() > 0; in = next() {
					if err := s.Add(b.Context(), in); err != nil {
						b.Fatal(err)
					}
				}
				added := time.Since(began)
				out, err := s.Sort(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				groups, last, seen := 0, int64(-1), 0
				var in flow.Batch[item]
				for {
					if err := out.Next(b.Context(), &in, 1024); err != nil {
						b.Fatal(err)
					}
					if in.Len() == 0 {
						break
					}
					for i := range in.Values {
						if k := in.Values[i].Key; k != last {
							groups++
							last = k
						}
						seen++
					}
				}
				if seen != n {
					b.Fatal(seen)
				}
				b.ReportMetric(float64(added.Nanoseconds())/float64(n), "ns/add")
				b.ReportMetric(float64(s.Stats().Runs), "runs")
				if err := out.Close(); err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			report(b, n)
		})
	}
}

// BenchmarkGroup sums records by key with accumulators.
func BenchmarkGroup(b *testing.B) {
	for _, memory := range []int{benchMemory, 32 << 20} {
		for _, keys := range []int64{100_000, 1_000_000, 10_000_000} {
			b.Run(fmt.Sprintf("memory=%d/keys=%d", memory>>20, keys), func(b *testing.B) {
				n := scale(b)
				for range b.N {
					g, err := NewGrouper[int64](GrouperOptions[sum]{Dir: b.TempDir(), Memory: memory, Merge: func(into, from *sum) {
						into.Count += from.Count
						into.Sum += from.Sum
					}})
					if err != nil {
						b.Fatal(err)
					}
					next := items(n, keys)
					for in := next(); in.Len() > 0; in = next() {
						for i := range in.Values {
							v := &in.Values[i]
							a, err := g.Upsert(b.Context(), mix(uint64(v.Key)), v.Key)
							if err != nil {
								b.Fatal(err)
							}
							a.Count++
							a.Sum += v.Value
						}
					}
					var seen int64
					err = g.Emit(b.Context(), func(out *flow.Batch[operator.KeyValue[int64, sum]]) error {
						for i := range out.Values {
							seen += out.Values[i].Value.Count
						}
						return nil
					})
					if err != nil || seen != int64(n) {
						b.Fatal(err, seen)
					}
					b.ReportMetric(float64(g.Stats().SpilledBytes)/1e6, "spilledMB")
					if err := g.Close(); err != nil {
						b.Fatal(err)
					}
				}
				report(b, n)
			})
		}
	}
}

// BenchmarkPartial aggregates in front of an exchange.
func BenchmarkPartial(b *testing.B) {
	for _, keys := range []int64{1000, 100_000, 10_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			n := scale(b)
			for range b.N {
				groups := 0
				p, err := NewPartial(PartialOptions[int64, sum]{Emit: func(out *flow.Batch[operator.KeyValue[int64, sum]]) error {
					groups += out.Len()
					return nil
				}})
				if err != nil {
					b.Fatal(err)
				}
				next := items(n, keys)
				for in := next(); in.Len() > 0; in = next() {
					for i := range in.Values {
						v := &in.Values[i]
						a, err := p.Upsert(mix(uint64(v.Key)), v.Key)
						if err != nil {
							b.Fatal(err)
						}
						a.Count++
						a.Sum += v.Value
					}
				}
				if err := p.Flush(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(groups)/float64(n), "out/in")
			}
			report(b, n)
		})
	}
}

// BenchmarkInput is what making the records costs: a part of all figures.
func BenchmarkInput(b *testing.B) {
	n := scale(b)
	c, err := codec.For[item]()
	if err != nil {
		b.Fatal(err)
	}
	size := 0
	for range b.N {
		next := items(n, 1_000_000)
		for in := next(); in.Len() > 0; in = next() {
			size = len(c.AppendValues(nil, in.Values[:1]))
		}
	}
	b.ReportMetric(float64(size), "B/record")
	report(b, n)
}
