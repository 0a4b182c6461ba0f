package statetest

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// kn is a key and a namespace.
type kn[K, N comparable] struct {
	k K
	n N
}

type cellsSubject[K, N comparable, V any] struct {
	c    *state.Cells[K, N, V]
	m    map[kn[K, N]]V
	keys *rapid.Generator[K]
	ns   *rapid.Generator[N]
	vals *rapid.Generator[V]
}

type reading struct {
	Name  string
	At    flow.Time
	Parts []float64
	Tags  map[string]int
}

func testCells(t *testing.T, open Open) {
	numbers := rapid.Uint64Range(0, 20)
	none := rapid.Just(struct{}{})
	windows := rapid.Custom(func(t *rapid.T) window {
		s := flow.Time(rapid.IntRange(-2, 2).Draw(t, "start"))
		return window{s, s + 10}
	})
	places := rapid.Custom(func(t *rapid.T) place {
		return place{rapid.SampledFrom([]string{"", "de", "fr"}).Draw(t, "country"), rapid.Int32Range(0, 3).Draw(t, "zip")}
	})
	words := rapid.SampledFrom([]string{"", "a", "b", "a longer one"})
	readings := rapid.Custom(func(t *rapid.T) reading {
		return reading{Name: words.Draw(t, "name"), At: flow.Time(rapid.Int64().Draw(t, "at")),
			Parts: rapid.SliceOfN(rapid.Float64Range(-1, 1), 1, 3).Draw(t, "parts"),
			Tags:  rapid.MapOfN(words, rapid.Int(), 1, 3).Draw(t, "tags")}
	})
	t.Run("number", func(t *testing.T) { testCellsOf(t, open, numbers, none, rapid.Int64()) })
	t.Run("text", func(t *testing.T) { testCellsOf(t, open, words, none, words) })
	t.Run("window", func(t *testing.T) { testCellsOf(t, open, numbers, windows, rapid.Float64()) })
	t.Run("struct", func(t *testing.T) { testCellsOf(t, open, places, words, readings) })
	t.Run("set", func(t *testing.T) { testCellsOf(t, open, words, rapid.Int64Range(0, 3), none) })
}

func testCellsOf[K, N comparable, V any](t *testing.T, open Open, k *rapid.Generator[K], n *rapid.Generator[N], v *rapid.Generator[V]) {
	testSubject(t, open, func() subject {
		return &cellsSubject[K, N, V]{m: map[kn[K, N]]V{}, keys: k, ns: n, vals: v}
	})
}

func (s *cellsSubject[K, N, V]) declare(st state.Store) (err error) {
	s.c, err = state.NewCells[K, N, V](st, desc("cells"))
	return err
}

func (s *cellsSubject[K, N, V]) call(t *rapid.T) {
	k, n := s.keys.Draw(t, "k"), s.ns.Draw(t, "n")
	h := hashOf(k)
	want, had := s.m[kn[K, N]{k, n}]
	switch rapid.SampledFrom([]string{"put", "ref", "find", "delete"}).Draw(t, "call") {
	case "put":
		v := s.vals.Draw(t, "v")
		s.c.Put(h, k, n, v)
		s.m[kn[K, N]{k, n}] = v
	case "ref":
		v := s.vals.Draw(t, "v")
		p, fresh := s.c.Ref(h, k, n)
		if fresh == had || !reflect.DeepEqual(*p, want) {
			t.Fatalf("Ref(%v, %v) = %v, %v; want %v, %v", k, n, *p, fresh, want, !had)
		}
		*p = v
		s.m[kn[K, N]{k, n}] = v
	case "find":
		p := s.c.Find(h, k, n)
		if (p != nil) != had || had && !reflect.DeepEqual(*p, want) {
			t.Fatalf("Find(%v, %v) = %v; want %v, %v", k, n, p, want, had)
		}
	case "delete":
		if got := s.c.Delete(h, k, n); got != had {
			t.Fatalf("Delete(%v, %v) = %v", k, n, got)
		}
		delete(s.m, kn[K, N]{k, n})
	}
	if s.c.Len() != len(s.m) {
		t.Fatalf("Len is %d, want %d", s.c.Len(), len(s.m))
	}
}

func (s *cellsSubject[K, N, V]) check(t *rapid.T, maxParallelism int, groups flow.KeyGroupRange) {
	want := map[kn[K, N]]V{}
	for e, v := range s.m {
		if groups.Contains(flow.KeyGroupOf(hashOf(e.k), maxParallelism)) {
			want[e] = v
		}
	}
	got := map[kn[K, N]]V{}
	s.c.Each(func(h flow.Hash, k K, n N, v *V) bool {
		if h != hashOf(k) {
			t.Fatalf("Each gives %v the hash %x, want %x", k, h, hashOf(k))
		}
		if _, twice := got[kn[K, N]{k, n}]; twice {
			t.Fatalf("Each gives (%v, %v) twice", k, n)
		}
		got[kn[K, N]{k, n}] = *v
		return true
	})
	if !reflect.DeepEqual(got, want) || s.c.Len() != len(want) {
		t.Fatalf("cells %v (%d)\nwant  %v", got, s.c.Len(), want)
	}
	for e, v := range want {
		if p := s.c.Find(hashOf(e.k), e.k, e.n); p == nil || !reflect.DeepEqual(*p, v) {
			t.Fatalf("Find(%v) = %v, want %v", e, p, v)
		}
	}
	calls := 0
	s.c.Each(func(flow.Hash, K, N, *V) bool { calls++; return false })
	if calls > 1 {
		t.Fatal("Each goes on after false")
	}
}
