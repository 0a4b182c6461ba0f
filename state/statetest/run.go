// Package statetest is the one suite that every backend of package state must
// pass. It compares each state with a plain Go map or slice under random calls,
// and carries it through snapshots to other numbers of tasks and back on the way.
//
//	func TestStore(t *testing.T) { statetest.Run(t, open) }
//
// Invariant: the suite knows nothing of a backend but the contract, so that what
// passes it can be put in the place of any other.
package statetest

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
	"github.com/weirflow/weir/state"
)

// Open makes an empty store.
type Open func(tb testing.TB, maxParallelism int, groups flow.KeyGroupRange) state.Store

// Run runs the suite.
func Run(t *testing.T, open Open) {
	t.Run("cells", func(t *testing.T) { testCells(t, open) })
	t.Run("lists", func(t *testing.T) { testLists(t, open) })
	t.Run("maps", func(t *testing.T) { testMaps(t, open) })
	t.Run("timers", func(t *testing.T) { testTimers(t, open) })
	t.Run("handles", func(t *testing.T) { testHandles(t, open) })
	t.Run("sizes", func(t *testing.T) { testSizes(t, open) })
	t.Run("many", func(t *testing.T) { testMany(t, open) })
	t.Run("refused", func(t *testing.T) { testRefused(t, open) })
	t.Run("evolution", func(t *testing.T) { testEvolution(t, open) })
	t.Run("unclaimed", func(t *testing.T) { testUnclaimed(t, open) })
	t.Run("lockstep", func(t *testing.T) { Lockstep(t, open) })
	t.Run("damaged", func(t *testing.T) { testDamaged(t, open) })
}

// window is the namespace that windows have.
type window struct{ Start, End flow.Time }

// place is a key of several fields.
type place struct {
	Country string
	Zip     int32
}

func desc(name string) state.Descriptor { return state.Descriptor{Operator: "op", Name: name} }

func all(maxParallelism int) flow.KeyGroupRange {
	return flow.KeyGroupRange{End: flow.KeyGroup(maxParallelism)}
}

// must stops a test by a panic: it serves testing.T and rapid.T alike.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func hashOf[K comparable](k K) flow.Hash { return must(keyhash.For[K]())(k) }

// subject is a state under test with the plain Go model of it.
type subject interface {
	// declare makes the state anew, in s.
	declare(s state.Store) error
	// call makes one random call of state and model and compares their answers.
	call(t *rapid.T)
	// check compares all that the state has with the model's part of groups.
	check(t *rapid.T, maxParallelism int, groups flow.KeyGroupRange)
}

// testSubject runs random calls, with rescaling in between.
func testSubject(t *testing.T, open Open, make func() subject) {
	rapid.Check(t, func(rt *rapid.T) {
		maxParallelism := rapid.SampledFrom([]int{1, 2, 7, 128, 1000}).Draw(rt, "max parallelism")
		sub := make()
		s := open(t, maxParallelism, all(maxParallelism))
		if err := sub.declare(s); err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 60).Draw(rt, "calls") {
				sub.call(rt)
			}
			sub.check(rt, maxParallelism, all(maxParallelism))
			s = rescale(rt, t, open, sub, s, maxParallelism)
			sub.check(rt, maxParallelism, all(maxParallelism))
		}
		if err := s.Err(); err != nil {
			rt.Fatal(err)
		}
		if err := s.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

// rescale carries the state to several tasks and back to one, whose store it
// returns.
func rescale(rt *rapid.T, t *testing.T, open Open, sub subject, s state.Store, maxParallelism int) state.Store {
	whole := snapshot(rt, s)
	tasks := rapid.IntRange(1, 5).Draw(rt, "tasks")
	var parts [][]byte
	for i := range tasks {
		groups := flow.RangeOf(maxParallelism, tasks, i)
		if groups.Len() == 0 {
			continue // fewer key groups than tasks
		}
		part := open(t, maxParallelism, groups)
		restore(rt, part, sub, whole)
		sub.check(rt, maxParallelism, groups)
		parts = append(parts, snapshot(rt, part))
		if err := part.Close(); err != nil {
			rt.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		rt.Fatal(err)
	}
	one := open(t, maxParallelism, all(maxParallelism))
	restore(rt, one, sub, parts...)
	return one
}

func snapshot(rt *rapid.T, s state.Store) []byte {
	b, err := save(s)
	if err != nil {
		rt.Fatal(err)
	}
	return b
}

func restore(rt *rapid.T, s state.Store, sub subject, parts ...[]byte) {
	if err := load(s, parts...); err != nil {
		rt.Fatal(err)
	}
	if err := sub.declare(s); err != nil {
		rt.Fatal(err)
	}
	if u := s.Unclaimed(); len(u) > 0 {
		rt.Fatalf("unclaimed: %v", u)
	}
}
