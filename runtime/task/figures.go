package task

import (
	"runtime/pprof"
	"strconv"
	"strings"

	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/state"
)

// Labels are those of the task's goroutines in profiles: job, operator, which is all of the
// chain's, and subtask.
func (t *Task) Labels() pprof.LabelSet {
	var names []string
	for _, n := range t.nodes {
		names = append(names, n.spec.Name)
	}
	return pprof.Labels("job", string(t.cfg.Job), "operator", strings.Join(names, " > "), "subtask", strconv.Itoa(t.cfg.ID.Subtask))
}

// inputs are the task's exchanges, for whoever watches it.
func (t *Task) inputs() (all []obs.Input) {
	head := t.nodes[0].spec
	for i := range t.gates {
		g := &t.gates[i]
		all = append(all, obs.Input{Edge: g.Edge.String(), Operator: string(head.ID), Name: head.Name,
			Credit: int64(t.cfg.Credit) * int64(g.Gate.Channels()), Queued: g.Gate.Queued})
	}
	return all
}

// sampleState notes what keyed state takes, by operator. It is called at the start and at
// barriers, when records wait anyhow.
func (t *Task) sampleState() {
	s, ok := t.store.(state.Sized)
	if !ok {
		return
	}
	sizes := s.Sizes()
	for _, n := range t.nodes {
		size := sizes[n.spec.ID]
		n.ctx.Metrics.StateMemory.Store(size.Memory)
		n.ctx.Metrics.StateDisk.Store(size.Disk)
	}
}
