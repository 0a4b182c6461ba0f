package state_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

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
	for _, keys := range []int{100_000, 1_000_000, 10_000_000} {
		r := rand.New(rand.NewPCG(1, 2))
		order, hashes := make([]uint64, 1<<20), make([]flow.Hash, 1<<20)
		for i := range order {
			order[i] = r.Uint64N(uint64(keys)) * 7919
			hashes[i] = hash(order[i])
		}
		c := newCells[uint64, struct{}, int64](b)
		for i := range keys {
			k := uint64(i) * 7919
			c.Put(hash(k), k, struct{}{}, 1)
		}
		for _, ahead := range []bool{false, true} {
			b.Run(fmt.Sprintf("uint64/keys=%d/batches/ahead=%t", keys, ahead), func(b *testing.B) {
				for n := 0; n < b.N; n += 1024 {
					at := n & (len(order) - 1)
					if ahead {
						c.Ahead(hashes[at:at+1024], struct{}{})
					}
					for i := at; i < at+1024; i++ {
						v, _ := c.Ref(hashes[i], order[i], struct{}{})
						*v++
					}
				}
			})
		}
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

// BenchmarkCellsRatio runs map and cells in turn, a hundred thousand records
// each, and compares the medians: on a machine with other work to do the two
// times of BenchmarkCells can be of different days.
func BenchmarkCellsRatio(b *testing.B) {
	for _, keys := range []int{1_000, 10_000, 100_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("uint64/keys=%d", keys), func(b *testing.B) {
			ratio(b, keys, func(i int) uint64 { return uint64(i) * 7919 })
		})
	}
	for _, keys := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("string/keys=%d", keys), func(b *testing.B) {
			ratio(b, keys, func(i int) string { return "user-" + strconv.Itoa(i*7919) })
		})
	}
}

func ratio[K comparable](b *testing.B, keys int, key func(int) K) {
	hash := hashFunc[K](b)
	m := map[K]int64{}
	c := newCells[K, struct{}, int64](b)
	all := make([]K, keys)
	for i := range all {
		all[i] = key(i)
		m[all[i]]++
		c.Put(hash(all[i]), all[i], struct{}{}, 1)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var ofMap, ofCells []time.Duration
	order := make([]K, 100_000)
	for range max(b.N, 40) {
		for i := range order {
			order[i] = all[r.IntN(keys)]
		}
		t0 := time.Now()
		for _, k := range order {
			m[k]++
		}
		t1 := time.Now()
		for i := range order {
			order[i] = all[r.IntN(keys)]
		}
		t2 := time.Now()
		for _, k := range order {
			v, _ := c.Ref(hash(k), k, struct{}{})
			*v++
		}
		ofMap, ofCells = append(ofMap, t1.Sub(t0)), append(ofCells, time.Since(t2))
	}
	slices.Sort(ofMap)
	slices.Sort(ofCells)
	mid := len(ofMap) / 2
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(ofMap[mid])/1e5, "map-ns")
	b.ReportMetric(float64(ofCells[mid])/1e5, "cells-ns")
	b.ReportMetric(float64(ofMap[mid])/float64(ofCells[mid]), "ratio")
}

// BenchmarkTimers adds timers for 100,000 keys, at one time as windows do and at
// random times as sessions do, and pops them.
func BenchmarkTimers(b *testing.B) {
	const keys = 100_000
	hash := hashFunc[uint64](b)
	for _, spread := range []int64{1, 1_000_000_000} {
		b.Run(fmt.Sprintf("spread=%d", spread), func(b *testing.B) {
			t, err := state.NewTimers[uint64, struct{}](memory.New(memory.Options{}), state.Descriptor{Operator: "op", Name: "timers"})
			if err != nil {
				b.Fatal(err)
			}
			r := rand.New(rand.NewPCG(1, 2))
			for b.Loop() {
				for k := range uint64(keys) {
					t.Add(hash(k), k, struct{}{}, flow.Time(r.Int64N(spread)))
				}
				for {
					if _, _, _, _, ok := t.Pop(flow.MaxTime); !ok {
						break
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/timer")
		})
	}
}

// BenchmarkSnapshot writes and restores a million numbers.
func BenchmarkSnapshot(b *testing.B) {
	const keys = 1_000_000
	hash := hashFunc[uint64](b)
	s := memory.New(memory.Options{})
	d := state.Descriptor{Operator: "op", Name: "cells"}
	c, err := state.NewCells[uint64, struct{}, int64](s, d)
	if err != nil {
		b.Fatal(err)
	}
	for k := range uint64(keys) {
		c.Put(hash(k), k, struct{}{}, int64(k))
	}
	var buf bytes.Buffer
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			buf.Reset()
			if err := s.Snapshot(&buf); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(buf.Len()))
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			to := memory.New(memory.Options{})
			if _, err := state.NewCells[uint64, struct{}, int64](to, d); err != nil {
				b.Fatal(err)
			}
			if err := to.Read(bytes.NewReader(buf.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(buf.Len()))
	})
}
