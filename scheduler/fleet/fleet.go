package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
)

// ErrSlots is wrapped by the error of a deployment for which there is no room. Callers may
// use errors.Is.
var ErrSlots = errors.New("there are not enough slots")

// Options configure a Fleet. The zero value works.
type Options struct {
	// Waiting is told what a deployment waits for, such as "waits for 2 of 4 slots", and
	// "" when it waits no more. It must not block.
	Waiting func(reason string)
	Log     *slog.Logger // default: nothing is logged
}

// Fleet is the executors of a job as one worker.
type Fleet struct {
	opt Options
	mu  struct {
		sync.Mutex
		roster    Roster
		workers   map[ID]api.Worker
		names     map[ID]string
		scheduler api.Scheduler
		change    chan struct{} // closed, and made anew, when slots have come or gone
	}
}

// New makes a fleet of nobody. Report must be called before a deployment.
func New(opt Options) *Fleet {
	if opt.Waiting == nil {
		opt.Waiting = func(string) {}
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{opt: opt}
	f.mu.workers, f.mu.names, f.mu.change = map[ID]api.Worker{}, map[ID]string{}, make(chan struct{})
	return f
}

// Report names the scheduler to which the executors report.
func (f *Fleet) Report(s api.Scheduler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.scheduler = s
}

// Join adds an executor, and returns its id and the scheduler to which it reports. One
// that is here under the same name is taken to be gone.
func (f *Fleet) Join(w api.Worker, h api.Hello) (ID, api.Scheduler) {
	f.mu.Lock()
	old := f.mu.roster.Named(h.Alloc)
	f.mu.Unlock()
	for _, id := range old {
		f.Leave(id, errors.New("it has come again"))
	}
	f.mu.Lock()
	id := f.mu.roster.Join(h)
	f.mu.workers[id] = w
	f.mu.names[id] = fmt.Sprintf("executor %s on node %s", h.Alloc, h.Node)
	f.changedLocked()
	slots, n := f.mu.roster.Slots(), len(f.mu.workers)
	f.mu.Unlock()
	f.opt.Log.Info("an executor has joined", "executor", h.Alloc, "data", h.Data, "slots", h.Slots, "executors", n, "slots of all", slots)
	return id, &reports{f, id}
}

// Leave removes an executor and reports its tasks as failed, once.
func (f *Fleet) Leave(id ID, why error) {
	f.mu.Lock()
	if f.mu.workers[id] == nil {
		f.mu.Unlock()
		return
	}
	name := f.mu.names[id]
	delete(f.mu.workers, id)
	delete(f.mu.names, id)
	attempt, lost := f.mu.roster.Leave(id)
	s := f.mu.scheduler
	f.changedLocked()
	f.mu.Unlock()
	f.opt.Log.Warn("an executor is gone", "executor", name, "why", why, "tasks", len(lost))
	for _, t := range lost {
		s.TaskState(&api.TaskState{Attempt: attempt, Task: t, State: api.Failed, Failure: &api.Failure{
			Domain: uint8(flow.DomainExternal), Retryable: true, Message: fmt.Sprintf("%s is gone: %v", name, why), Cause: why}})
	}
}

func (f *Fleet) changedLocked() {
	close(f.mu.change)
	f.mu.change = make(chan struct{})
}

// Slots counts those of all executors.
func (f *Fleet) Slots() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.roster.Slots()
}

// Await waits until there are so many slots.
func (f *Fleet) Await(ctx context.Context, need int) error {
	waited := false
	for {
		f.mu.Lock()
		have, change := f.mu.roster.Slots(), f.mu.change
		f.mu.Unlock()
		if have >= need {
			if waited {
				f.opt.Waiting("")
			}
			return nil
		}
		waited = true
		f.opt.Waiting(fmt.Sprintf("waits for %d of %d slots", need-have, need))
		select {
		case <-change:
		case <-ctx.Done():
			f.opt.Waiting("")
			return fmt.Errorf("waiting for slots: %w", context.Cause(ctx))
		}
	}
}

// reports is the scheduler as one executor has it.
type reports struct {
	f  *Fleet
	id ID
}

// heard returns the scheduler, if the message counts.
func (r *reports) heard(attempt uint64, t api.Task, ended bool) api.Scheduler {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	if !r.f.mu.roster.Heard(r.id, attempt, t, ended) {
		return nil
	}
	return r.f.mu.scheduler
}

func (r *reports) TaskState(m *api.TaskState) {
	ended := m.State == api.Finished || m.State == api.Failed || m.State == api.Cancelled
	if s := r.heard(m.Attempt, m.Task, ended); s != nil {
		s.TaskState(m)
	}
}

func (r *reports) Ack(m *api.Ack) {
	if s := r.heard(m.Attempt, m.Task, false); s != nil {
		s.Ack(m)
	}
}

func (r *reports) Decline(m *api.Decline) {
	if s := r.heard(m.Attempt, m.Task, false); s != nil {
		s.Decline(m)
	}
}

func (r *reports) RequestSplit(m *api.RequestSplit) {
	if s := r.heard(m.Attempt, m.Task, false); s != nil {
		s.RequestSplit(m)
	}
}

func (r *reports) FinishedSplit(m *api.FinishedSplit) {
	if s := r.heard(m.Attempt, m.Task, false); s != nil {
		s.FinishedSplit(m)
	}
}

func (r *reports) SourceWatermark(m *api.SourceWatermark) {
	if s := r.heard(m.Attempt, m.Task, false); s != nil {
		s.SourceWatermark(m)
	}
}
