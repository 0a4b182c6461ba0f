package node

import (
	"context"
	"errors"
	"fmt"
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
	SavepointAndHold(ctx context.Context, dest string) (flow.Epoch, error)
}

// Steering is what can be wished of a job, from any goroutine, before it runs and while it
// does. A job that gets another parallelism has one scheduler after the other: what was
// wished of one is told to the next as well.
type Steering struct {
	mu struct {
		sync.Mutex
		scheduler steered // nil while there is none
		// over says that it has ended, and no other comes.
		over   bool
		wishes []func(steered)
		// changed is closed, and made anew, when there is another scheduler or none comes.
		changed chan struct{}
	}
}

func newSteering() *Steering {
	e := &Steering{}
	e.mu.changed = make(chan struct{})
	return e
}

// begin tells the scheduler what was wished for.
func (e *Steering) begin(s steered) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, wish := range e.mu.wishes {
		wish(s)
	}
	e.mu.scheduler = s
	e.changedLocked()
}

// between says that the scheduler has ended, and whether another one comes.
func (e *Steering) between(another bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if another {
		e.mu.scheduler = nil
	}
	e.mu.over = !another
	e.changedLocked()
}

func (e *Steering) changedLocked() {
	close(e.mu.changed)
	e.mu.changed = make(chan struct{})
}

// tell has the scheduler do something, now or as soon as it is there, and those that follow
// it. f does not block.
func (e *Steering) tell(f func(steered)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.wishes = append(e.mu.wishes, f)
	if e.mu.scheduler != nil {
		f(e.mu.scheduler)
	}
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
	return e.save(ctx, dest, steered.Savepoint)
}

// SavepointAndHold is as Savepoint, and has nothing read behind it: Suspend follows.
func (e *Steering) SavepointAndHold(ctx context.Context, dest string) (flow.Epoch, error) {
	return e.save(ctx, dest, steered.SavepointAndHold)
}

func (e *Steering) save(ctx context.Context, dest string, do func(steered, context.Context, string) (flow.Epoch, error)) (flow.Epoch, error) {
	var asked steered
	for {
		e.mu.Lock()
		s, changed, over := e.mu.scheduler, e.mu.changed, e.mu.over
		e.mu.Unlock()
		if s != nil && s != asked {
			asked = s
			epoch, err := do(s, ctx, dest)
			if !errors.Is(err, scheduler.ErrOver) {
				return epoch, err
			}
			continue
		}
		if over {
			return 0, fmt.Errorf("savepoint %s: %w", dest, scheduler.ErrOver)
		}
		select { // it has ended, and it is not said yet whether another one comes
		case <-changed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}
