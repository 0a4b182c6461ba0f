package spill

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
)

type event struct {
	User int64
	At   int64
	URL  string
	Kind string
	Cost float64
}

// BenchmarkWriteRead writes and reads records of about 100 bytes on a real disk.
func BenchmarkWriteRead(b *testing.B) {
	const n = 1 << 20
	rng := rand.New(rand.NewPCG(1, 2))
	batches := make([]flow.Batch[event], n>>10)
	for i := range batches {
		for range 1 << 10 {
			batches[i].Values = append(batches[i].Values, event{User: rng.Int64N(1e6), At: 1_700_000_000_000 + rng.Int64N(1e9),
				URL: fmt.Sprintf("/shop/%d/article/%d?from=%x", rng.IntN(50), rng.IntN(1e5), rng.Uint64()), Kind: []string{"view", "click", "order"}[rng.IntN(3)], Cost: rng.Float64()})
		}
	}
	hash := func(vals []event, dst []flow.Hash) []flow.Hash {
		for i := range vals {
			dst = append(dst, hashOf(vals[i].User))
		}
		return dst
	}
	for _, c := range []Compression{None, LZ4, S2, Zstd} {
		dir := b.TempDir()
		s, err := Open(vfs.Default, dir, StoreOptions{})
		if err != nil {
			b.Fatal(err)
		}
		var size int64
		attempt := flow.Attempt(0)
		write := func() {
			attempt++
			opt := Options{Compression: c}
			o, err := NewOutput[event](vfs.Default, s, idOf(0, attempt), opt)
			if err != nil {
				b.Fatal(err)
			}
			w := shuffle.NewHash(b.Context(), o.Senders(), flow.DefaultMaxParallelism, hash,
				shuffle.RouterOptions[event]{BatchBytes: opt.BatchBytes(), Bytes: o.codec.MemSize})
			for i := range batches {
				if err := w.Receive(&batches[i]); err != nil {
					b.Fatal(err)
				}
			}
			if err := w.Control(flow.Control{Kind: flow.ControlEnd}); err != nil {
				b.Fatal(err)
			}
			sum, err := o.Finish()
			if err != nil {
				b.Fatal(err)
			}
			size = sum.FileBytes
		}
		b.Run("write/"+c.String(), func(b *testing.B) {
			for range b.N {
				write()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*b.N), "ns/record")
			b.ReportMetric(float64(size)/n, "B/record")
		})
		b.Run("read/"+c.String(), func(b *testing.B) {
			for range b.N {
				for first := range 4 {
					of := Range{first * 32, first*32 + 32}
					stream, err := s.OpenRange(b.Context(), idOf(0, attempt), of)
					if err != nil {
						b.Fatal(err)
					}
					sc, err := NewScanner[event](stream, idOf(0, attempt), of)
					if err != nil {
						b.Fatal(err)
					}
					var batch flow.Batch[event]
					for ok := true; ok; batch.Reset() {
						if ok, err = sc.Next(&batch); err != nil {
							b.Fatal(err)
						}
					}
					if err := stream.Close(); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*b.N), "ns/record")
		})
		b.Run("serve/"+c.String(), func(b *testing.B) {
			for range b.N {
				stream, err := s.OpenRange(b.Context(), idOf(0, attempt), Range{0, 128})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, stream); err != nil {
					b.Fatal(err)
				}
				if err := stream.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*b.N), "ns/record")
		})
		if err := s.RemoveJob("job-1"); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
