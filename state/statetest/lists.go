package statetest

import (
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

type listsSubject struct {
	l *state.Lists[string, string]
	m map[string][]string
}

func testLists(t *testing.T, open Open) {
	testSubject(t, open, func() subject { return &listsSubject{m: map[string][]string{}} })
}

func (s *listsSubject) declare(st state.Store) (err error) {
	s.l, err = state.NewLists[string, string](st, desc("lists"))
	return err
}

func (s *listsSubject) call(t *rapid.T) {
	k := rapid.SampledFrom([]string{"", "a", "b", "c", "d"}).Draw(t, "k")
	h := hashOf(k)
	switch rapid.SampledFrom([]string{"append", "append", "set", "cut", "get", "delete"}).Draw(t, "call") {
	case "append":
		v := rapid.SliceOfN(rapid.String(), 0, 5).Draw(t, "v")
		s.l.Append(h, k, v...)
		s.m[k] = append(s.m[k], v...)
	case "set":
		v := rapid.SliceOfN(rapid.String(), 0, 5).Draw(t, "v")
		s.l.Set(h, k, v)
		s.m[k] = slices.Clone(v)
	case "cut":
		// Dropping the oldest values: Set with a part of what Get lent.
		n := rapid.IntRange(0, len(s.m[k])).Draw(t, "n")
		s.l.Set(h, k, s.l.Get(h, k)[n:])
		s.m[k] = s.m[k][n:]
	case "get":
		if got := s.l.Get(h, k); !slices.Equal(got, s.m[k]) {
			t.Fatalf("Get(%q) = %q, want %q", k, got, s.m[k])
		}
	case "delete":
		if got := s.l.Delete(h, k); got != (len(s.m[k]) > 0) {
			t.Fatalf("Delete(%q) = %v", k, got)
		}
		delete(s.m, k)
	}
	if len(s.m[k]) == 0 {
		delete(s.m, k)
	}
}

func (s *listsSubject) check(t *rapid.T, maxParallelism int, groups flow.KeyGroupRange) {
	want := map[string][]string{}
	for k, v := range s.m {
		if groups.Contains(flow.KeyGroupOf(hashOf(k), maxParallelism)) {
			want[k] = v
		}
	}
	got := map[string][]string{}
	s.l.Each(func(h flow.Hash, k string, v []string) bool {
		got[k] = slices.Clone(v)
		return true
	})
	if !reflect.DeepEqual(got, want) || s.l.Len() != len(want) {
		t.Fatalf("lists %q (%d)\nwant  %q", got, s.l.Len(), want)
	}
}
