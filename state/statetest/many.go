package statetest

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/invariants"
	"github.com/weirflow/weir/state"
)

// testMany takes a state through the sizes at which tables grow and split, and
// empties it again.
func testMany(t *testing.T, open Open) {
	keys := uint64(150_000)
	if invariants.Race {
		keys = 45_000 // Pebble notes the stack of each lookup then; a segment of a table splits all the same
	}
	hash := hashOf[uint64]
	s := open(t, flow.DefaultMaxParallelism, all(flow.DefaultMaxParallelism))
	declare := func(s state.Store) *state.Cells[uint64, window, int64] {
		return must(state.NewCells[uint64, window, int64](s, desc("many")))
	}
	c := declare(s)
	model := map[kn[uint64, window]]int64{}
	r := rand.New(rand.NewPCG(7, 7))
	small := s.Bytes()
	for i := range 3 * keys {
		k, w := r.Uint64N(keys), window{flow.Time(r.IntN(2)), 5}
		if r.IntN(5) == 0 {
			_, had := model[kn[uint64, window]{k, w}]
			if got := c.Delete(hash(k), k, w); got != had {
				t.Fatalf("call %d: Delete(%d) = %v", i, k, got)
			}
			delete(model, kn[uint64, window]{k, w})
			continue
		}
		v, _ := c.Ref(hash(k), k, w)
		*v += int64(i)
		model[kn[uint64, window]{k, w}] += int64(i)
	}
	same := func(c *state.Cells[uint64, window, int64], model map[kn[uint64, window]]int64) {
		t.Helper()
		if c.Len() != len(model) {
			t.Fatalf("%d cells, want %d", c.Len(), len(model))
		}
		c.Each(func(_ flow.Hash, k uint64, w window, v *int64) bool {
			if got, ok := model[kn[uint64, window]{k, w}]; !ok || got != *v {
				t.Fatalf("cell (%d, %v) is %d, want %d", k, w, *v, got)
			}
			return true
		})
		for e, v := range model {
			if p := c.Find(hash(e.k), e.k, e.n); p == nil || *p != v {
				t.Fatalf("Find(%v) = %v, want %d", e, p, v)
			}
		}
	}
	same(c, model)
	big := s.Bytes()
	if big < int64(len(model))*32 {
		t.Errorf("%d cells of 32 bytes are said to take %d bytes", len(model), big)
	}
	snap := func() []byte {
		return must(save(s))
	}
	b := snap()
	half := open(t, flow.DefaultMaxParallelism, flow.RangeOf(flow.DefaultMaxParallelism, 2, 1))
	if err := load(half, b); err != nil {
		t.Fatal(err)
	}
	hc := declare(half)
	halfModel := map[kn[uint64, window]]int64{}
	for e, v := range model {
		if half.KeyGroups().Contains(flow.KeyGroupOf(hash(e.k), flow.DefaultMaxParallelism)) {
			halfModel[e] = v
		}
	}
	same(hc, halfModel)
	for e := range model {
		if !c.Delete(hash(e.k), e.k, e.n) {
			t.Fatalf("Delete(%v) does not find it", e)
		}
	}
	clear(model)
	same(c, model)
	snap() // two, as memory that was needed since the last is kept
	snap()
	if now := s.Bytes(); now > small+big/16 {
		t.Errorf("empty again, it takes %d bytes; full it took %d, new %d", now, big, small)
	}
	c.Put(hash(1), 1, window{}, 1)
	same(c, map[kn[uint64, window]]int64{{1, window{}}: 1})
}

