package keyhash_test

import (
	"fmt"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
)

func BenchmarkFor(b *testing.B) {
	benchFor(b, "int64", int64(4711))
	benchFor(b, "named", userID(4711))
	benchFor(b, "string12", "customer-471")
	benchFor(b, "string40", "a key of forty characters, more or less!")
	benchFor(b, "pair", [2]int64{3, 4})
	benchFor(b, "struct", region{"NZ", 12})
	benchFor(b, "uuid", [16]byte{1})
}

func benchFor[K comparable](b *testing.B, name string, k K) {
	h := must[K](b)
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		var sum flow.Hash
		for b.Loop() {
			sum += h(k)
		}
		_ = sum
	})
}

// record is as wide as what runs through a pipeline.
type record struct {
	ID       int64
	Customer string
	Amount   float64
	Quantity int32
	Paid     bool
	At       int64
}

// BenchmarkColumns is the time for one record.
func BenchmarkColumns(b *testing.B) {
	benchColumns(b, "int64", func(r record) int64 { return r.ID })
	benchColumns(b, "string", func(r record) string { return r.Customer })
	benchColumns(b, "bool", func(r record) bool { return r.Paid })
	benchColumns(b, "struct", func(r record) region { return region{r.Customer, int16(r.Quantity)} })
}

func benchColumns[K comparable](b *testing.B, name string, key func(record) K) {
	cols, err := keyhash.Columns(key)
	if err != nil {
		b.Fatal(err)
	}
	vals := make([]record, 1024)
	for i := range vals {
		vals[i] = record{ID: int64(i), Customer: fmt.Sprintf("customer-%d", i)}
	}
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		dst := make([]flow.Hash, 0, len(vals))
		for i := 0; i < b.N; i += len(vals) {
			dst = cols(vals, dst[:0])
		}
	})
}
