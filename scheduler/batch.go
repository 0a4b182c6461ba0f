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
	"github.com/weirflow/weir/scheduler/batch"
	"github.com/weirflow/weir/scheduler/fleet"
	"github.com/weirflow/weir/scheduler/job"
)

// ErrBatch refuses savepoints of jobs in batch mode. Callers may use errors.Is.
var ErrBatch = errors.New("a job in batch mode has no savepoints: what it has done so far is in files of its own, which end with it")

// Stores are where the outputs of a job in batch mode lie.
type Stores interface {
	// Probe says why a node's outputs cannot be read now, nil if they can.
	Probe(ctx context.Context, node string) error
	// Drop removes an output, Clear all of the job's.
	Drop(ctx context.Context, o api.Output) error
	Clear(ctx context.Context, node string) error
}

// BatchOptions are those of jobs in batch mode.
type BatchOptions struct {
	Options
	Stores Stores
	// Task is told what happens to tasks, on the scheduler's goroutine. It must not block.
	// Default: nobody is told.
	Task func(TaskEvent)
	// Waiting is told what the job waits for, "" when it waits no more. It must not block.
	Waiting func(reason string)
}

// TaskEvent is something that has happened to a task of a job in batch mode.
type TaskEvent struct {
	// Kind is one word: started, finished, failed, lost (its output is), again (it runs again).
	Kind    string
	Task    flow.TaskID
	Attempt flow.Attempt
	Alloc   api.AllocID
	Node    api.NodeID
	Message string
}

// attemptBits: no two runs of a job use the same numbers.
const attemptBits = api.BatchAttemptBits

// StagingOf is the attempt under which a task's files are staged: that of the job.
func StagingOf(at flow.Attempt) flow.Attempt { return at >> attemptBits }

// try is an attempt's number within its run, for people.
func try(at flow.Attempt) uint64 { return uint64(at) & (1<<attemptBits - 1) }

// Batch runs one job in batch mode: a [batch.Machine] decides, executors that have joined do
// it, and sinks commit once, when all is done.
type Batch struct {
	opt     BatchOptions
	machine *batch.Machine
	pub     *publisher
	claimed Claimed
	final   flow.Epoch

	sources   map[flow.OperatorID]*batchSource
	executors map[batch.Executor]*batchExecutor
	last      batch.Executor
	runs      map[flow.Attempt]batch.Deploy // that have not ended
	prepared  map[flow.Attempt][]checkpoint.Committable
	nodes     map[string]bool // where outputs may lie
	doubt     map[string]bool // that are being probed
	discarded bool            // something was prepared that does not count
	state     job.State
	wish      job.State // how the job is to end: Stopped, Cancelled, or 0
	waiting   string
	end       *batch.End

	side   sync.WaitGroup
	ctx    context.Context // of what runs beside the loop
	cancel context.CancelFunc
	drops  chan api.Output

	inbox
}

type batchExecutor struct {
	w     api.Worker
	hello api.Hello
}

// NewBatch makes a scheduler of a plan in batch mode. Executors may join at once.
func NewBatch(opt BatchOptions) (*Batch, error) {
	if opt.Patience == 0 {
		opt.Patience = 10 * time.Second
	}
	if opt.Task == nil {
		opt.Task = func(TaskEvent) {}
	}
	if opt.Waiting == nil {
		opt.Waiting = func(string) {}
	}
	s := &Batch{opt: opt, executors: map[batch.Executor]*batchExecutor{}, runs: map[flow.Attempt]batch.Deploy{},
		prepared: map[flow.Attempt][]checkpoint.Committable{}, nodes: map[string]bool{}, doubt: map[string]bool{},
		sources: map[flow.OperatorID]*batchSource{}, inbox: newInbox(), drops: make(chan api.Output, maxDrops)}
	for i := range opt.Plan.Chains {
		if c := &opt.Plan.Chains[i]; len(c.Inputs) == 0 {
			src, err := newBatchSource(s, c)
			if err != nil {
				return nil, err
			}
			s.sources[c.Head().ID] = src
		}
	}
	_, err := newPublisher(&s.opt.Options, 1)
	return s, err
}

// maxDrops bounds the outputs that wait to be removed; what does not fit goes with the job.
const maxDrops = 4096

