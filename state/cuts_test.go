package state

import (
	"fmt"
	"maps"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
)

// cutRig drives a state in front of a mapDisk as a store does, with at most two cuts
// that have not settled. When a cut has landed the disk must hold what the model was
// at the cut, and nothing else.
type cutRig struct {
	p       Paged
	d       *mapDisk
	encode  func() map[string]string // the model, as it should be on disk
	cuts    []*rigCut
	drained bool
}

type rigCut struct {
	want   map[string]string
	flying []func()
}

const rigGroups = 4

// newCutRig mounts a state on a disk that has what it has.
func newCutRig(p Paged, d *mapDisk, encode func() map[string]string) *cutRig {
	p.Mount(Mount{Disk: d, MaxParallelism: rigGroups, KeyGroups: flow.KeyGroupRange{End: rigGroups}, Entries: int64(len(d.m))})
	return &cutRig{p: p, d: d, encode: encode, drained: true}
}

// step does one of the things that a store does between batches.
func (r *cutRig) step(t *rapid.T) {
	switch rapid.SampledFrom([]string{"cut", "drain", "drain", "settle", "evict", "room"}).Draw(t, "step") {
	case "cut":
		r.drain()
		for len(r.cuts) > 1 {
			r.settle(t)
		}
		z := &rigCut{want: r.encode()}
		r.cuts, r.drained = append(r.cuts, z), false
		r.p.Cut(r.d.put(&z.flying))
	case "drain":
		r.drained = r.p.Drain(rapid.IntRange(1, 20).Draw(t, "n"))
	case "settle":
		r.settle(t)
	case "evict":
		r.p.Evict(rapid.Int64Range(0, 8000).Draw(t, "bytes"))
	case "room":
		r.d.room = rapid.Bool().Draw(t, "room")
	}
	if r.d.err != nil {
		t.Fatal(r.d.err)
	}
	if b := r.p.Bytes(); b < 0 {
		t.Fatalf("%d bytes", b)
	}
}

func (r *cutRig) drain() {
	for !r.drained {
		r.drained = r.p.Drain(3)
	}
}

func (r *cutRig) settle(t *rapid.T) {
	if len(r.cuts) == 0 || len(r.cuts) == 1 && !r.drained {
		return
	}
	z := r.cuts[0]
	r.cuts = r.cuts[1:]
	for _, f := range z.flying {
		f()
	}
	r.p.Settled()
	if !maps.Equal(r.d.m, z.want) {
		t.Fatalf("the disk has\n%q, want\n%q", r.d.m, z.want)
	}
}

// finish brings everything to the disk.
func (r *cutRig) finish(t *rapid.T) {
	for range 2 {
		r.drain()
		for len(r.cuts) > 0 {
			r.settle(t)
		}
		z := &rigCut{want: r.encode()}
		r.cuts, r.drained = append(r.cuts, z), false
		r.p.Cut(r.d.put(&z.flying))
	}
	r.drain()
	r.settle(t)
}

