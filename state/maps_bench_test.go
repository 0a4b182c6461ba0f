package state_test

import (
	"fmt"
	"testing"

	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/memory"
)

// BenchmarkMaps changes entries of maps of some sizes, reads them, and goes through
// them.
func BenchmarkMaps(b *testing.B) {
	const keys = 10_000
	hash := hashFunc[uint64](b)
	for _, size := range []int{4, 100} {
		m, err := state.NewMaps[uint64, int, int64](memory.New(memory.Options{}), state.Descriptor{Operator: "op", Name: "maps"})
		if err != nil {
			b.Fatal(err)
		}
		for k := range uint64(keys) {
			for u := range size {
				m.Put(hash(k), k, u, 1)
			}
		}
		b.Run(fmt.Sprintf("size=%d/update", size), func(b *testing.B) {
			for i := range b.N {
				k, u := uint64(i)*7919%keys, i%size
				v, _ := m.Get(hash(k), k, u)
				m.Put(hash(k), k, u, v+1)
			}
		})
		b.Run(fmt.Sprintf("size=%d/each", size), func(b *testing.B) {
			var sum int64
			for i := range b.N {
				k := uint64(i) * 7919 % keys
				m.Each(hash(k), k, func(_ int, v int64) bool { sum += v; return true })
			}
		})
		b.Run(fmt.Sprintf("size=%d/churn", size), func(b *testing.B) {
			for i := range b.N {
				k := uint64(i) * 7919 % keys
				m.Delete(hash(k), k, i%size)
				m.Put(hash(k), k, i%size, 1)
			}
		})
	}
}