// Run runs the job to its end; see Scheduler.Run.
func (s *Batch) Run(ctx context.Context) error {
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer s.finish()
	stop := context.AfterFunc(ctx, s.Cancel)
	defer stop()
	done, err := s.prepare(ctx)
	if err != nil || done {
		if ctx.Err() != nil {
			err = ErrCancelled
		}
		s.ended(err)
		return err
	}
	s.side.Go(s.dropping)
	for _, src := range s.sources {
		s.side.Go(src.discover)
	}
	s.become(job.Deploying, nil)
	for s.end == nil {
		for _, f := range s.take() {
			f()
		}
		s.waits()
		if s.end == nil {
			<-s.wake
		}
	}
	err = nil
	switch {
	case s.end.Cause != nil:
		err = s.end.Cause
	case s.wish == job.Cancelled:
		err = ErrCancelled
	case s.wish == job.Stopped:
		err = ErrStopped
	}
	s.ended(err)
	return err
}

// ended tells how the job has ended.
func (s *Batch) ended(err error) {
	switch {
	case err == nil:
		s.become(job.Finished, nil)
	case errors.Is(err, ErrStopped):
		s.become(job.Stopped, nil)
	case errors.Is(err, ErrCancelled):
		s.become(job.Cancelled, nil)
	default:
		s.become(job.Failed, flow.FailureOf(err))
	}
}

// become tells the job's state.
func (s *Batch) become(st job.State, cause *flow.Failure) {
	if s.state == st || s.state.Terminal() {
		return
	}
	s.state = st
	s.opt.Log.Debug("job", "state", st.String())
	if s.opt.Listener.State != nil {
		s.opt.Listener.State(st, cause)
	}
}

// waits tells that nothing runs for want of an executor.
func (s *Batch) waits() {
	reason := ""
	if s.end == nil && len(s.runs) == 0 && s.machine.Slots() == 0 {
		reason = "waits for a slot: no executor is there"
	}
	if reason != s.waiting {
		s.waiting = reason
		s.opt.Waiting(reason)
	}
}

// prepare claims the job's storage, where it has one, and makes final what an earlier run
// had committed: then the job is done.
func (s *Batch) prepare(ctx context.Context) (done bool, err error) {
	claimed := Claimed{Attempt: 1}
	if s.opt.From != nil {
		return false, &flow.Failure{Domain: flow.DomainUser, Message: "a job in batch mode begins at the beginning of its input: it cannot start from a savepoint; run it in streaming mode"}
	}
	if s.opt.Storage != nil {
		if claimed, err = s.opt.Storage.Claim(ctx, 0, s.opt.Fresh); err != nil {
			return false, storageFailure("claiming the job", err)
		}
	}
	s.claimed, s.final = claimed, claimed.Newest+1
	base := claimed.Attempt << attemptBits
	if s.pub, err = newPublisher(&s.opt.Options, base); err != nil {
		return false, err
	}
	s.pub.ctx, s.pub.cancel = context.WithCancel(ctx)
	s.machine = batch.New(s.opt.Plan, batch.Options{First: base + 1, Restart: s.opt.Restart})
	r := Restored{Attempt: claimed.Attempt, Sources: map[flow.OperatorID]RestoredSource{}}
	if m := claimed.Manifest; m != nil {
		if flow.BarrierKind(m.Kind) != flow.BarrierFinal {
			return false, &flow.Failure{Domain: flow.DomainUser, Message: fmt.Sprintf("the job has a checkpoint of streaming mode (epoch %d), and batch mode begins at the beginning: "+
				"go on in streaming mode, or begin anew (--fresh)", m.Epoch)}
		}
		if err := s.pub.publish(commitsOf(m.Committables)); err != nil {
			return false, fmt.Errorf("committing the last epoch %d once more: %w", m.Epoch, err)
		}
		r.Epoch, r.Created, r.Finished, done = flow.Epoch(m.Epoch), flow.Time(m.Created), true, true
	}
	if err := s.pub.recover(s.final - 1); err != nil {
		return false, err
	}
	if s.opt.Listener.Restored != nil {
		s.opt.Listener.Restored(r)
	}
	return done, nil
}

// finish ends what runs beside the loop, and clears up.
func (s *Batch) finish() {
	s.cancel()
	if s.pub != nil {
		s.pub.cancel()
	}
	s.side.Wait()
	if s.pub != nil {
		s.pub.close()
	}
	if s.opt.Stores == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), clearWithin)
	defer cancel()
	var all sync.WaitGroup
	for node := range s.nodes {
		all.Go(func() {
			if err := s.opt.Stores.Clear(ctx, node); err != nil {
				s.opt.Log.Debug("removing what tasks have written", "node", node, "err", err)
			}
		})
	}
	all.Wait()
}

