package statetest

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

type timer struct {
	k  string
	n  window
	at flow.Time
}

// timersSubject has a slice sorted by time for a model.
type timersSubject struct {
	t *state.Timers[string, window]
	m []timer
}

func testTimers(t *testing.T, open Open) {
	testSubject(t, open, func() subject { return &timersSubject{} })
}

func (s *timersSubject) declare(st state.Store) (err error) {
	s.t, err = state.NewTimers[string, window](st, desc("timers"))
	return err
}

func (s *timersSubject) call(t *rapid.T) {
	switch rapid.SampledFrom([]string{"add", "add", "add", "delete", "pop", "burst"}).Draw(t, "call") {
	case "add":
		e := drawTimer(t)
		had := slices.Contains(s.m, e)
		s.t.Add(hashOf(e.k), e.k, e.n, e.at)
		if !had {
			s.insert(e)
		}
	case "burst": // many lists, most of which are emptied again
		start := flow.Time(rapid.SampledFrom([]int64{-500, 1000}).Draw(t, "start"))
		kept := flow.Time(rapid.Int64Range(0, 9).Draw(t, "kept"))
		for i := range flow.Time(200) {
			e := timer{"burst", window{}, start + i*7%200}
			s.t.Add(hashOf(e.k), e.k, e.n, e.at)
			if !slices.Contains(s.m, e) {
				s.insert(e)
			}
		}
		for i := range flow.Time(200) {
			if e := (timer{"burst", window{}, start + i*3%200}); i%10 != kept {
				s.delete(t, e)
			}
		}
	case "delete":
		s.delete(t, drawTimer(t))
	case "pop":
		upTo := flow.Time(rapid.SampledFrom([]int64{-3, 0, 2, 5, 1100, int64(flow.MaxTime)}).Draw(t, "up to"))
		for range rapid.IntRange(1, 5).Draw(t, "n") {
			s.pop(t, upTo)
		}
	}
	at, ok := s.t.Next()
	if ok != (len(s.m) > 0) || ok && at != s.m[0].at {
		t.Fatalf("Next is %v, %v; timers %v", at, ok, s.m)
	}
	if s.t.Len() < len(s.m) {
		t.Fatalf("Len is %d, want %d at least", s.t.Len(), len(s.m))
	}
}

func drawTimer(t *rapid.T) timer {
	return timer{
		k:  rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "k"),
		n:  window{0, flow.Time(rapid.Int64Range(0, 1).Draw(t, "n"))},
		at: flow.Time(rapid.SampledFrom([]int64{int64(flow.MinTime), -3, 0, 1, 2, 3, int64(flow.MaxTime)}).Draw(t, "at")),
	}
}

func (s *timersSubject) insert(e timer) {
	i, _ := slices.BinarySearchFunc(s.m, e.at, func(o timer, at flow.Time) int {
		if o.at <= at {
			return -1
		}
		return 1
	})
	s.m = slices.Insert(s.m, i, e)
}

func (s *timersSubject) delete(t *rapid.T, e timer) {
	i := slices.Index(s.m, e)
	if got := s.t.Delete(hashOf(e.k), e.k, e.n, e.at); got != (i >= 0) {
		t.Fatalf("Delete(%v) = %v", e, got)
	}
	if i >= 0 {
		s.m = slices.Delete(s.m, i, i+1)
	}
}

func (s *timersSubject) pop(t *rapid.T, upTo flow.Time) {
	h, k, n, at, ok := s.t.Pop(upTo)
	if want := len(s.m) > 0 && s.m[0].at <= upTo; ok != want {
		t.Fatalf("Pop(%v) gives %v, timers %v", upTo, ok, s.m)
	}
	if !ok {
		return
	}
	i := slices.Index(s.m, timer{k, n, at})
	if i < 0 || at != s.m[0].at || h != hashOf(k) {
		t.Fatalf("Pop(%v) gives %v (hash %x), timers %v", upTo, timer{k, n, at}, h, s.m)
	}
	s.m = slices.Delete(s.m, i, i+1)
}

// check compares what there is. Timers come by time; those of one time in any order.
func (s *timersSubject) check(t *rapid.T, maxParallelism int, groups flow.KeyGroupRange) {
	var want []timer
	for _, e := range s.m {
		if groups.Contains(flow.KeyGroupOf(hashOf(e.k), maxParallelism)) {
			want = append(want, e)
		}
	}
	var all, got []timer
	s.t.Each(func(h flow.Hash, k string, n window, at flow.Time) bool {
		if h != hashOf(k) {
			t.Fatalf("Each gives %q the hash %x, want %x", k, h, hashOf(k))
		}
		all = append(all, timer{k, n, at})
		return true
	})
	for {
		_, k, n, at, ok := s.t.Pop(flow.MaxTime)
		if !ok {
			break
		}
		got = append(got, timer{k, n, at})
	}
	for _, e := range got {
		s.t.Add(hashOf(e.k), e.k, e.n, e.at)
	}
	if !slices.IsSortedFunc(got, func(a, b timer) int { return cmp.Compare(a.at, b.at) }) {
		t.Fatalf("timers out of order: %v", got)
	}
	slices.SortFunc(want, compareTimers)
	slices.SortFunc(got, compareTimers)
	slices.SortFunc(all, compareTimers)
	if !slices.Equal(got, want) || !slices.Equal(all, want) {
		t.Fatalf("timers %v\nEach   %v\nwant   %v", got, all, want)
	}
}

func compareTimers(a, b timer) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.k, b.k), cmp.Compare(a.n.End, b.n.End), cmp.Compare(a.n.Start, b.n.Start))
}
