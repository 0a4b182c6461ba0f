package statetest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

func written(t *testing.T, open Open) []byte {
	t.Helper()
	type old struct {
		Gone  string
		Count int32
		Name  string
	}
	s := open(t, 8, all(8))
	c := must(state.NewCells[string, struct{}, old](s, desc("cells")))
	for _, k := range []string{"a", "b", "c"} {
		c.Put(hashOf(k), k, struct{}{}, old{"gone", int32(len(k)), "name of " + k})
	}
	l := must(state.NewLists[string, int](s, desc("lists")))
	l.Append(hashOf("a"), "a", 1, 2, 3)
	tm := must(state.NewTimers[string, struct{}](s, desc("timers")))
	tm.Add(hashOf("a"), "a", struct{}{}, 17)
	return must(save(s))
}

// testEvolution reads a snapshot with types that have changed.
func testEvolution(t *testing.T, open Open) {
	snap := written(t, open)
	type now struct {
		Name  string
		Count int64
		Added float64
	}
	s := open(t, 8, all(8))
	if err := load(s, snap); err != nil {
		t.Fatal(err)
	}
	c := must(state.NewCells[string, struct{}, now](s, desc("cells")))
	want := now{"name of b", 1, 0}
	if v := c.Find(hashOf("b"), "b", struct{}{}); v == nil || *v != want || c.Len() != 3 {
		t.Errorf("restored %v of %d, want %v of 3", v, c.Len(), want)
	}
	err := refusedBy(t, open(t, 8, all(8)), snap, func(s state.Store) (err error) {
		_, err = state.NewCells[string, struct{}, []int](s, desc("cells"))
		return err
	})
	if !errors.Is(err, state.ErrIncompatible) {
		t.Errorf("another type of value: %v", err)
	}
	err = refusedBy(t, open(t, 8, all(8)), snap, func(s state.Store) (err error) {
		_, err = state.NewLists[string, int](s, desc("cells"))
		return err
	})
	if !errors.Is(err, state.ErrIncompatible) {
		t.Errorf("another kind of state: %v", err)
	}
	if err := load(open(t, 9, all(9)), snap); !errors.Is(err, state.ErrIncompatible) {
		t.Errorf("another max parallelism: %v", err)
	}
}

// refusedBy restores and declares, and returns the error that the declaration gives
// and the store keeps.
func refusedBy(t *testing.T, s state.Store, snap []byte, declare func(state.Store) error) error {
	t.Helper()
	if err := load(s, snap); err != nil {
		t.Fatal(err)
	}
	err := declare(s)
	if err != nil && !errors.Is(s.Err(), err) {
		t.Errorf("the store's Err is %v after %v", s.Err(), err)
	}
	return err
}

// testUnclaimed carries states through a store whose program does not know them.
func testUnclaimed(t *testing.T, open Open) {
	s := open(t, 8, all(8))
	if err := load(s, written(t, open)); err != nil {
		t.Fatal(err)
	}
	l := must(state.NewLists[string, int](s, desc("lists")))
	l.Append(hashOf("a"), "a", 4)
	if u := s.Unclaimed(); len(u) != 2 || u[0].Name != "cells" || u[1].Name != "timers" {
		t.Errorf("unclaimed: %v", u)
	}
	b := must(save(s))
	s = open(t, 8, all(8))
	if err := load(s, b); err != nil {
		t.Fatal(err)
	}
	l = must(state.NewLists[string, int](s, desc("lists")))
	tm := must(state.NewTimers[string, struct{}](s, desc("timers")))
	if got := l.Get(hashOf("a"), "a"); len(got) != 4 {
		t.Errorf("list %v", got)
	}
	if _, k, _, at, ok := tm.Pop(flow.MaxTime); !ok || k != "a" || at != 17 {
		t.Errorf("timer %q at %v, %v", k, at, ok)
	}
	// The same key groups twice: two snapshots that do not belong together.
	s = open(t, 8, all(8))
	err := load(s, written(t, open), written(t, open))
	if err == nil {
		_, err = state.NewLists[string, int](s, desc("lists"))
	}
	if !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("restored twice: %v", err)
	}
}

// testDamaged cuts a snapshot off at each byte, and changes each byte.
func testDamaged(t *testing.T, open Open) {
	snap := written(t, open)
	refuse := func(b []byte, what string, at int) {
		t.Helper()
		s := open(t, 8, all(8))
		err := load(s, b)
		if err == nil {
			_, err = state.NewLists[string, int](s, desc("lists"))
		}
		if !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s at byte %d of %d: %v", what, at, len(snap), err)
		}
		if s.Err() == nil {
			t.Errorf("%s at byte %d: the store has no error", what, at)
		}
	}
	for i := range snap {
		refuse(snap[:i], "cut off", i)
		b := bytes.Clone(snap)
		b[i] ^= 0x10
		refuse(b, "changed", i)
	}
}
