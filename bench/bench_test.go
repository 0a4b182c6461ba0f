package bench

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/bench/text"
	"github.com/weirflow/weir/internal/invariants"
	"github.com/weirflow/weir/internal/testkit/rig"
	"github.com/weirflow/weir/sdk/run"
)

// TestCases runs each case on a small input: each compares its output with the
// floor's.
func TestCases(t *testing.T) {
	dir := t.TempDir() + "/text"
	if err := text.Write(dir, 2_000_000, 3, 1); err != nil {
		t.Fatal(err)
	}
	for _, c := range Cases() {
		if c.Name == restart.Name || c.Name == scale.Name || strings.HasPrefix(c.Name, "cluster-") {
			continue // it is durable, or has a test of its own
		}
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

// TestCluster runs cases on agents of a weir that is built for it.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds weir")
	}
	weir, err := rig.Build(t.Context(), t.TempDir(), "cmd/weir")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("keyed", func(t *testing.T) { testClusterKeyed(t, weir) })
	t.Run("scale", func(t *testing.T) { testScale(t, weir) })
}

func testScale(t *testing.T, weir string) {
	r, err := scale.Run(t.Context(), Options{Agents: 20, Tasks: 43, Settle: time.Second, weir: weir})
	if err != nil {
		t.Fatal(err)
	}
	s := r.Scale
	if s.Agents != 20 || s.Tasks != 43 || s.Jobs != 43 || r.Events == 0 || s.LogBytesPerTask < 50 || s.LogBytesPerAgent < 50 || s.DecideLostMS <= 0 {
		t.Errorf("%+v %+v", r, s)
	}
}

func testClusterKeyed(t *testing.T, weir string) {
	profiles := t.TempDir()
	r, err := clusterKeyed.Run(t.Context(), Options{Events: 300_000, Keys: 1000, Checkpoint: 50 * time.Millisecond, Profile: profiles, weir: weir})
	if err != nil {
		t.Fatal(err)
	}
	if r.Events != 300_000 || r.Checkpoints.Count == 0 || r.CPUS <= 0 || r.Peer.Ratio <= 0 {
		t.Errorf("%+v", r)
	}
	if p, err := filepath.Glob(filepath.Join(profiles, "*.prof")); err != nil || len(p) != 2 {
		t.Errorf("profiles of two executors are %v, %v", p, err)
	}
}

// TestDurable runs the cases with a state, with checkpoints: the output is the floor's
// all the same.
func TestDurable(t *testing.T) {
	for _, c := range []Case{keyed, window, latency, restart} {
		for _, backend := range []string{run.BackendLSM, run.BackendMemory} {
			r, err := c.Run(t.Context(), Options{Events: 200_000, Keys: 1000, Parallelism: 2, Rate: 200_000,
				State: t.TempDir(), Checkpoint: 20 * time.Millisecond, Backend: backend})
			if err != nil {
				t.Errorf("%s, %s: %v", c.Name, backend, err)
				continue
			}
			if r.Checkpoints == nil || r.Checkpoints.Count == 0 || r.Checkpoints.P99MS < r.Checkpoints.P50MS {
				t.Errorf("%s, %s: %+v", c.Name, backend, r.Checkpoints)
			}
			if (r.Restart != nil) != (c.Name == restart.Name) {
				t.Errorf("%s: %+v", c.Name, r.Restart)
			}
			if s := r.Restart; s != nil && (s.FirstResultMS <= 0 || s.StateBytes < 1000*restartValue) {
				t.Errorf("%s, %s: %+v", c.Name, backend, s)
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
