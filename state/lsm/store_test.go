package lsm

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/invariants"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/statetest"
)

// TestMain has rapid make fewer checks: each opens some ten stores.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("20"); err != nil {
			panic("lsm: " + err.Error())
		}
	}
	os.Exit(m.Run())
}

// testEnv is an environment for one test. In the end there are no goroutines more than
// there were, unless Pebble had to be abandoned.
func testEnv(tb testing.TB, memory int64) *Env {
	tb.Helper()
	before := goleak.IgnoreCurrent()
	e, err := NewEnv(EnvOptions{Memory: memory, OpenFiles: 100})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := e.Close(); err != nil {
			tb.Error(err)
		}
		if !e.abandoned.Load() {
			goleak.VerifyNone(tb, before)
		}
	})
	return e
}

// opener opens stores that are closed with the test.
func opener(tb testing.TB, memory int64, fs vfs.FS) statetest.Open {
	e := testEnv(tb, memory)
	var n atomic.Int64
	dir := tb.TempDir()
	return func(tb testing.TB, maxParallelism int, groups flow.KeyGroupRange) state.Store {
		s, err := e.Open(Options{
			Dir: filepath.Join(dir, strconv.FormatInt(n.Add(1), 10)), FS: fs, MaxParallelism: maxParallelism, KeyGroups: groups,
		})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			if err := s.Close(); err != nil {
				tb.Error(err)
			}
		})
		return s
	}
}

// TestStore runs the suite with room for all, and with next to none, so that
// everything is evicted all the time.
func TestStore(t *testing.T) {
	if !invariants.Race { // takes minutes with it, and races no more than the tiny one
		t.Run("big", func(t *testing.T) { statetest.Run(t, opener(t, 256<<20, vfs.NewMem())) })
	}
	t.Run("lockstep", func(t *testing.T) {
		statetest.Lockstep(t, opener(t, 256<<20, vfs.NewMem()))
		statetest.Lockstep(t, opener(t, 32<<10, vfs.NewMem()))
		statetest.Lockstep(t, opener(t, 4<<10, vfs.NewMem()))
	})
	t.Run("tiny", func(t *testing.T) { statetest.Run(t, opener(t, 4<<10, vfs.NewMem())) })
}
