// Package worker runs the tasks that a scheduler gives it: it joins them by
// exchanges, starts a goroutine for each, and passes messages on in both
// directions.
//
// A Worker is made for one plan. In an executor the plan is the one that the
// user's program has built there; messages name chains and operators by id.
//
// Invariants:
//
//  1. A message of another attempt than the deployed one does nothing.
//  2. The tasks of one attempt have ended before those of the next are made.
//  3. Every task that was started ends with one TaskState that is Finished, Failed
//     or Cancelled, and Run returns after the last of them.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/runtime/task"
	"github.com/weirflow/weir/shuffle/wire"
	"github.com/weirflow/weir/state"
)

// Options configure a Worker.
type Options struct {
	Plan      *graph.Plan
	Scheduler api.Scheduler
	// State makes the empty store of one task, which the worker restores. It is called
	// on the task's goroutine; maxParallelism and the key groups are the task's.
	State func(id flow.TaskID, maxParallelism int, groups flow.KeyGroupRange) (state.Store, error)
	// Storage keeps the snapshots of tasks. Nil: nothing is saved.
	Storage Storage
	// Staging keeps the files of an attempt's sinks. Nil: sinks that stage files fail.
	Staging func(flow.Attempt) operator.Staging
	// AlignTimeout is how long barriers are aligned before an epoch overtakes what is
	// under way; 0 is for ever.
	AlignTimeout time.Duration
	// Hashes makes the books keep sums of hashes beside counts.
	Hashes bool
	// BatchSize is the number of records after which a batch is sent, 1 at least.
	BatchSize int
	// Credit is the number of bytes that each partition may hold. Default
	// shuffle.DefaultCredit.
	Credit int
	// Endpoint is what tasks exchange records over with tasks in other processes. Nil: all
	// tasks of an attempt run here.
	Endpoint *wire.Endpoint
	// Outputs are for plans in batch mode: see Batch.
	Outputs  *Outputs
	Registry *obs.Registry
	Log      *slog.Logger
	Now      func() flow.Time
	// Seed makes the order in which tasks read their inputs random, for tests; 0
	// leaves it as it comes.
	Seed uint64
	// Batch is what the operators of each task work with in batch mode.
	Batch operator.Batch
}

// Worker implements api.Worker. Its methods may be called from any goroutine.
type Worker struct {
	opt  Options
	ctx  context.Context
	done sync.WaitGroup

	mu struct {
		sync.Mutex
		attempt flow.Attempt
		tasks   map[flow.TaskID]*task.Task
		order   []*task.Task
		living  int // tasks that have not ended
		remote  remote
	}
}

// Storage is where the snapshots of a job's tasks are; see [Stored].
type Storage interface {
	// Snapshots takes the snapshots of a task in an attempt. base is the files from
	// which the task's keyed state was opened in place, nil where it was not.
	Snapshots(id flow.TaskID, at flow.Attempt, base []checkpoint.File) task.Snapshots
	// Files gives the files of a snapshot back.
	Files(files []checkpoint.File) state.SavedFiles
}

// New makes a worker. Tasks end when ctx does.
func New(ctx context.Context, opt Options) *Worker {
	return &Worker{opt: opt, ctx: ctx}
}

// Wait returns when all tasks have ended.
func (w *Worker) Wait() { w.done.Wait() }

// Deploy makes all the tasks of an attempt, joins them, and starts them. The tasks of
// the attempt before must have ended: what they held, directories say, is taken over.
func (w *Worker) Deploy(m *api.Deploy) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at := w.mu.attempt; flow.Attempt(m.Attempt) <= at {
		return fmt.Errorf("worker: attempt %d is deployed already; %d is not newer", at, m.Attempt)
	}
	if n := w.mu.living; n > 0 {
		return fmt.Errorf("worker: attempt %d cannot be deployed: %d tasks of attempt %d have not ended", m.Attempt, n, w.mu.attempt)
	}
	b := &builder{w: w, job: flow.JobID(m.Job), attempt: flow.Attempt(m.Attempt), restored: flow.Epoch(m.Epoch), ends: map[endID]end{}}
	if err := b.build(m); err != nil {
		b.abandon()
		return fmt.Errorf("deploy: %w", err)
	}
	w.mu.attempt, w.mu.tasks, w.mu.order = b.attempt, map[flow.TaskID]*task.Task{}, b.tasks
	w.mu.living, w.mu.remote = len(b.tasks), b.remote
	for _, t := range b.tasks {
		w.mu.tasks[t.ID()] = t
	}
	for _, t := range b.tasks {
		w.done.Add(1)
		go w.run(b.attempt, t)
	}
	return nil
}

