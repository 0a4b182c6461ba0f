package state

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
)

// keeper is a store as far as a state must have one to be declared; a disk is
// mounted by the test.
type keeper struct {
	registry
	r *Resident
}

func (k keeper) Register(r Resident) error { *k.r = r; return nil }

func (keeper) KeyGroups() flow.KeyGroupRange { return flow.KeyGroupRange{End: rigGroups} }

// aged is a value with the time at which it is to be seen no more.
type aged[V any] struct {
	v       V
	expires flow.Time
}

// TestTTL runs values, lists, maps and folds with a time to live against plain maps,
// with and without a disk, while the clock goes on and sweeps are made.
func TestTTL(t *testing.T) {
	hash, err := keyhash.For[string]()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"value", "list", "map", "reducing", "aggregating"} {
		t.Run(kind, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				clock := flow.Time(1_000_000)
				o := Options[int]{TTL: TTL{After: 100 * time.Microsecond}, Clock: func() flow.Time { return clock }}
				if rapid.Bool().Draw(rt, "on read") {
					o.TTL.Update = OnReadAndWrite
				}
				var cur Current[string]
				s := &ttlSubject{kind: kind, want: map[string]aged[[]int]{}, cur: &cur, o: o, clock: &clock}
				s.declare(rt)
				disk := rapid.Bool().Draw(rt, "disk")
				d := &mapDisk{m: map[string]string{}}
				rig := &cutRig{}
				if disk {
					rig = newCutRig(s.r.(Paged), d, nil)
				}
				for range rapid.IntRange(1, 150).Draw(rt, "calls") {
					clock += flow.Time(rapid.SampledFrom([]int{0, 0, 1, 30, 101}).Draw(rt, "time"))
					k := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(rt, "k")
					cur = Current[string]{Hash: hash(k), Key: k}
					switch rapid.SampledFrom([]string{"call", "call", "call", "sweep", "step", "step", "load"}).Draw(rt, "do") {
					case "call":
						s.call(rt, k)
					case "sweep":
						s.sweep()
					case "step":
						if disk {
							rig.step(rt)
						}
					case "load":
						if !disk {
							s.reload(rt)
						}
					}
				}
				if !disk {
					return
				}
				// Whatever has expired is gone from memory and disk after a pass or two.
				clock += 1000
				for range 3 {
					clock += 101
					s.sweep()
					rig.finish(rt)
				}
				if n := s.r.(Paged).Entries(); n != 0 || len(d.m) != 0 {
					rt.Fatalf("%d entries, %d on disk, when all has expired", n, len(d.m))
				}
			})
		})
	}
}

// ttlSubject is a state of one kind; lists and maps have keys that are numbers.
type ttlSubject struct {
	kind  string
	cur   *Current[string]
	o     Options[int]
	clock *flow.Time
	r     Resident
	want  map[string]aged[[]int] // maps: by key and number; else all values
	v     Value[int]
	l     List[int]
	m     Map[int, int]
	red   Reducing[int]
	agg   Aggregating[int, int]
}

func (s *ttlSubject) declare(rt *rapid.T) {
	var err error
	k := keeper{r: &s.r}
	d := Descriptor{Operator: "op", Name: "s"}
	switch s.kind {
	case "value":
		s.v, err = NewValue(k, d, s.cur, s.o)
	case "list":
		s.l, err = NewList(k, d, s.cur, s.o)
	case "map":
		s.m, err = NewMap[string, int](k, d, s.cur, s.o)
	case "reducing":
		s.red, err = NewReducing(k, d, s.cur, s.o, func(a, b int) int { return a + b })
	case "aggregating":
		s.agg, err = NewAggregating(k, d, s.cur, s.o, func(a *int, v int) { *a += v }, func(a *int) int { return *a })
	}
	if err != nil {
		rt.Fatal(err)
	}
}

func (s *ttlSubject) sweep() {
	w := s.r.(Sweeper)
	for w.Sweep(3) {
	}
}

// reload takes the state through its stored form.
func (s *ttlSubject) reload(rt *rapid.T) {
	old := s.r
	z, err := old.Freeze(rigGroups, flow.KeyGroupRange{End: rigGroups})
	if err != nil {
		rt.Fatal(err)
	}
	s.declare(rt)
	l, err := s.r.Loader(rigGroups, old.Schema())
	if err != nil {
		rt.Fatal(err)
	}
	for g := range flow.KeyGroup(rigGroups) {
		if err := z.Each(g, func(key, value []byte) error { return l.Load(g, key, value) }); err != nil {
			rt.Fatal(err)
		}
	}
	l.Done()
}

