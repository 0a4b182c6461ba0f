package memory_test

import (
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/memory"
	"github.com/weirflow/weir/state/statetest"
)

func open(_ testing.TB, maxParallelism int, groups flow.KeyGroupRange) state.Store {
	return memory.New(memory.Options{MaxParallelism: maxParallelism, KeyGroups: groups})
}

func TestStore(t *testing.T) { statetest.Run(t, open) }
