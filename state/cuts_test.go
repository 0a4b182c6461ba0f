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
	flush  bool // nobody knows what should be on disk
}

const rigGroups = 4

// newCutRig mounts a state on a disk that has what it has.
func newCutRig(p Paged, d *mapDisk, encode func() map[string]string) *cutRig {
	p.Mount(Mount{Disk: d, MaxParallelism: rigGroups, KeyGroups: flow.KeyGroupRange{End: rigGroups}, Entries: int64(len(d.m))})
	return &cutRig{p: p, d: d, encode: encode, drained: true}
}

// step does one of the things that a store does between batches.
func (r *cutRig) step(t *rapid.T) {
	r.do(t)
	if r.d.err != nil {
		t.Fatal(r.d.err)
	}
	if b := r.p.Bytes(); b < 0 {
		t.Fatalf("%d bytes", b)
	}
}

func (r *cutRig) do(t *rapid.T) {
	switch rapid.SampledFrom([]string{"cut", "join", "flush", "drain", "drain", "settle", "evict", "room"}).Draw(t, "step") {
	case "join":
		if n := len(r.cuts); n > 0 && r.cuts[n-1].flush {
			z := r.newCut()
			z.flying = r.cuts[n-1].flying
			r.cuts[n-1], r.drained = z, false
			r.p.Cut(r.d.put(&z.flying, false), true)
		}
	case "flush":
		r.drain()
		for len(r.cuts) > 1 {
			r.settle(t)
		}
		z := &rigCut{flush: true}
		r.cuts, r.drained = append(r.cuts, z), false
		r.p.Flush(r.d.put(&z.flying, true))
	case "cut":
		r.drain()
		for len(r.cuts) > 1 {
			r.settle(t)
		}
		z := r.newCut()
		r.cuts, r.drained = append(r.cuts, z), false
		r.p.Cut(r.d.put(&z.flying, false), false)
	case "drain":
		r.drained = r.p.Drain(rapid.IntRange(1, 20).Draw(t, "n"))
	case "settle":
		r.settle(t)
	case "evict":
		r.p.Evict(rapid.Int64Range(0, 8000).Draw(t, "bytes"))
	case "room":
		r.d.room = rapid.Bool().Draw(t, "room")
	}
}

