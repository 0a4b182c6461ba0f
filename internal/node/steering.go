package node

import (
	"context"
	"sync"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/scheduler"
)

// How a job that somebody wanted to end has ended; see package scheduler.
var (
	ErrStopped   = scheduler.ErrStopped
	ErrCancelled = scheduler.ErrCancelled
)

// steered is a job's scheduler as users have it.
type steered interface {
	Stop()
	Cancel()
	Suspend(savepoint string)
	Savepoint(ctx context.Context, dest string) (flow.Epoch, error)
}

// Steering is what can be wished of a job, from any goroutine, before it runs and while it
// does.
type Steering struct {
	mu struct {
		sync.Mutex
		scheduler steered         // once Run has made it
		wishes    []func(steered) // from before that
	}
	made chan struct{} // closed with mu.scheduler
}

func newSteering() *Steering { return &Steering{made: make(chan struct{})} }

// begin tells the scheduler what was wished for before it was made.
func (e *Steering) begin(s steered) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, wish := range e.mu.wishes {
		wish(s)
	}
	e.mu.scheduler, e.mu.wishes = s, nil
	close(e.made)
}

// tell has the scheduler do something, now or as soon as it is there. f does not block.
func (e *Steering) tell(f func(steered)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.scheduler == nil {
		e.mu.wishes = append(e.mu.wishes, f)
		return
	}
	f(e.mu.scheduler)
}

// Stop ends the sources; what was accepted is finished and committed.
func (e *Steering) Stop() { e.tell(steered.Stop) }

// Suspend ends the job so that it can go on another time; see
// scheduler.Scheduler.Suspend.
func (e *Steering) Suspend(savepoint string) {
	e.tell(func(s steered) { s.Suspend(savepoint) })
}

// Cancel ends the job as it is.
func (e *Steering) Cancel() { e.tell(steered.Cancel) }

// Savepoint copies a savepoint of the running job to dest. It waits for the job to run.
func (e *Steering) Savepoint(ctx context.Context, dest string) (flow.Epoch, error) {
	select {
	case <-e.made:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	e.mu.Lock()
	s := e.mu.scheduler
	e.mu.Unlock()
	return s.Savepoint(ctx, dest)
}
