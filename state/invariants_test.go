package state

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
)

// registry is as much of a store as constructors need.
type registry struct{ Store }

func (registry) Register(Resident) error { return nil }

// TestTableInvariants looks at the table from inside, after random calls with
// hashes that are bad enough for long runs, wrap-around and splits of little use.
func TestTableInvariants(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c, err := NewCells[uint64, int64, int32](registry{}, Descriptor{Name: "c"})
		if err != nil {
			rt.Fatal(err)
		}
		c.t.rehash = nil // hashes are not those of the keys here
		c.t.restart()
		mask := rapid.SampledFrom([]uint64{^uint64(0), 7, 0xff << 16, 1<<63 | 3}).Draw(rt, "hash bits")
		n := 0
		for range rapid.IntRange(0, 300).Draw(rt, "calls") {
			k := rapid.Uint64Range(0, 100).Draw(rt, "k")
			h := flow.Hash(mum(k^mix1, mix2) & mask)
			if rapid.IntRange(0, 2).Draw(rt, "call") == 0 {
				if c.Delete(h, k, 0) {
					n--
				}
			} else if _, fresh := c.Ref(h, k, 0); fresh {
				n++
			}
		}
		if rapid.Bool().Draw(rt, "trim") {
			c.t.trim()
			c.t.trim()
		}
		checkTable(rt, &c.t, n)
	})
}

// TestTableSplits fills a table until its directory has many segments.
func TestTableSplits(t *testing.T) {
	c, err := NewCells[uint64, struct{}, int32](registry{}, Descriptor{Name: "c"})
	if err != nil {
		t.Fatal(err)
	}
	c.t.rehash = nil // hashes are not those of the keys here
	c.t.restart()
	const n = 12 * maxSlots
	for k := range uint64(n) {
		c.Put(flow.Hash(mum(k^mix1, mix2)*mix1), k, struct{}{}, int32(k))
	}
	if len(c.t.dir) < 8 {
		t.Errorf("%d segments", len(c.t.dir))
	}
	checkTable(t, &c.t, n)
	for k := range uint64(n) {
		if v := c.Find(flow.Hash(mum(k^mix1, mix2)*mix1), k, struct{}{}); v == nil || *v != int32(k) {
			t.Fatalf("Find(%d) = %v", k, v)
		}
	}
}

type fataler interface{ Fatalf(string, ...any) }

func checkTable[K, N comparable, V any](t fataler, tb *table[K, N, V], n int) {
	var last *segment[K, N, V]
	entries, size := 0, int64(0)
	for d, s := range tb.dir {
		if s == last {
			continue
		}
		last = s
		size += s.bytes()
		if span := len(tb.dir) >> s.depth; d%span != 0 || tb.dir[d+span-1] != s {
			t.Fatalf("segment %d of depth %d does not fill its part of %d", d, s.depth, len(tb.dir))
		}
		used := 0
		for i := range s.slots {
			if i < 7 && s.tags[len(s.slots)+i] != s.tags[i] {
				t.Fatalf("tag %d is not repeated", i)
			}
			if s.tags[i] == 0 {
				continue
			}
			used++
			p := tb.place(tb.hashAt(s, uint64(i)), s.slots[i].n)
			if s.tags[i] != byte(tagOf(p)) || tb.dir[p>>1>>tb.shift] != s {
				t.Fatalf("an entry is in the wrong segment, or has the wrong tag")
			}
			for j := p & s.mask; j != uint64(i); j = (j + 1) & s.mask {
				if s.tags[j] == 0 {
					t.Fatalf("slot %d is empty, between an entry's home and its slot %d", j, i)
				}
			}
		}
		if used != s.used || used > s.limit || s.limit >= len(s.slots) || s.peak < used && tb.pages == nil {
			t.Fatalf("used %d, said to be %d, limit %d, peak %d", used, s.used, s.limit, s.peak)
		}
		entries += used
	}
	if entries != n || tb.n != n || size != tb.bytes {
		t.Fatalf("%d entries, said to be %d, want %d; %d bytes, said to be %d", entries, tb.n, n, size, tb.bytes)
	}
}

func TestTimersInvariants(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tm, err := NewTimers[uint64, struct{}](registry{}, Descriptor{Name: "t"})
		if err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(0, 200).Draw(rt, "calls") {
			k := rapid.Uint64Range(0, 3).Draw(rt, "k")
			at := flow.Time(rapid.Int64Range(0, 300).Draw(rt, "at"))
			switch rapid.IntRange(0, 4).Draw(rt, "call") {
			case 0:
				tm.Pop(at)
			case 1:
				tm.Delete(flow.Hash(k), k, struct{}{}, at)
			case 2:
				for i := range flow.Time(100) {
					tm.Add(flow.Hash(k), k, struct{}{}, at+i)
				}
			case 3:
				for i := range flow.Time(100) {
					tm.Delete(flow.Hash(k), k, struct{}{}, at+i)
				}
			default:
				tm.Add(flow.Hash(k), k, struct{}{}, at)
			}
			empty, used := 0, 0
			for i, d := range tm.heap {
				if i > 0 && tm.heap[(i-1)/4].at >= d.at {
					rt.Fatalf("the heap is out of order at %d", i)
				}
				if tm.lists[d.list].head == none {
					empty++
				}
				for j := tm.lists[d.list].head; j != none; j = tm.timers[j].next {
					used++
				}
			}
			if empty != tm.empty || used != tm.Len() || tm.times.n != len(tm.heap) {
				rt.Fatalf("%d empty lists, said to be %d; %d timers, want %d; %d times for %d lists",
					empty, tm.empty, used, tm.Len(), tm.times.n, len(tm.heap))
			}
			if empty > 64 && empty > len(tm.heap)/2+1 {
				rt.Fatalf("%d of %d lists are empty", empty, len(tm.heap))
			}
		}
	})
}
