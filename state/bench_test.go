package state_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/memory"
)

// BenchmarkCells compares counting by key with Go's map. Both sides are given the
// keys in the same random order; ours computes the hash for each record too,
// although a keyed operator mostly gets it with the batch.
func BenchmarkCells(b *testing.B) {
	hash, hashStr := hashFunc[uint64](b), hashFunc[string](b)
	for _, keys := range []int{1_000, 100_000, 1_000_000, 10_000_000} {
		order := make([]uint64, 1<<20)
		r := rand.New(rand.NewPCG(1, 2))
		for i := range order {
			order[i] = r.Uint64N(uint64(keys)) * 7919
		}
		b.Run(fmt.Sprintf("uint64/keys=%d/map", keys), func(b *testing.B) {
			m := map[uint64]int64{}
			for i := range keys {
				m[uint64(i)*7919]++
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				m[order[i&(len(order)-1)]]++
			}
		})
		b.Run(fmt.Sprintf("uint64/keys=%d/cells", keys), func(b *testing.B) {
			c := newCells[uint64, struct{}, int64](b)
			for i := range keys {
				k := uint64(i) * 7919
				v, _ := c.Ref(hash(k), k, struct{}{})
				*v++
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				k := order[i&(len(order)-1)]
				v, _ := c.Ref(hash(k), k, struct{}{})
				*v++
			}
			b.ReportMetric(float64(c.Bytes())/float64(keys), "B/key")
		})
	}
	for _, keys := range []int{1_000, 100_000, 1_000_000} {
		order := make([]string, 1<<20)
		all := make([]string, keys)
		for i := range all {
			all[i] = "user-" + strconv.Itoa(i*7919)
		}
		r := rand.New(rand.NewPCG(1, 2))
		for i := range order {
			order[i] = all[r.IntN(keys)]
		}
		b.Run(fmt.Sprintf("string/keys=%d/map", keys), func(b *testing.B) {
			m := map[string]int64{}
			for i := range all {
				m[all[i]]++
			}
			for i := range b.N {
				m[order[i&(len(order)-1)]]++
			}
		})
		b.Run(fmt.Sprintf("string/keys=%d/cells", keys), func(b *testing.B) {
			c := newCells[string, struct{}, int64](b)
			for _, k := range all {
				c.Put(hashStr(k), k, struct{}{}, 1)
			}
			for i := range b.N {
				k := order[i&(len(order)-1)]
				v, _ := c.Ref(hashStr(k), k, struct{}{})
				*v++
			}
		})
	}
	type window struct{ Start, End flow.Time }
	b.Run("uint64,window/keys=100000/cells", func(b *testing.B) {
		c := newCells[uint64, window, int64](b)
		order := rand.New(rand.NewPCG(1, 2)).Perm(100_000)
		for i := range b.N {
			k := uint64(order[i%100_000])
			v, _ := c.Ref(hash(k), k, window{10, 20})
			*v++
		}
	})
}

// BenchmarkCellsFill measures making and removing entries.
func BenchmarkCellsFill(b *testing.B) {
	hash := hashFunc[uint64](b)
	const keys = 1_000_000
	b.Run("map", func(b *testing.B) {
		for b.Loop() {
			m := map[uint64]int64{}
			for i := range uint64(keys) {
				m[i*7919]++
			}
			for i := range uint64(keys) {
				delete(m, i*7919)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/key")
	})
	b.Run("cells", func(b *testing.B) {
		for b.Loop() {
			c := newCells[uint64, struct{}, int64](b)
			for i := range uint64(keys) {
				v, _ := c.Ref(hash(i*7919), i*7919, struct{}{})
				*v++
			}
			for i := range uint64(keys) {
				c.Delete(hash(i*7919), i*7919, struct{}{})
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/key")
	})
}

func newCells[K, N comparable, V any](tb testing.TB) *state.Cells[K, N, V] {
	tb.Helper()
	c, err := state.NewCells[K, N, V](memory.New(memory.Options{}), state.Descriptor{Operator: "op", Name: "cells"})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func hashFunc[K comparable](tb testing.TB) func(K) flow.Hash {
	h, err := keyhash.For[K]()
	if err != nil {
		tb.Fatal(err)
	}
	return h
}
