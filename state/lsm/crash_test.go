package lsm

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/internal/invariants"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/statetest"
)

// TestCrash has the power go while a store works: what it had not synced, which is nearly
// all, is gone in whole or in part. The next store in the same directory takes nothing from
// what lies there, and has what the last snapshot had.
func TestCrash(t *testing.T) {
	seeds := uint64(12)
	if invariants.Race {
		seeds = 2 // Pebble checks itself then, which takes its time
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 0xc4a54))
		e := testEnv(t, []int64{16 << 10, 64 << 20}[seed%2])
		disk := vfs.NewCrashableMem()
		open := func() *Store {
			s, err := e.Open(Options{Dir: "task", FS: disk, MaxParallelism: groups})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			return s
		}
		s := open()
		p, m := declare(t, s), newModel()
		for life := range 4 {
			form := []state.Form{state.FormLSM, state.FormPortable}[r.IntN(2)]
			for range 1 + r.IntN(20) {
				p.change(r, m, 200)
				s.Step()
			}
			kept, err := statetest.Save(s, form)
			if err != nil {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
			lost := newModel() // what comes after the snapshot
			for range r.IntN(20) {
				p.change(r, lost, 200)
				s.Step()
			}
			after := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
			if err := s.Close(); err != nil { // on the disk that is no more
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
			disk = after
			s = open()
			if err := s.Restore(context.Background(), []state.Saved{kept}); err != nil {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
			p = declare(t, s)
			if err := p.same(s, m); err != nil {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
