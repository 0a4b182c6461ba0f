package node

import (
	"fmt"
	"sync"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/graph"
)

// elastic is a worker whose plan follows the job's parallelism: a deployment with another one
// than the last is of a plan of its own, and goes to a new worker. All tasks of the old one
// have ended then, as they must have before any deployment.
type elastic struct {
	worked func(*graph.Plan) waited
	check  func(*graph.Plan) error
	mu     struct {
		sync.Mutex
		plan *graph.Plan
		now  waited
	}
}

// newElastic makes one that begins with a plan. made makes the worker of a plan; check may be
// nil.
func newElastic(plan *graph.Plan, check func(*graph.Plan) error, made func(*graph.Plan) waited) *elastic {
	e := &elastic{worked: made, check: check}
	e.mu.plan, e.mu.now = plan, made(plan)
	return e
}

// planAt is a plan of the same graph with a parallelism, 0 being that which it has.
func planAt(p *graph.Plan, parallelism int, check func(*graph.Plan) error) (*graph.Plan, error) {
	if parallelism == 0 || parallelism == p.Options.Parallelism {
		return p, nil
	}
	next, err := p.At(parallelism)
	if err == nil && check != nil {
		err = check(next)
	}
	if err != nil {
		return nil, fmt.Errorf("a parallelism of %d: %w", parallelism, err)
	}
	return next, nil
}

// worker is that of the newest deployment.
func (e *elastic) worker() waited {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.now
}

// Wait returns when all tasks have ended.
func (e *elastic) Wait() { e.worker().Wait() }

// Deploy makes the tasks of an attempt, by a plan with its parallelism.
func (e *elastic) Deploy(m *api.Deploy) error {
	e.mu.Lock()
	plan, err := planAt(e.mu.plan, m.Parallelism, e.check)
	if err != nil {
		e.mu.Unlock()
		return err
	}
	if plan != e.mu.plan {
		e.mu.now.Wait() // for those whose end was told, and which are about to return
		e.mu.plan, e.mu.now = plan, e.worked(plan)
	}
	w := e.mu.now
	e.mu.Unlock()
	return w.Deploy(m)
}

// InjectBarrier is of api.Worker, as all that follow are.
func (e *elastic) InjectBarrier(m *api.InjectBarrier) { e.worker().InjectBarrier(m) }

// AbortEpoch is of api.Worker.
func (e *elastic) AbortEpoch(m *api.AbortEpoch) { e.worker().AbortEpoch(m) }

// Committed is of api.Worker.
func (e *elastic) Committed(m *api.Committed) { e.worker().Committed(m) }

// AddSplits is of api.Worker.
func (e *elastic) AddSplits(m *api.AddSplits) { e.worker().AddSplits(m) }

// NoMoreSplits is of api.Worker.
func (e *elastic) NoMoreSplits(m *api.NoMoreSplits) { e.worker().NoMoreSplits(m) }

// NoSplitYet is of api.Worker.
func (e *elastic) NoSplitYet(m *api.NoSplitYet) { e.worker().NoSplitYet(m) }

// Align is of api.Worker.
func (e *elastic) Align(m *api.Align) { e.worker().Align(m) }

// StopSources is of api.Worker.
func (e *elastic) StopSources(m *api.StopSources) { e.worker().StopSources(m) }

// FinishTasks is of api.Worker.
func (e *elastic) FinishTasks(m *api.FinishTasks) { e.worker().FinishTasks(m) }

// CancelTasks is of api.Worker.
func (e *elastic) CancelTasks(m *api.CancelTasks) { e.worker().CancelTasks(m) }

var _ api.Worker = (*elastic)(nil)
