package scheduler

import (
	"context"
	"sync"
)

// keeper looks after the job's storage, beside the epochs: it copies savepoints
// and removes what no manifest needs. Both are done on one goroutine, so that
// nothing is removed while it is copied.
type keeper struct {
	s      *Scheduler
	ctx    context.Context
	cancel context.CancelFunc

	mu struct {
		sync.Mutex
		queue   []func(context.Context)
		garbage bool
		over    bool
	}
	wake chan struct{}
	done chan struct{}
}

func newKeeper(ctx context.Context, s *Scheduler) *keeper {
	k := &keeper{s: s, wake: make(chan struct{}, 1), done: make(chan struct{})}
	k.ctx, k.cancel = context.WithCancel(ctx)
	return k
}

func (k *keeper) put(f func(context.Context)) {
	k.mu.Lock()
	k.mu.queue = append(k.mu.queue, f)
	k.mu.Unlock()
	k.nudge()
}

// collect asks for a round of garbage collection. Wishes that come while one is under
// way are fulfilled by one more.
func (k *keeper) collect() {
	k.mu.Lock()
	k.mu.garbage = true
	k.mu.Unlock()
	k.nudge()
}

func (k *keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// end lets the keeper finish what it was asked for, or not, and returns when it is gone.
func (k *keeper) end(finish bool) {
	if !finish {
		k.cancel()
	}
	k.mu.Lock()
	k.mu.over = true
	k.mu.Unlock()
	k.nudge()
	<-k.done
	k.cancel()
}

func (k *keeper) run() {
	defer close(k.done)
	for {
		k.mu.Lock()
		queue, garbage, over := k.mu.queue, k.mu.garbage, k.mu.over
		k.mu.queue, k.mu.garbage = nil, false
		k.mu.Unlock()
		for _, f := range queue {
			f(k.ctx) // answers somebody, also after ctx has ended
		}
		if garbage && k.ctx.Err() == nil {
			if err := k.s.opt.Storage.Collect(k.ctx); err != nil && k.ctx.Err() == nil {
				k.s.opt.Log.Warn("removing old checkpoints", "err", err)
			}
		}
		if len(queue) > 0 || garbage {
			continue
		}
		if over {
			return
		}
		<-k.wake
	}
}