func (w *Worker) run(attempt flow.Attempt, t *task.Task) {
	defer w.done.Done()
	var err error
	// Profiles tell tasks apart by these; goroutines that the task starts have them too.
	pprof.Do(w.ctx, t.Labels(), func(context.Context) { err = t.Run() })
	w.mu.Lock()
	w.mu.living--
	var over remote
	if w.mu.living == 0 {
		over, w.mu.remote = w.mu.remote, remote{}
	}
	w.mu.Unlock()
	over.end()
	w.opt.Scheduler.TaskState(ended(attempt, t.ID(), err))
}

// ended tells of a task's end.
func ended(attempt flow.Attempt, id flow.TaskID, err error) *api.TaskState {
	m := &api.TaskState{Attempt: uint64(attempt), Task: apiTask(id)}
	var f *flow.Failure
	switch {
	case err == nil:
		m.State = api.Finished
	case errors.As(err, &f):
		m.State = api.Failed
		m.Failure = &api.Failure{Operator: string(f.Operator), Name: f.Name, Domain: uint8(f.Domain), Retryable: f.Retryable,
			Message: f.Text(), Record: f.Record, Position: f.Position, Stack: f.Stack, Cause: f.Cause}
	default:
		m.State = api.Cancelled
	}
	return m
}

func apiTask(id flow.TaskID) api.Task { return api.Task{Chain: string(id.Chain), Subtask: id.Subtask} }

func taskID(t api.Task) flow.TaskID {
	return flow.TaskID{Chain: flow.ChainID(t.Chain), Subtask: t.Subtask}
}

// one calls f with a task, if it is of the attempt.
func (w *Worker) one(attempt uint64, id api.Task, f func(*task.Task)) {
	w.mu.Lock()
	var t *task.Task
	if flow.Attempt(attempt) == w.mu.attempt {
		t = w.mu.tasks[taskID(id)]
	}
	w.mu.Unlock()
	if t != nil {
		f(t)
	}
}

// each calls f with the tasks named, or with all where none is.
func (w *Worker) each(attempt uint64, ids []api.Task, f func(*task.Task)) {
	if ids != nil {
		for _, id := range ids {
			w.one(attempt, id, f)
		}
		return
	}
	w.mu.Lock()
	var tasks []*task.Task
	if flow.Attempt(attempt) == w.mu.attempt {
		tasks = w.mu.order
	}
	w.mu.Unlock()
	for _, t := range tasks {
		f(t)
	}
}

// InjectBarrier starts an epoch at source tasks.
func (w *Worker) InjectBarrier(m *api.InjectBarrier) {
	b := flow.Barrier{Epoch: flow.Epoch(m.Epoch), Kind: flow.BarrierKind(m.Kind)}
	w.each(m.Attempt, m.Tasks, func(t *task.Task) {
		if m.Hold {
			t.Hold(b)
		} else {
			t.InjectBarrier(b)
		}
	})
}

// AbortEpoch makes all tasks go on without the epoch.
func (w *Worker) AbortEpoch(m *api.AbortEpoch) {
	w.each(m.Attempt, nil, func(t *task.Task) { t.AbortEpoch(flow.Epoch(m.Epoch)) })
}

// Committed tells all tasks that an epoch is committed.
func (w *Worker) Committed(m *api.Committed) {
	w.each(m.Attempt, nil, func(t *task.Task) { t.Committed(flow.Epoch(m.Epoch)) })
}