func TestPagedMaps(t *testing.T) {
	hash, err := keyhash.For[string]()
	if err != nil {
		t.Fatal(err)
	}
	type model = map[string]map[string]int
	rapid.Check(t, func(rt *rapid.T) {
		want := model{}
		d := &mapDisk{m: map[string]string{}}
		var m *Maps[string, string, int]
		var rig *cutRig
		mount := func() {
			var err error
			if m, err = NewMaps[string, string, int](registry{}, Descriptor{Name: "m"}); err != nil {
				rt.Fatal(err)
			}
			rig = newCutRig(m, d, func() map[string]string {
				all := map[string]string{}
				for k, s := range want {
					for u, v := range s {
						all[diskKey(flow.KeyGroupOf(hash(k), rigGroups), m.f.appendKey(nil, &k, &u))] = string(m.f.value.Append(nil, &v))
					}
				}
				return all
			})
		}
		mount()
		put := func(k, u string, v int) {
			m.Put(hash(k), k, u, v)
			if want[k] == nil {
				want[k] = map[string]int{}
			}
			want[k][u] = v
		}
		check := func(k string) {
			got := map[string]int{}
			m.Each(hash(k), k, func(u string, v int) bool {
				if w, ok := m.Get(hash(k), k, u); !ok || w != v {
					rt.Fatalf("Get(%q, %q) is %d, %v while Each gives %d", k, u, w, ok, v)
				}
				// Asking for another must not hide it from Each.
				m.Get(hash(k), k, fmt.Sprint(len(got)*3))
				if _, twice := got[u]; twice {
					rt.Fatalf("Each gives %q of %q twice", u, k)
				}
				got[u] = v
				return true
			})
			if len(got) != len(want[k]) || len(got) > 0 && !maps.Equal(got, want[k]) {
				rt.Fatalf("map of %q: %v\nwant %v", k, got, want[k])
			}
		}
		for i := range rapid.IntRange(0, 200).Draw(rt, "calls") {
			k := rapid.SampledFrom([]string{"", "a", "ab", "b"}).Draw(rt, "k")
			u := fmt.Sprint(rapid.IntRange(0, 30).Draw(rt, "u"))
			w, had := want[k][u]
			switch rapid.SampledFrom([]string{"put", "put", "fill", "get", "delete", "each", "len", "keys", "clear", "step", "step", "step", "again"}).Draw(rt, "call") {
			case "put":
				put(k, u, i)
			case "fill":
				for j := range rapid.SampledFrom([]int{30, 700}).Draw(rt, "n") {
					put(k, fmt.Sprint(j), i)
				}
			case "get":
				if v, ok := m.Get(hash(k), k, u); v != w || ok != had {
					rt.Fatalf("Get(%q, %q) is %d, %v; want %d, %v", k, u, v, ok, w, had)
				}
			case "delete":
				if ok := m.Delete(hash(k), k, u); ok != had {
					rt.Fatalf("Delete(%q, %q) is %v", k, u, ok)
				}
				if delete(want[k], u); len(want[k]) == 0 {
					delete(want, k)
				}
			case "each":
				check(k)
			case "len":
				if n := m.Len(hash(k), k); n != len(want[k]) {
					rt.Fatalf("Len(%q) is %d, want %d", k, n, len(want[k]))
				}
			case "keys":
				got := map[string]bool{}
				m.EachKey(func(h flow.Hash, k string) bool {
					if got[k] || h != hash(k) {
						rt.Fatalf("EachKey gives %q twice, or with the hash %x", k, h)
					}
					got[k] = true
					check(k)
					return true
				})
				if len(got) != len(want) {
					rt.Fatalf("EachKey gives %v, want %v", got, want)
				}
			case "clear":
				m.Clear(hash(k), k)
				delete(want, k)
			case "step":
				rig.step(rt)
			case "again": // opened from the disk
				rig.finish(rt)
				mount()
			}
			n := 0
			for _, s := range want {
				n += len(s)
			}
			if m.Entries() != int64(n) {
				rt.Fatalf("%d entries, want %d", m.Entries(), n)
			}
			checkMapPages(rt, m.p)
		}
		rig.finish(rt)
		m.Evict(1 << 30)
		m.Evict(1 << 30)
		if m.p.slots != 0 || m.p.bytes != 0 || m.p.t.n != 0 {
			rt.Fatalf("after all was let go: %d entries, %d maps, %d bytes", m.p.slots, m.p.t.n, m.p.bytes)
		}
	})
}

func checkMapPages[K, U comparable, V any](t *rapid.T, p *mapPages[K, U, V]) {
	var here, slots, bytes int64
	var empty pagedMap[K, U, V]
	p.t.each(func(_ flow.Hash, e *slot[K, struct{}, *pagedMap[K, U, V]]) bool {
		n := 0
		for _, m := range e.v.marks {
			if m&gone != 0 {
				n++
			}
		}
		if n != e.v.gone || len(e.v.marks) != len(e.v.entries) {
			t.Fatalf("%d of %d entries are gone, said to be %d of %d", n, len(e.v.marks), e.v.gone, len(e.v.entries))
		}
		here += int64(len(e.v.entries) - n)
		slots += int64(len(e.v.entries))
		bytes += e.v.memory() + int64(sizeOf(empty))
		return true
	})
	if here != p.here || slots != p.slots || bytes != p.bytes {
		t.Fatalf("%d entries here, %d with those gone, %d bytes; said to be %d, %d, %d", here, slots, bytes, p.here, p.slots, p.bytes)
	}
}

func sizeOf[T any](v T) uintptr { return unsafe.Sizeof(v) }
