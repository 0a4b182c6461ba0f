package bench

import (
	"testing"

	"github.com/weirflow/weir/bench/text"
	"github.com/weirflow/weir/internal/invariants"
)

// TestCases runs each case on a small input: each compares its output with the
// floor's.
func TestCases(t *testing.T) {
	dir := t.TempDir() + "/text"
	if err := text.Write(dir, 2_000_000, 3, 1); err != nil {
		t.Fatal(err)
	}
	for _, c := range Cases() {
		for _, parallelism := range []int{1, 2, 3} {
			r, err := c.Run(t.Context(), Options{Events: 200_000, Keys: 1000, Parallelism: parallelism, Input: dir, Rate: 200_000})
			if err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
			if r.Case != c.Name || r.Events == 0 || r.EventsPerS == 0 {
				t.Errorf("%s: nothing was measured: %+v", c.Name, r)
			}
		}
	}
}

// TestHotPathAllocatesNothing: what a run allocates is for its start, and does not
// grow with the records.
func TestHotPathAllocatesNothing(t *testing.T) {
	if invariants.Enabled || invariants.Race {
		t.Skip("builds that check allocate for it")
	}
	for _, c := range []Case{passthrough, keyed, window} {
		r, err := c.Run(t.Context(), Options{Events: 5_000_000, Keys: 1000, NoFloor: true})
		if err != nil {
			t.Fatal(err)
		}
		if r.AllocsPerEvent > 0.005 {
			t.Errorf("%s: %.4f allocations an event", c.Name, r.AllocsPerEvent)
		}
	}
}
