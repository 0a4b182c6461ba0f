package metamorphic

import (
	"sync/atomic"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
)

// stopper says when a run without end may be stopped: when all sentinels were
// read and their watermark is everywhere. That it comes everywhere by itself, past
// subtasks that have no split, is one more thing that is tested.
type stopper struct {
	plan *graph.Plan
	reg  *obs.Registry
	from flow.Time
	read atomic.Bool
	do   func() // nil where nothing is to be waited for
}

func (s *stopper) reached() bool {
	if !s.read.Load() {
		return false
	}
	type task struct {
		chain   flow.ChainID
		subtask int
	}
	instances := map[flow.OperatorID][]*obs.Operator{}
	for _, op := range s.reg.Operators() {
		instances[flow.OperatorID(op.ID)] = append(instances[flow.OperatorID(op.ID)], op)
	}
	// live are the tasks that event time comes to: sources with splits, and what is
	// behind them.
	live := map[task]bool{}
	for i := range s.plan.Chains {
		c := &s.plan.Chains[i]
		for _, op := range instances[c.Head().ID] {
			if len(c.Inputs) == 0 && (op.RecordsIn.Load() > 0 || !c.Head().Unbounded) {
				live[task{c.ID, op.Subtask}] = true
			}
		}
		for _, in := range c.Inputs {
			for from := range s.plan.Chain(in.FromChain).Parallelism {
				for to := range c.Parallelism {
					if live[task{in.FromChain, from}] && (in.Exchange.Kind != graph.Forward || from == to) {
						live[task{c.ID, to}] = true
					}
				}
			}
		}
		for _, o := range c.Operators {
			for _, op := range instances[o.ID] {
				if live[task{c.ID, op.Subtask}] && flow.Time(op.Watermark.Load()) < s.from {
					return false
				}
			}
		}
	}
	return true
}
