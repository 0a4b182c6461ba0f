package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/scheduler/job"
)

// attempt is one attempt of the job: all that is made anew when it is restarted.
//
//	newAttempt ─► restoring (committers, on their goroutine) ─► deploy ─► all run:
//	sources and epochs begin ─► ... ─► all tasks have ended ─► close
type attempt struct {
	s      *Scheduler
	number flow.Attempt
	// ctx ends what runs beside the loop for this attempt.
	ctx    context.Context
	cancel context.CancelFunc
	side   sync.WaitGroup

	epochs  *checkpoint.Coordinator // nil while restoring
	sources map[flow.OperatorID]*source
	aligned map[string]*alignment
	commits *committers
	// cuts are the sources' snapshots of epochs in flight.
	cuts map[flow.Epoch][]checkpoint.SourceSnapshot

	restoring bool
	deployed  bool
	running   bool // epochs have begun, and sources unless the job was stopped before
	closed    bool
	live      map[flow.TaskID]bool // tasks that were deployed and have not ended
	// held is the end of the last task, while a commit is under way: the machine hears
	// the commit's outcome first.
	held []func()
	hold *time.Timer
}

// graceOfCommit is how long the end of a failed attempt waits for a commit under
// way. The next attempt repeats it.
const graceOfCommit = 10 * time.Second

func (s *Scheduler) newAttempt(number flow.Attempt) (*attempt, error) {
	a := &attempt{s: s, number: number, sources: map[flow.OperatorID]*source{}, aligned: map[string]*alignment{},
		cuts: map[flow.Epoch][]checkpoint.SourceSnapshot{}, live: map[flow.TaskID]bool{}}
	for i := range s.opt.Plan.Chains {
		if c := &s.opt.Plan.Chains[i]; len(c.Inputs) == 0 {
			if err := a.addSource(c); err != nil {
				return nil, err
			}
		}
	}
	var err error
	a.commits, err = newCommitters(a)
	return a, err
}

// id is the number that messages carry.
func (a *attempt) id() uint64 { return uint64(a.number) }

// post has f run on the scheduler's goroutine, unless the attempt is over by then.
func (a *attempt) post(f func()) {
	a.s.post(func() {
		if !a.closed {
			f()
		}
	})
}

// begin restores the attempt, beside the loop; restored goes on.
func (a *attempt) begin(parent context.Context) {
	a.ctx, a.cancel = context.WithCancel(parent)
	a.restoring = true
	a.side.Add(1)
	go a.commits.run()
}

// restored deploys the tasks, from what they start from.
func (a *attempt) restored(r *restored, err error) {
	s := a.s
	a.restoring = false
	if r != nil {
		for op, rs := range r.sources {
			a.sources[op].restore(rs)
		}
	}
	switch st := s.machine.State(); {
	case st != job.Deploying && st != job.Stopping:
		a.undeployed() // it was cancelled meanwhile
		return
	case err != nil:
		s.step(job.CommitFailed{Attempt: a.number, Failure: refused(err)})
		return
	case r.final:
		s.told(r)
		s.step(job.NothingLeft{Attempt: a.number})
		return
	}
	opt := s.opt.Epochs
	opt.First = r.first
	if a.epochs, err = checkpoint.NewCoordinator(a.number, s.tasks, s.heads, opt); err != nil {
		s.step(job.CommitFailed{Attempt: a.number, Failure: refused(err)})
		return
	}
	s.told(r)
	m := &api.Deploy{Job: string(s.opt.Job), Attempt: a.id(), Tasks: s.apiTasks, Epoch: uint64(r.epoch), Restore: r.tasks,
		Parallelism: s.opt.Plan.Options.Parallelism}
	a.deployed = true
	for _, id := range s.tasks {
		a.live[id] = true
	}
	if err := s.worker.Deploy(m); err != nil {
		a.deployed = false
		s.step(job.CommitFailed{Attempt: a.number, Failure: refused(err)})
	}
}

// refused is the failure of an attempt that could not be started.
func refused(err error) *flow.Failure {
	if _, ok := errors.AsType[*flow.Failure](err); ok {
		return flow.FailureOf(err)
	}
	return &flow.Failure{Domain: flow.DomainUser, Message: err.Error(), Cause: err}
}

// undeployed reports tasks that no worker has: they have ended.
func (a *attempt) undeployed() {
	for _, id := range a.s.tasks {
		a.s.step(job.TaskUpdate{Task: id, Attempt: a.number, State: job.TaskCancelled})
	}
}

// cancelTasks ends tasks, wherever they are.
func (a *attempt) cancelTasks(tasks []api.Task) {
	s := a.s
	if a.epochs != nil {
		s.do(a.epochs.Stop(s.opt.Now(), "tasks are cancelled"))
	}
	switch {
	case a.deployed:
		s.worker.CancelTasks(&api.CancelTasks{Attempt: a.id(), Tasks: tasks})
		if s.machine.State() == job.Cancelling {
			a.commits.stop()
		}
	case a.restoring:
		a.cancel() // restored follows
	default:
		// Not from within a step of the machine.
		a.post(a.undeployed)
	}
}