// newCut is a cut now; where nothing says what should be on disk it is not compared.
func (r *cutRig) newCut() *rigCut {
	if r.encode == nil {
		return &rigCut{}
	}
	return &rigCut{want: r.encode()}
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
	if z.want != nil && !maps.Equal(r.d.m, z.want) {
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
		z := r.newCut()
		r.cuts, r.drained = append(r.cuts, z), false
		r.p.Cut(r.d.put(&z.flying, false), false)
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
		for i := range rapid.IntRange(0, 120).Draw(rt, "calls") {
			k := rapid.SampledFrom([]string{"", "a", "ab", "b"}).Draw(rt, "k")
			u := fmt.Sprint(rapid.IntRange(0, 30).Draw(rt, "u"))
			w, had := want[k][u]
			switch rapid.SampledFrom([]string{"put", "put", "fill", "get", "delete", "each", "len", "keys", "clear", "step", "step", "step", "again"}).Draw(rt, "call") {
			case "put":
				put(k, u, i)
			case "fill":
				for j := range rapid.SampledFrom([]int{30, 300}).Draw(rt, "n") {
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

func TestPagedTimers(t *testing.T) {
	hash, err := keyhash.For[string]()
	if err != nil {
		t.Fatal(err)
	}
	type id struct {
		k  string
		n  int32
		at flow.Time
	}
	rapid.Check(t, func(rt *rapid.T) {
		want := map[id]bool{}
		d := &mapDisk{m: map[string]string{}}
		var tm *Timers[string, int32]
		var rig *cutRig
		spread := rapid.SampledFrom([]int64{3, 100, 100_000}).Draw(rt, "spread")
		mount := func() {
			var err error
			if tm, err = NewTimers[string, int32](registry{}, Descriptor{Name: "t"}); err != nil {
				rt.Fatal(err)
			}
			rig = newCutRig(tm, d, func() map[string]string {
				all := map[string]string{}
				for e := range want {
					all[diskKey(flow.KeyGroupOf(hash(e.k), rigGroups), appendTimer(&tm.f, nil, e.at, &e.k, &e.n))] = "\x00"
				}
				return all
			})
			tm.p.chunk = rapid.SampledFrom([]int{2, 15, 1000}).Draw(rt, "chunk")
		}
		mount()
		draw := func() id {
			return id{rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(rt, "k"), rapid.Int32Range(-1, 0).Draw(rt, "n"),
				flow.Time(rapid.Int64Range(-spread, spread).Draw(rt, "at"))}
		}
		add := func(e id) {
			tm.Add(hash(e.k), e.k, e.n, e.at)
			want[e] = true
		}
		least := func() (at flow.Time, ok bool) {
			at = flow.MaxTime
			for e := range want {
				at = min(at, e.at)
			}
			return at, len(want) > 0
		}
		pop := func(upTo flow.Time) bool {
			first, some := least()
			h, k, n, at, ok := tm.Pop(upTo)
			if ok != (some && first <= upTo) {
				rt.Fatalf("Pop(%v) gives %v, %v of %v", upTo, at, ok, want)
			}
			if !ok {
				return false
			}
			if at != first || !want[id{k, n, at}] || h != hash(k) {
				rt.Fatalf("Pop(%v) gives %v of %v", upTo, id{k, n, at}, want)
			}
			delete(want, id{k, n, at})
			return true
		}
		for range rapid.IntRange(0, 100).Draw(rt, "calls") {
			switch rapid.SampledFrom([]string{"add", "add", "add", "many", "pop", "pop all", "delete", "each", "next", "step", "step", "step", "step", "again"}).Draw(rt, "call") {
			case "add":
				add(draw())
			case "many":
				e := draw()
				for i := range flow.Time(rapid.SampledFrom([]int64{20, 90}).Draw(rt, "n")) {
					add(id{e.k, e.n, e.at + i*7})
				}
			case "pop":
				upTo := draw().at
				for range rapid.IntRange(1, 40).Draw(rt, "n") {
					pop(upTo)
				}
			case "pop all":
				if rapid.IntRange(0, 4).Draw(rt, "really") == 0 {
					for pop(flow.MaxTime) {
					}
				}
			case "delete":
				e := draw()
				if got := tm.Delete(hash(e.k), e.k, e.n, e.at); got != want[e] {
					rt.Fatalf("Delete(%v) is %v", e, got)
				}
				delete(want, e)
			case "each":
				got := map[id]bool{}
				tm.Each(func(h flow.Hash, k string, n int32, at flow.Time) bool {
					if got[id{k, n, at}] || h != hash(k) {
						rt.Fatalf("Each gives %v twice, or with the hash %x", id{k, n, at}, h)
					}
					got[id{k, n, at}] = true
					return true
				})
				if !maps.Equal(got, want) {
					rt.Fatalf("Each gives %v, want %v", got, want)
				}
			case "next":
				first, some := least()
				if at, ok := tm.Next(); ok != some || ok && at != first {
					rt.Fatalf("Next is %v, %v; want %v", at, ok, first)
				}
			case "step":
				rig.step(rt)
				if rapid.IntRange(0, 9).Draw(rt, "renumber") == 0 {
					tm.renumber()
					tm.sweep()
					tm.renumberLists()
				}
			case "again":
				rig.finish(rt)
				mount()
			}
			if tm.Len() < len(want) {
				rt.Fatalf("Len is %d, want %d at least", tm.Len(), len(want))
			}
			checkTimerPages(rt, tm)
		}
		rig.finish(rt)
		for pop(flow.MaxTime) {
		}
		if tm.Len() != 0 {
			rt.Fatalf("Len is %d when all have fired", tm.Len())
		}
		rig.finish(rt)
		if len(tm.dirtyOrGone()) > 0 {
			rt.Fatalf("%d timers are left when all is on disk", len(tm.dirtyOrGone()))
		}
	})
}

func (t *Timers[K, N]) dirtyOrGone() (left []uint32) {
	for i, m := range t.p.marks {
		if m&(dirty|gone) != 0 {
			left = append(left, uint32(i))
		}
	}
	return left
}

func checkTimerPages[K, N comparable](t *rapid.T, tm *Timers[K, N]) {
	p := tm.p
	here := 0
	tm.known.each(func(_ flow.Hash, e *slot[K, timerID[N], uint32]) bool {
		if p.ats[e.v] != e.n.at || tm.timers[e.v].k != e.k || tm.timers[e.v].n != e.n.n {
			t.Fatalf("timer %d is another than the one known", e.v)
		}
		if p.marks[e.v]&gone == 0 {
			here++
		}
		return true
	})
	linked := 0
	for _, d := range tm.heap {
		for j := tm.lists[d.list].head; j != none; j = tm.timers[j].next {
			if p.marks[j]&gone != 0 || p.ats[j] != d.at || tm.timers[j].list != d.list {
				t.Fatalf("timer %d is in the wrong list, or gone", j)
			}
			linked++
		}
	}
	if int64(here) != p.here || linked != here {
		t.Fatalf("%d timers are here, %d in lists, said to be %d", here, linked, p.here)
	}
	lists := map[mark]map[uint32]bool{p.cur: {}, p.cur ^ dirty: {}}
	put := func(bit mark, list []uint32) {
		for _, i := range list {
			if lists[bit][i] {
				t.Fatalf("timer %d is listed twice", i)
			}
			lists[bit][i] = true
		}
	}
	put(p.cur, p.dirtied)
	if p.from != 0 {
		put(p.from, p.leaving[p.next:])
	} else if len(p.leaving) > 0 {
		t.Fatalf("%d timers are listed and nothing is drained", len(p.leaving))
	}
	for i, m := range p.marks {
		for _, bit := range []mark{p.cur, p.cur ^ dirty} {
			if m&bit != 0 && !lists[bit][uint32(i)] || (m&listing(bit) != 0) != lists[bit][uint32(i)] {
				t.Fatalf("timer %d has marks %08b and is listed %v", i, m, lists[bit][uint32(i)])
			}
		}
	}
}
