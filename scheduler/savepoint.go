package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/scheduler/job"
)

// ErrNoStorage refuses what needs checkpoints from a job that keeps none. Callers
// may use errors.Is.
var ErrNoStorage = errors.New("the job keeps no checkpoints: give it a state directory")

// ErrOver answers wishes for a job that has ended. Callers may use errors.Is.
var ErrOver = errors.New("the job has ended")

// wishes are what users want of epochs. They belong to the scheduler's goroutine.
type wishes struct {
	savepoints []*savepointWish
	// suspend is the epoch with which, or with a later one, the job ends; 0 for none.
	suspend flow.Epoch
}

// savepointWish is a savepoint that somebody waits for.
type savepointWish struct {
	dest string
	// from is the least epoch that fulfils it, 0 while none was asked for.
	from  flow.Epoch
	tries int
	// stop says that the job is to end with it.
	stop  bool
	reply func(flow.Epoch, error)
}

// savepointTries is how often a savepoint whose epoch is aborted is tried.
const savepointTries = 3

// Savepoint takes a savepoint and copies it to dest, while the job runs on. It
// returns when that is done.
func (s *Scheduler) Savepoint(ctx context.Context, dest string) (flow.Epoch, error) {
	return s.await(ctx, &savepointWish{dest: dest})
}

// await has a savepoint taken, and returns when that is done.
func (s *Scheduler) await(ctx context.Context, w *savepointWish) (flow.Epoch, error) {
	type answer struct {
		epoch flow.Epoch
		err   error
	}
	answers := make(chan answer, 1)
	w.reply = func(e flow.Epoch, err error) { answers <- answer{e, err} }
	s.post(func() { s.savepoint(w) })
	select {
	case a := <-answers:
		return a.epoch, a.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-s.over:
	}
	select {
	case a := <-answers:
		return a.epoch, a.err
	default:
		return 0, fmt.Errorf("savepoint %s: %w", w.dest, ErrOver)
	}
}

// SavepointAndHold takes a savepoint at dest with which the job is to end: nothing is read behind
// its barrier, so nothing is published that a job which starts from it would publish again.
// Suspend follows. Where the savepoint cannot be made the job goes on.
func (s *Scheduler) SavepointAndHold(ctx context.Context, dest string) (flow.Epoch, error) {
	return s.await(ctx, &savepointWish{dest: dest, stop: true})
}

// holds reports whether the sources are to read nothing behind a barrier.
func (s *Scheduler) holds(b flow.Barrier) bool {
	if s.wishes.suspend > 0 && b.Epoch >= s.wishes.suspend {
		return true
	}
	return b.Kind == flow.BarrierSavepoint && slices.ContainsFunc(s.wishes.savepoints, func(w *savepointWish) bool {
		return w.stop && w.from > 0 && w.from <= b.Epoch
	})
}

// goOn lets the sources read again that were held for a savepoint which could not be made.
func (s *Scheduler) goOn(at flow.Attempt, e flow.Epoch, err error) {
	if s.cur.number == at && !s.cur.closed {
		s.opt.Log.Error("the savepoint was given up, and the job goes on", "epoch", e, "err", err)
		s.worker.AbortEpoch(&api.AbortEpoch{Attempt: uint64(at), Epoch: uint64(e)})
	}
}

// Suspend ends the job where it is, without draining it, so that it can go on
// another time: from its next checkpoint or, where dest is not "", from a savepoint
// there as well. A job that is about to finish finishes.
func (s *Scheduler) Suspend(dest string) {
	s.post(func() {
		switch {
		case s.opt.Storage == nil:
			s.opt.Log.Error("suspend refused", "err", ErrNoStorage)
		case dest != "":
			s.savepoint(&savepointWish{dest: dest, stop: true, reply: func(e flow.Epoch, err error) {
				if err != nil {
					s.opt.Log.Error("there is no savepoint, and the job goes on", "savepoint", dest, "err", err)
					return
				}
				s.opt.Log.Info("savepoint", "epoch", e, "at", dest)
				s.post(func() { s.step(job.Suspend{}) })
			}})
		default:
			s.suspend()
		}
	})
}

// Suspended reports, when Run has returned ErrStopped, whether the job was suspended: its
// input was not drained, and it can go on from its newest checkpoint.
func (s *Scheduler) Suspended() bool { return s.machine.Suspended() }

func (s *Scheduler) suspend() {
	switch s.machine.State() {
	case job.Running:
		s.wishes.suspend = s.cur.epochs.NextEpoch()
		s.trigger(flow.BarrierCheckpoint)
	case job.Created, job.Deploying, job.Failing, job.Restarting:
		// Nothing was read behind the newest epoch that would not be read again.
		s.step(job.Suspend{})
	}
}

