package sourcetest

import (
	"math/rand/v2"
	"slices"

	"github.com/weirflow/weir/operator"
)

// Resume checks that a source which is stopped after any number of records, and
// gone on with by another number of readers, gives exactly the records of each
// split that are left. It reads the source once for each record; n is the number
// of stops to try, from 0 records on.
func Resume[T comparable](t TB, src operator.Source[T], n int) {
	t.Helper()
	whole := Start(t, src, Options{}, nil)
	whole.ReadAll()
	whole.Close()
	want := whole.BySplit()
	for stop := range n {
		first := Start(t, src, Options{Readers: 1 + stop%3, Seed: uint64(stop), Max: 1 + stop%7}, nil)
		first.Read(stop)
		state := first.Snapshot()
		first.Close()
		second := Start(t, src, Options{Readers: 1 + stop%4, Seed: uint64(stop), Max: 1 + stop%5}, state)
		second.ReadAll()
		second.Close()
		got := first.BySplit()
		for split, values := range second.BySplit() {
			got[split] = append(got[split], values...)
		}
		if len(got) != len(want) {
			t.Fatalf("stopped at %d: %d splits with records, want %d", stop, len(got), len(want))
		}
		for split := range want {
			if !slices.Equal(got[split], want[split]) {
				t.Fatalf("stopped at %d: split %q gave %v, want %v", stop, split, got[split], want[split])
			}
		}
	}
}

// Survive checks that a source loses and doubles nothing over failures. For each
// seed it reads the source with any number of readers, takes epochs on the way, and
// drops the job some reads after one; the next job goes on from there with another
// number of readers. o is for what all jobs have in common.
func Survive[T comparable](t TB, src operator.Source[T], seeds int, o Options) {
	t.Helper()
	whole := Start(t, src, o, nil)
	whole.ReadAll()
	whole.Close()
	want := whole.BySplit()
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, 2))
		got := map[string][]T{}
		var state *State
		for failures := rng.IntN(6); ; failures-- {
			o.Readers, o.Seed, o.Max = 1+rng.IntN(4), rng.Uint64(), 1+rng.IntN(8)
			j := Start(t, src, o, state)
			if failures <= 0 {
				j.ReadAll()
			} else {
				j.Read(rng.IntN(2 + len(whole.Records)/2))
				state = j.Cut(rng.IntN(8))
			}
			kept := len(j.Records)
			if failures > 0 && !j.Ended() {
				j.Read(kept + rng.IntN(8)) // lost with the failure
			}
			j.Close()
			for _, r := range j.Records[:kept] {
				got[r.Split] = append(got[r.Split], r.Value)
			}
			if failures <= 0 {
				break
			}
		}
		if len(got) != len(want) {
			t.Fatalf("seed %d: %d splits with records, want %d", seed, len(got), len(want))
		}
		for split := range want {
			if !slices.Equal(got[split], want[split]) {
				t.Fatalf("seed %d: split %q gave %v, want %v", seed, split, got[split], want[split])
			}
		}
	}
}
