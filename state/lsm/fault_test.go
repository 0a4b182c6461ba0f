package lsm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/weirflow/weir/internal/invariants"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/statetest"
)

// TestFaults has one call on the file system fail, each time a later one, while a store
// works, saves and restores. The store says so, or its snapshot does, or the state is
// what it should be; nothing hangs.
func TestFaults(t *testing.T) {
	surfaced, at := 0, int64(5)
	for done := false; !done; at += 1 + at/2 {
		var calls atomic.Int64
		var armed atomic.Bool
		fail := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if !armed.Load() || op.Kind == errorfs.OpFileClose || op.Kind == errorfs.OpRemove || op.Kind == errorfs.OpRemoveAll {
				return nil
			}
			if calls.Add(1) == at {
				return syscall.EIO
			}
			return nil
		})
		t.Run(fmt.Sprintf("call=%d", at), func(t *testing.T) {
			e := testEnv(t, 64<<10)
			mem := errorfs.Wrap(vfs.NewMem(), fail)
			open := func(dir string) *Store {
				s, err := e.Open(Options{Dir: dir, FS: mem, MaxParallelism: groups})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := open("a")
			p := declare(t, s)
			armed.Store(true)
			r := rand.New(rand.NewPCG(3, 4))
			m := newModel()
			var err error
			rounds := 10
			if invariants.Race {
				rounds = 3
			}
			for range 4 {
				for range rounds {
					p.change(r, m, 300)
					s.Step()
				}
				if err = s.Err(); err != nil {
					break
				}
				var saved state.Saved
				if saved, err = statetest.Save(s, state.FormLSM); err != nil {
					break
				}
				_ = s.Close()
				s = open("a")
				if err = s.Restore(context.Background(), []state.Saved{saved}); err != nil {
					break
				}
				p = declare(t, s)
				if err = p.same(s, m); err != nil {
					break
				}
			}
			armed.Store(false)
			_ = s.Close() // it may have what failed before to say; it must return
			switch {
			case calls.Load() < at:
				done = true
			case err == nil:
			case !errors.Is(err, syscall.EIO) && !errors.Is(err, state.ErrCorrupt):
				t.Error(err)
			default:
				surfaced++
			}
		})
	}
	if surfaced < 8 {
		t.Errorf("only %d errors of the file system were seen", surfaced)
	}
}