// live is the model's value, nil if it has expired.
func (s *ttlSubject) live(at string) []int {
	if a, ok := s.want[at]; ok && a.expires > *s.clock {
		return a.v
	}
	delete(s.want, at)
	return nil
}

func (s *ttlSubject) write(at string, v []int) {
	if len(v) == 0 {
		delete(s.want, at)
		return
	}
	s.want[at] = aged[[]int]{v, *s.clock + flow.Span(s.o.TTL.After)}
}

func (s *ttlSubject) read(at string) []int {
	v := s.live(at)
	if v != nil && s.o.TTL.Update == OnReadAndWrite {
		s.write(at, v)
	}
	return v
}

func (s *ttlSubject) call(t *rapid.T, k string) {
	n := rapid.IntRange(0, 9).Draw(t, "n")
	op := rapid.SampledFrom([]string{"get", "set", "add", "clear"}).Draw(t, "op")
	same := func(what string, got []int, want []int) {
		if !slices.Equal(got, want) {
			t.Fatalf("%s of %q at %d is %v, want %v; all %v", what, k, *s.clock, got, want, s.want)
		}
	}
	one := func(v int, ok bool) []int {
		if !ok {
			return nil
		}
		return []int{v}
	}
	sum := func(v []int) []int { return []int{n + append(slices.Clone(v), 0)[0]} }
	switch s.kind + " " + op {
	case "value get", "value add":
		same("Get", one(s.v.Get()), s.read(k))
	case "value set":
		s.v.Set(n)
		s.write(k, []int{n})
	case "value clear":
		s.v.Clear()
		s.write(k, nil)
	case "list get":
		same("Get", s.l.Get(), s.read(k))
	case "list add":
		s.l.Append(n, n+1)
		s.write(k, append(slices.Clone(s.live(k)), n, n+1))
	case "list set":
		v := []int{1, 2, 3}[:n%4]
		s.l.Set(v)
		s.write(k, slices.Clone(v))
	case "list clear":
		s.l.Clear()
		s.write(k, nil)
	case "map get":
		at := fmt.Sprint(k, n)
		same("Get", one(s.m.Get(n)), s.read(at))
	case "map add":
		at := fmt.Sprint(k, n)
		if got, want := s.m.Delete(n), s.live(at) != nil; got != want {
			t.Fatalf("Delete(%s) is %v, want %v", at, got, want)
		}
		s.write(at, nil)
	case "map set":
		s.m.Set(n, n)
		s.write(fmt.Sprint(k, n), []int{n})
	case "map clear":
		s.mapClear(t, k, n)
	case "reducing get", "reducing set":
		same("Get", one(s.red.Get()), s.read(k))
	case "reducing add":
		s.red.Add(n)
		s.write(k, sum(s.live(k)))
	case "reducing clear":
		s.red.Clear()
		s.write(k, nil)
	case "aggregating get", "aggregating set":
		same("Get", one(s.agg.Get()), s.read(k))
	case "aggregating add":
		s.agg.Add(n)
		s.write(k, sum(s.live(k)))
	case "aggregating clear":
		s.agg.Clear()
		s.write(k, nil)
	}
}

// mapClear looks at the whole map, and clears it sometimes.
func (s *ttlSubject) mapClear(t *rapid.T, k string, n int) {
	want := map[int]int{}
	for i := range 10 {
		if v := s.live(fmt.Sprint(k, i)); v != nil {
			want[i] = v[0]
		}
	}
	if got := s.m.Len(); got != len(want) {
		t.Fatalf("Len is %d, want %d", got, len(want))
	}
	got := map[int]int{}
	s.m.Each(func(u, v int) bool { got[u] = v; s.read(fmt.Sprint(k, u)); return true })
	if !maps.Equal(got, want) {
		t.Fatalf("Each gives %v, want %v", got, want)
	}
	if n < 5 {
		s.m.Clear()
		for i := range 10 {
			s.write(fmt.Sprint(k, i), nil)
		}
	}
}
