package node

import (
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/lsm"
)

// openBackend makes where the tasks' state is.
func (d *durable) openBackend() error {
	if d.opt.State.Backend == Memory && d.opt.sorting == 0 {
		return nil
	}
	if _, err := d.workDir(); err != nil {
		return err
	}
	if d.opt.State.Backend == Memory {
		return nil
	}
	memory := d.opt.State.Memory
	if d.opt.sorting > 0 {
		memory /= 4
	}
	env, err := lsm.NewEnv(lsm.EnvOptions{Memory: memory})
	if err != nil {
		return fmt.Errorf("making room for state on disk: %w", err)
	}
	d.backend = onDisk{env}
	return nil
}

// onDisk is trees in the directory of working files, which share one budget of
// memory.
type onDisk struct{ env *lsm.Env }

func (b onDisk) open(dir string, maxParallelism int, groups flow.KeyGroupRange) (state.Store, error) {
	s, err := b.env.Open(lsm.Options{Dir: dir, MaxParallelism: maxParallelism, KeyGroups: groups})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (b onDisk) close() error { return b.env.Close() }
