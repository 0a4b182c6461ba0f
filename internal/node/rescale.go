package node

import (
	"context"
	"errors"
	"sync"

	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/scheduler/fleet"
)

// rescaling is how a coordinator brings its job to another parallelism: executors stay, the
// attempt ends with a checkpoint, and the next one is of another plan.
//
//	wanted ─► wait for the slots, while the job runs ─► suspend ─► claim, restore, deploy
//
// So what a process needs to come up is not part of the gap.
type rescaling struct {
	news chan struct{} // 1: wanted has changed
	mu   struct {
		sync.Mutex
		wanted int                  // 0: as the plan has it
		next   *graph.Plan          // of which enough slots are here; its scheduler is to come
		of     *scheduler.Scheduler // that was told to end for it
	}
}

func newRescaling() *rescaling { return &rescaling{news: make(chan struct{}, 1)} }

// Rescale has the job run with another parallelism as soon as there are slots for it. The
// newest word counts. A job that keeps its state goes on from a checkpoint; another one begins
// anew. A job in batch mode stays as it is: its tasks run one after the other anyway.
func (c *Coordinator) Rescale(parallelism int) {
	r := c.rescaling
	r.mu.Lock()
	r.mu.wanted = parallelism
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// rescales waits for what is wanted to be possible while s runs plan, and then ends s.
func (c *Coordinator) rescales(ctx context.Context, s *scheduler.Scheduler, plan *graph.Plan, f *fleet.Fleet) {
	r := c.rescaling
	refused := 0
	for {
		r.mu.Lock()
		wanted := r.mu.wanted
		r.mu.Unlock()
		wctx, cancel := context.WithCancel(ctx)
		waits := make(chan struct{})
		go func() {
			defer close(waits)
			if wanted == 0 || wanted == plan.Options.Parallelism || wanted == refused || plan.Mode == graph.Batch {
				return
			}
			next, err := planAt(plan, wanted, c.opt.Check)
			if err != nil {
				c.opt.Log.Error("the job stays as it is", "err", err)
				refused = wanted
				return
			}
			if f.Await(wctx, slots(next)) == nil {
				c.end(s, next)
			}
		}()
		select {
		case <-r.news:
			cancel()
			<-waits
		case <-ctx.Done():
			cancel()
			<-waits
			return
		}
	}
}

// end ends a scheduler for one of another plan.
func (c *Coordinator) end(s *scheduler.Scheduler, next *graph.Plan) {
	r := c.rescaling
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.next = next; r.mu.of == s {
		return // it was told
	}
	r.mu.of = s
	c.report.between(true)
	c.opt.Log.Info("the job gets another parallelism", "now", next.Options.Parallelism)
	if c.opt.State.durable() {
		s.Suspend("")
	} else {
		s.Cancel()
	}
}

// follows is the plan that comes after a scheduler that has ended with err; nil if the job has
// ended, as somebody has wished or by itself.
func (c *Coordinator) follows(ctx context.Context, s *scheduler.Scheduler, err error) *graph.Plan {
	r := c.rescaling
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.mu.next
	told := r.mu.of == s
	r.mu.next, r.mu.of = nil, nil
	ended := c.opt.State.durable() && errors.Is(err, scheduler.ErrStopped) && s.Suspended() ||
		!c.opt.State.durable() && errors.Is(err, scheduler.ErrCancelled) && !c.cancelled.Load()
	if !told || !ended || ctx.Err() != nil || c.suspended.Load() {
		return nil
	}
	return next
}
