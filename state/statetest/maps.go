package statetest

import (
	"maps"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

type mapsSubject struct {
	c *state.Maps[uint32, int, string]
	m map[uint32]map[int]string
}

func testMaps(t *testing.T, open Open) {
	testSubject(t, open, func() subject { return &mapsSubject{m: map[uint32]map[int]string{}} })
}

func (s *mapsSubject) declare(st state.Store) (err error) {
	s.c, err = state.NewMaps[uint32, int, string](st, desc("maps"))
	return err
}

func (s *mapsSubject) call(t *rapid.T) {
	k := rapid.Uint32Range(0, 4).Draw(t, "k")
	u := rapid.IntRange(-3, 20).Draw(t, "u")
	h := hashOf(k)
	want, had := s.m[k][u]
	switch rapid.SampledFrom([]string{"put", "put", "fill", "get", "delete", "empty", "clear"}).Draw(t, "call") {
	case "put":
		v := rapid.StringN(0, 3, -1).Draw(t, "v")
		s.c.Put(h, k, u, v)
		s.put(k, u, v)
	case "fill": // enough to make an index of the entries worth while
		for i := range 40 {
			s.c.Put(h, k, u+i, "f")
			s.put(k, u+i, "f")
		}
	case "get":
		if v, ok := s.c.Get(h, k, u); v != want || ok != had {
			t.Fatalf("Get(%d, %d) = %q, %v; want %q, %v", k, u, v, ok, want, had)
		}
	case "delete":
		if got := s.c.Delete(h, k, u); got != had {
			t.Fatalf("Delete(%d, %d) = %v", k, u, got)
		}
		delete(s.m[k], u)
	case "empty": // one after the other
		for _, u := range sorted(s.m[k]) {
			if !s.c.Delete(h, k, u) {
				t.Fatalf("Delete(%d, %d) does not find it", k, u)
			}
		}
		delete(s.m, k)
	case "clear":
		s.c.Clear(h, k)
		delete(s.m, k)
	}
	if got := s.c.Len(h, k); got != len(s.m[k]) {
		t.Fatalf("Len(%d) is %d, want %d", k, got, len(s.m[k]))
	}
	got := map[int]string{}
	s.c.Each(h, k, func(u int, v string) bool {
		if _, twice := got[u]; twice {
			t.Fatalf("Each gives %d twice", u)
		}
		got[u] = v
		return true
	})
	if !maps.Equal(got, s.m[k]) {
		t.Fatalf("map of %d: %v\nwant %v", k, got, s.m[k])
	}
	if len(s.m[k]) == 0 {
		delete(s.m, k)
	}
}

func (s *mapsSubject) put(k uint32, u int, v string) {
	if s.m[k] == nil {
		s.m[k] = map[int]string{}
	}
	s.m[k][u] = v
}

func sorted(m map[int]string) (us []int) {
	for u := -3; u < 100; u++ {
		if _, ok := m[u]; ok {
			us = append(us, u)
		}
	}
	return us
}

func (s *mapsSubject) check(t *rapid.T, maxParallelism int, groups flow.KeyGroupRange) {
	want, n := map[uint32]map[int]string{}, 0
	for k, m := range s.m {
		if groups.Contains(flow.KeyGroupOf(hashOf(k), maxParallelism)) {
			want[k] = m
			n += len(m)
		}
	}
	got := map[uint32]map[int]string{}
	s.c.EachKey(func(h flow.Hash, k uint32) bool {
		got[k] = map[int]string{}
		s.c.Each(h, k, func(u int, v string) bool { got[k][u] = v; return true })
		return true
	})
	if !reflect.DeepEqual(got, want) || s.c.Entries() != int64(n) {
		t.Fatalf("maps %v (%d)\nwant %v", got, s.c.Entries(), want)
	}
}