// AddSplits gives splits to a source's subtask.
func (w *Worker) AddSplits(m *api.AddSplits) {
	splits := splitsOf(m)
	w.one(m.Attempt, m.Task, func(t *task.Task) { t.AddSplits(splits) })
}

func splitsOf(m *api.AddSplits) []operator.Split {
	splits := make([]operator.Split, len(m.Splits))
	for i, s := range m.Splits {
		splits[i] = operator.Split{ID: s.ID, Data: s.Data, Size: s.Size}
	}
	return splits
}

// NoMoreSplits tells a source's subtask that it gets no more.
func (w *Worker) NoMoreSplits(m *api.NoMoreSplits) {
	w.one(m.Attempt, m.Task, (*task.Task).NoMoreSplits)
}

// NoSplitYet tells a source's subtask that there is no split for it now.
func (w *Worker) NoSplitYet(m *api.NoSplitYet) { w.one(m.Attempt, m.Task, (*task.Task).NoSplitYet) }

// Align tells the sources of a group its least watermark. Sources know their
// group; the tasks of others are told too and do nothing.
func (w *Worker) Align(m *api.Align) {
	w.each(m.Attempt, nil, func(t *task.Task) { t.Align(m.Group, flow.Time(m.Time)) })
}

// StopSources ends all sources before their time.
func (w *Worker) StopSources(m *api.StopSources) {
	w.each(m.Attempt, nil, (*task.Task).StopSource)
}

// FinishTasks ends tasks in order.
func (w *Worker) FinishTasks(m *api.FinishTasks) { w.each(m.Attempt, m.Tasks, (*task.Task).Finish) }

// CancelTasks ends tasks at once.
func (w *Worker) CancelTasks(m *api.CancelTasks) { w.each(m.Attempt, m.Tasks, (*task.Task).Cancel) }

// listener passes on what a task tells.
func (w *Worker) listener(attempt uint64, id flow.TaskID) task.Listener {
	s, at := w.opt.Scheduler, apiTask(id)
	state := func(st api.State) func() {
		return func() { s.TaskState(&api.TaskState{Attempt: attempt, Task: at, State: st}) }
	}
	return task.Listener{
		Running: state(api.Running),
		Drained: state(api.Drained),
		Ack: func(e flow.Epoch, prepared []checkpoint.Committable, snapshot *checkpoint.TaskSnapshot) {
			m := &api.Ack{Attempt: attempt, Task: at, Epoch: uint64(e)}
			for _, p := range prepared {
				m.Prepared = append(m.Prepared, apiPrepared(&p))
			}
			if snapshot != nil {
				m.Snapshot = checkpoint.AppendTaskSnapshot(nil, snapshot)
			}
			s.Ack(m)
		},
		Decline: func(e flow.Epoch, reason string) {
			s.Decline(&api.Decline{Attempt: attempt, Task: at, Epoch: uint64(e), Reason: reason})
		},
		RequestSplit: func(op flow.OperatorID) {
			s.RequestSplit(&api.RequestSplit{Attempt: attempt, Task: at, Operator: string(op)})
		},
		FinishedSplit: func(op flow.OperatorID, split string) {
			s.FinishedSplit(&api.FinishedSplit{Attempt: attempt, Task: at, Operator: string(op), Split: split})
		},
		SourceWatermark: func(op flow.OperatorID, group string, t flow.Time) {
			s.SourceWatermark(&api.SourceWatermark{Attempt: attempt, Task: at, Operator: string(op), Group: group, Time: int64(t)})
		},
	}
}

func apiPrepared(p *checkpoint.Committable) api.Prepared {
	m := api.Prepared{Operator: string(p.Operator), Epoch: uint64(p.Epoch), Data: p.Data, Records: p.Records}
	for _, f := range p.Files {
		m.Files = append(m.Files, api.File{Name: f.Name, Blob: f.Blob, Size: f.Size, CRC: f.CRC})
	}
	return m
}

// rand makes the source of chance of one task, nil where none is wanted.
func (w *Worker) rand(n int) *rand.Rand {
	if w.opt.Seed == 0 {
		return nil
	}
	return rand.New(rand.NewPCG(w.opt.Seed, uint64(n)))
}