// suspendAt ends the job if that was the epoch it waited for.
func (s *Scheduler) suspendAt(b flow.Barrier) {
	if s.wishes.suspend > 0 && b.Epoch >= s.wishes.suspend {
		s.wishes.suspend = 0
		s.step(job.Suspend{})
	}
}

// abandonSuspend ends a job whose attempt failed while it was being suspended: it
// goes on from the newest epoch that it has.
func (s *Scheduler) abandonSuspend() {
	if s.wishes.suspend > 0 {
		s.wishes.suspend = 0
		s.post(func() { s.step(job.Suspend{}) })
	}
}

// trigger asks for an epoch, of which somebody waits.
func (s *Scheduler) trigger(kind flow.BarrierKind) {
	acts, err := s.cur.epochs.Trigger(kind, s.opt.Now())
	s.warn(err)
	s.do(acts)
}

// savepoint takes up a wish.
func (s *Scheduler) savepoint(w *savepointWish) {
	st := s.machine.State()
	switch {
	case s.opt.Storage == nil:
		w.reply(0, ErrNoStorage)
		return
	case st == job.Finishing || st == job.Stopping || st == job.Cancelling || st.Terminal():
		w.reply(0, fmt.Errorf("savepoint %s: the job is %s", w.dest, st))
		return
	}
	s.wishes.savepoints = append(s.wishes.savepoints, w)
	if s.cur.running && st == job.Running {
		w.from = s.cur.epochs.NextEpoch()
		s.trigger(flow.BarrierSavepoint)
	}
}

// resumeSavepoints asks for the savepoints that earlier attempts have not come to.
func (s *Scheduler) resumeSavepoints() {
	for _, w := range s.wishes.savepoints {
		w.from = s.cur.epochs.NextEpoch()
	}
	if len(s.wishes.savepoints) > 0 {
		s.trigger(flow.BarrierSavepoint)
	}
}

// savepointAborted tries again, a few times.
func (s *Scheduler) savepointAborted(a checkpoint.Abort) {
	if s.wishes.suspend > 0 && a.Barrier.Kind == flow.BarrierCheckpoint {
		s.cur.post(func() {
			if s.wishes.suspend > 0 && s.machine.State() == job.Running {
				s.trigger(flow.BarrierCheckpoint)
			}
		})
	}
	if a.Barrier.Kind != flow.BarrierSavepoint {
		return
	}
	again := false
	s.answer(a.Barrier.Epoch, func(w *savepointWish) (done bool) {
		if w.tries++; w.tries < savepointTries {
			again = true
			return false
		}
		w.reply(0, fmt.Errorf("savepoint %s: its epoch was aborted %d times, the last time because %s", w.dest, w.tries, a.Reason))
		return true
	})
	if again {
		s.cur.post(func() {
			if s.machine.State() == job.Running {
				s.trigger(flow.BarrierSavepoint)
			}
		})
	}
}

// answer calls f with the wishes that epoch e was to fulfil, and forgets those for
// which it returns true.
func (s *Scheduler) answer(e flow.Epoch, f func(*savepointWish) bool) {
	var left []*savepointWish
	for _, w := range s.wishes.savepoints {
		if w.from == 0 || w.from > e || !f(w) {
			left = append(left, w)
		}
	}
	s.wishes.savepoints = left
}

// savepointsLost answers wishes that will not be fulfilled.
func (s *Scheduler) savepointsLost(a job.Changed) {
	if !a.State.Terminal() {
		for _, w := range s.wishes.savepoints {
			w.from = 0
		}
		return
	}
	for _, w := range s.wishes.savepoints {
		w.reply(0, fmt.Errorf("savepoint %s: %w: it is %s", w.dest, ErrOver, a.State))
	}
	s.wishes.savepoints = nil
}

// keep looks after an epoch that was committed.
func (s *Scheduler) keep(b flow.Barrier, m *checkpoint.Manifest) {
	if s.keeper == nil {
		return
	}
	if b.Kind == flow.BarrierSavepoint {
		s.answer(b.Epoch, func(w *savepointWish) bool {
			at := s.cur.number
			s.keeper.put(func(ctx context.Context) {
				err := s.opt.Storage.Savepoint(ctx, w.dest, published(m))
				if w.stop && err != nil {
					s.post(func() { s.goOn(at, b.Epoch, err) })
				}
				w.reply(b.Epoch, err)
			})
			return true
		})
	}
	s.keeper.collect()
}

// published is a manifest whose sinks have committed: whoever starts from it need
// not do that again. Their target may have been changed since, on purpose.
func published(m *checkpoint.Manifest) *checkpoint.Manifest {
	p := *m
	p.Committables = nil
	return &p
}