// clearWithin is for how long a job that has ended waits until agents have removed what it
// had there. They do it by themselves in the end.
const clearWithin = 2 * time.Second

// dropping removes outputs that nobody needs any more.
func (s *Batch) dropping() {
	for {
		select {
		case o := <-s.drops:
			if s.opt.Stores == nil {
				continue
			}
			if err := s.opt.Stores.Drop(s.ctx, o); err != nil && s.ctx.Err() == nil {
				s.opt.Log.Debug("removing an output", "task", o.Edge.To, "node", o.Node, "err", err)
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// Join adds an executor, and returns its id and the scheduler to which it reports.
func (s *Batch) Join(w api.Worker, h api.Hello) (fleet.ID, api.Scheduler) {
	r := &batchReports{s: s}
	s.inbox.mu.Lock()
	s.last++
	r.id = s.last
	s.inbox.mu.Unlock()
	s.post(func() {
		s.executors[r.id] = &batchExecutor{w, h}
		s.nodes[h.Store] = true
		s.opt.Log.Info("an executor has joined", "executor", h.Alloc, "node", h.Node, "slots", h.Slots)
		s.do(s.machine.Join(r.id, batch.Node(h.Store), h.Slots))
	})
	return fleet.ID(r.id), r
}

// Leave removes an executor. What it ran, runs elsewhere.
func (s *Batch) Leave(id fleet.ID, why error) {
	s.post(func() {
		e := s.executors[batch.Executor(id)]
		if e == nil {
			return
		}
		delete(s.executors, batch.Executor(id))
		s.opt.Log.Warn("an executor is gone", "executor", e.hello.Alloc, "why", why)
		for at, d := range s.runs {
			if d.On == batch.Executor(id) {
				s.gone(at, false)
			}
		}
		f := &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Cause: why,
			Message: fmt.Sprintf("executor %s on node %s is gone: %v", e.hello.Alloc, e.hello.Node, why)}
		s.do(s.machine.Leave(batch.Executor(id), f))
		s.probe(e.hello.Store)
	})
}

// probe looks whether the outputs that lie on a node can still be read: if its agent is
// gone, that is found out before tasks are started in vain.
func (s *Batch) probe(node string) {
	if s.opt.Stores == nil || node == "" || s.doubt[node] || s.end != nil {
		return
	}
	s.doubt[node] = true
	s.side.Go(func() {
		err := s.opt.Stores.Probe(s.ctx, node)
		s.post(func() {
			delete(s.doubt, node)
			if err != nil && s.ctx.Err() == nil && s.end == nil {
				s.do(s.machine.NodeLost(batch.Node(node), &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Cause: err,
					Message: fmt.Sprintf("the agent at %s does not answer: %v", node, err)}))
			}
		})
	})
}

// Stop ends the sources: what was read is worked off and committed.
func (s *Batch) Stop() {
	s.post(func() {
		if s.wish != 0 || s.machine == nil || s.end != nil {
			return
		}
		s.wish = job.Stopped
		s.become(job.Stopping, nil)
		for _, src := range s.sources {
			src.stop()
		}
	})
}

// Cancel ends the job as it is.
func (s *Batch) Cancel() {
	s.post(func() {
		if s.machine == nil || s.end != nil {
			return
		}
		s.wish = job.Cancelled
		s.pub.stop()
		if s.state != job.Finishing {
			s.become(job.Cancelling, nil)
			s.do(s.machine.Fail(nil))
		}
	})
}

// Suspend is Cancel: another time the job begins at the beginning.
func (s *Batch) Suspend(savepoint string) {
	if savepoint != "" {
		s.opt.Log.Error("the savepoint was given up, and the job goes on", "savepoint", savepoint, "err", ErrBatch)
		return
	}
	s.Cancel()
}

// Savepoint refuses.
func (s *Batch) Savepoint(context.Context, string) (flow.Epoch, error) { return 0, ErrBatch }

// SavepointAndHold refuses too.
func (s *Batch) SavepointAndHold(context.Context, string) (flow.Epoch, error) { return 0, ErrBatch }