// begun starts sources and epochs, once: all tasks run.
func (a *attempt) begun() {
	if a.running {
		return
	}
	a.startEpochs()
	s := a.s
	// A task runs on a goroutine of its own: sources begin in the order of the plan,
	// so that runs are alike.
	for i := range s.opt.Plan.Chains {
		if src := a.sources[flow.OperatorID(s.opt.Plan.Chains[i].ID)]; src != nil && !a.closed {
			src.begin()
		}
	}
	if !a.closed {
		s.resumeSavepoints()
	}
}

// startEpochs tells the coordinator, once, that all tasks run.
func (a *attempt) startEpochs() {
	if !a.running {
		a.running = true
		a.s.do(a.epochs.Start(a.s.opt.Now()))
	}
}

// taskEnded holds back the end of the last task while a commit is under way. It
// reports whether f was kept for later.
func (a *attempt) taskEnded(id flow.TaskID, f func()) (held bool) {
	delete(a.live, id)
	if len(a.live) > 0 || a.commits.pending == 0 {
		return false
	}
	a.held = append(a.held, f)
	if a.hold == nil {
		a.hold = time.AfterFunc(graceOfCommit, a.commits.stop)
	}
	return true
}

// committed goes on with what waited for the commits under way.
func (a *attempt) committed() {
	if a.commits.pending > 0 {
		return
	}
	held := a.held
	a.held = nil
	for _, f := range held {
		f()
	}
}

// close lets go of the attempt, all of whose tasks have ended. Its goroutines end
// soon after: see side.
func (a *attempt) close() {
	a.closed = true
	for _, src := range a.sources {
		if src.en != nil && !src.begun {
			a.side.Add(1)
			go func() {
				defer a.side.Done()
				src.closeEnumerator(src.en)
			}()
		}
	}
	if a.hold != nil {
		a.hold.Stop()
	}
	a.cancel()
}

// do does what the coordinator says.
func (s *Scheduler) do(acts []checkpoint.Action) {
	a := s.cur
	for _, act := range acts {
		switch act := act.(type) {
		case checkpoint.InjectBarrier:
			if s.opt.Listener.Injected != nil {
				s.opt.Listener.Injected(act.Barrier)
			}
			a.cut(act.Barrier)
			m := &api.InjectBarrier{Attempt: a.id(), Epoch: uint64(act.Barrier.Epoch), Kind: uint8(act.Barrier.Kind), Hold: s.holds(act.Barrier)}
			for _, t := range act.Tasks {
				m.Tasks = append(m.Tasks, apiTask(t))
			}
			s.worker.InjectBarrier(m)
		case checkpoint.Commit:
			if s.opt.Listener.Acknowledged != nil {
				s.opt.Listener.Acknowledged(act.Barrier, act.Snapshots)
			}
			last := act.Barrier.Kind == flow.BarrierFinal || s.wishes.suspend > 0 && act.Barrier.Epoch >= s.wishes.suspend
			a.commits.put(commitment{Commit: act, sources: a.cuts[act.Barrier.Epoch], last: last})
			delete(a.cuts, act.Barrier.Epoch)
		case checkpoint.NotifyCommitted:
			s.worker.Committed(&api.Committed{Attempt: a.id(), Epoch: uint64(act.Barrier.Epoch)})
			if s.opt.Listener.Committed != nil {
				s.opt.Listener.Committed(act.Barrier)
			}
			s.step(job.EpochCommitted{Attempt: a.number, Epoch: act.Barrier.Epoch, Final: act.Barrier.Kind == flow.BarrierFinal})
			s.suspendAt(act.Barrier)
		case checkpoint.Abort:
			delete(a.cuts, act.Barrier.Epoch)
			s.worker.AbortEpoch(&api.AbortEpoch{Attempt: a.id(), Epoch: uint64(act.Barrier.Epoch)})
			s.opt.Log.Warn("epoch aborted", "attempt", s.cur.number, "epoch", act.Barrier.Epoch, "reason", act.Reason)
			if s.opt.Listener.Aborted != nil {
				s.opt.Listener.Aborted(act.Barrier, act.Reason)
			}
			s.savepointAborted(act)
		case checkpoint.Late:
			s.opt.Log.Warn("final epoch is late", "attempt", s.cur.number, "epoch", act.Barrier.Epoch, "missing", fmt.Sprint(act.Missing))
		case checkpoint.Fail:
			s.step(job.CommitFailed{Attempt: a.number, Epoch: act.Epoch, Failure: flow.FailureOf(act.Cause)})
		case checkpoint.Complete:
		}
	}
}

// cut notes where the job's side of each source is, in the instant in which the
// barrier is sent: splits that are assigned later come behind the barrier.
func (a *attempt) cut(b flow.Barrier) {
	if a.s.opt.Storage == nil {
		return
	}
	cut := make([]checkpoint.SourceSnapshot, 0, len(a.sources))
	for i := range a.s.opt.Plan.Chains {
		if src := a.sources[flow.OperatorID(a.s.opt.Plan.Chains[i].ID)]; src != nil {
			cut = append(cut, src.snapshot())
		}
	}
	a.cuts[b.Epoch] = cut
}
