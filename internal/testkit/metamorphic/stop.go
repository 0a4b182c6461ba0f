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

// flowing says whether event time comes to a task.
type flowing uint8

const (
	ended   flowing = iota // its input has an end, and event time comes to it
	idle                   // it has no split, or waits behind those that have none
	running                // it has splits without end
)

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
	tasks := map[task]flowing{}
	for i := range s.plan.Chains {
		c := &s.plan.Chains[i]
		for _, op := range instances[c.Head().ID] {
			if len(c.Inputs) == 0 && c.Head().Unbounded {
				tasks[task{c.ID, op.Subtask}] = idle
				if op.RecordsIn.Load() > 0 {
					tasks[task{c.ID, op.Subtask}] = running
				}
			}
		}
		for _, in := range c.Inputs {
			for from := range s.plan.Chain(in.FromChain).Parallelism {
				for to := range c.Parallelism {
					if in.Exchange.Kind != graph.Forward || from == to {
						to := task{c.ID, to}
						tasks[to] = max(tasks[to], tasks[task{in.FromChain, from}])
					}
				}
			}
		}
		for _, o := range c.Operators {
			for _, op := range instances[o.ID] {
				if tasks[task{c.ID, op.Subtask}] != idle && flow.Time(op.Watermark.Load()) < s.from {
					return false
				}
			}
		}
	}
	return true
}