func testHandles(t *testing.T, open Open) {
	s := open(t, 4, all(4))
	var cur state.Current[string]
	v := state.BindValue(&cur, must(state.NewCells[string, struct{}, int](s, desc("value"))))
	l := state.BindList(&cur, must(state.NewLists[string, int](s, desc("list"))))
	m := state.BindMap(&cur, must(state.NewMaps[string, string, int](s, desc("map"))))
	r := state.BindReducing(&cur, must(state.NewCells[string, struct{}, int](s, desc("reducing"))), func(a, b int) int { return max(a, b) })
	type mean struct{ Sum, N int }
	a := state.BindAggregating(&cur, must(state.NewCells[string, struct{}, mean](s, desc("aggregating"))),
		func(m *mean, v int) { m.Sum += v; m.N++ }, func(m *mean) float64 { return float64(m.Sum) / float64(m.N) })
	at := func(k string) { cur = state.Current[string]{Hash: hashOf(k), Key: k} }
	at("a")
	v.Set(3)
	l.Append(1, 2)
	l.Append(3)
	m.Set("x", 1)
	m.Set("y", 2)
	r.Add(-5)
	r.Add(-7)
	a.Add(1)
	a.Add(2)
	at("b")
	_, hasValue := v.Get()
	_, hasMax := r.Get()
	_, hasMean := a.Get()
	if hasValue || hasMax || hasMean || len(l.Get()) > 0 || m.Len() > 0 {
		t.Error("another key sees the state")
	}
	at("a")
	if got, ok := v.Get(); got != 3 || !ok {
		t.Errorf("value %d, %v", got, ok)
	}
	if got := l.Get(); len(got) != 3 || got[2] != 3 {
		t.Errorf("list %v", got)
	}
	sum := 0
	m.Each(func(_ string, v int) bool { sum += v; return true })
	if got, ok := m.Get("x"); got != 1 || !ok || sum != 3 || m.Len() != 2 || !m.Delete("x") || m.Delete("x") {
		t.Errorf("map: x is %d, %v, sum %d", got, ok, sum)
	}
	if got, ok := r.Get(); got != -5 || !ok {
		t.Errorf("reducing %d, %v", got, ok)
	}
	if got, ok := a.Get(); got != 1.5 || !ok {
		t.Errorf("aggregating %v, %v", got, ok)
	}
	l.Set([]int{9})
	if got := l.Get(); len(got) != 1 || got[0] != 9 {
		t.Errorf("list %v after Set", got)
	}
	v.Clear()
	l.Clear()
	m.Clear()
	r.Clear()
	a.Clear()
	_, hasValue = v.Get()
	_, hasMax = r.Get()
	_, hasMean = a.Get()
	if hasValue || hasMax || hasMean || len(l.Get()) > 0 || m.Len() > 0 {
		t.Error("state is there after Clear")
	}
}

func testRefused(t *testing.T, open Open) {
	s := open(t, 4, all(4))
	type bad struct{ Done chan int }
	_, err := state.NewCells[string, struct{}, bad](s, desc("bad"))
	if err == nil || !strings.Contains(err.Error(), `"bad" of op`) || !strings.Contains(err.Error(), "Done") {
		t.Errorf("a channel in a value: %v; want state and field named", err)
	}
	if _, err := state.NewLists[string, func()](s, desc("bad")); err == nil {
		t.Error("a function as value is taken")
	}
	if _, err := state.NewMaps[*int, string, int](s, desc("bad")); err == nil {
		t.Error("a pointer as key is taken")
	}
	must(state.NewTimers[string, struct{}](s, desc("twice")))
	if _, err := state.NewLists[string, int](s, desc("twice")); !errors.Is(err, state.ErrRegistered) {
		t.Errorf("two states of one name: %v", err)
	}
	if _, err := state.NewLists[string, int](s, state.Descriptor{Operator: "other", Name: "twice"}); err != nil {
		t.Errorf("one name in two operators: %v", err)
	}
	// A key that is not the task's must not vanish in a snapshot.
	part := open(t, 4, flow.KeyGroupRange{First: 1, End: 2})
	c := must(state.NewCells[uint64, struct{}, int](part, desc("cells")))
	for k := range uint64(20) {
		c.Put(hashOf(k), k, struct{}{}, 1)
	}
	if _, err := save(part); err == nil {
		t.Error("keys of other tasks are taken silently")
	}
}
