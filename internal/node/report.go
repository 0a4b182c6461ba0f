package node

import (
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/scheduler/job"
)

// reporter tells of a job in the cluster's words, whenever something has changed.
type reporter struct {
	tell func(api.JobReport)
	mu   struct {
		sync.Mutex
		state   job.State
		waiting string        // for slots
		cause   string        // of the last failure, until tasks run again
		now     api.JobReport // without status and reason
		muted   bool
		// rescales says that the scheduler ends, or has, and that another one follows: its
		// end is not the job's.
		rescales bool
		last     api.JobReport // that was told
	}
}

func newReporter(slots int, tell func(api.JobReport)) *reporter {
	r := &reporter{tell: tell}
	r.mu.now.Slots = slots
	return r
}

// update changes what is known and tells of it. Calls are told in their order, since
// the lock is held; tell must not block.
func (r *reporter) update(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	now := r.mu.now
	now.Status = jobStatus[r.mu.state]
	now.Reason = r.mu.cause
	if r.mu.rescales && (r.mu.state == job.Cancelling || r.mu.state == job.Stopped || r.mu.state == job.Cancelled) {
		now.Status, now.Reason = api.JobStarting, "it gets another parallelism"
	}
	if r.mu.waiting != "" && !r.mu.state.Terminal() {
		now.Reason = r.mu.waiting
		if now.Status == api.JobStarting {
			now.Status = api.JobPending
		}
	}
	if now != r.mu.last && !r.mu.muted {
		r.mu.last = now
		r.tell(now)
	}
}

// jobStatus is what a state is called in the cluster.
var jobStatus = map[job.State]api.JobStatus{
	job.Created: api.JobStarting, job.Deploying: api.JobStarting, job.Failing: api.JobStarting, job.Restarting: api.JobStarting,
	job.Running: api.JobRunning, job.Finishing: api.JobRunning, job.Stopping: api.JobStopping, job.Cancelling: api.JobStopping,
	job.Finished: api.JobFinished, job.Stopped: api.JobStopped, job.Cancelled: api.JobCancelled, job.Failed: api.JobFailed,
}

// Notes are bounded: those that nobody has read in time are missed, by count.
const (
	maxNotes = 32
	maxNote  = 200
)

// tasks adds the reporter to what is told of tasks in batch mode. Of those that run for the
// first time one for each chain is told, of those that run again all are.
func (r *reporter) tasks(next func(scheduler.TaskEvent)) func(scheduler.TaskEvent) {
	ran, seen := map[flow.TaskID]bool{}, map[flow.ChainID]bool{}
	return func(e scheduler.TaskEvent) {
		text := e.Message
		switch e.Kind {
		case "started":
			if !ran[e.Task] {
				ran[e.Task] = true
				if seen[e.Task.Chain] {
					text = ""
				} else {
					text += ", the first of its chain"
				}
				seen[e.Task.Chain] = true
			}
		case "finished":
			text = ""
		}
		if text != "" {
			r.update(func() { r.note(text) })
		}
		if next != nil {
			next(e)
		}
	}
}

// note appends a line, under the lock.
func (r *reporter) note(text string) {
	text = strings.ReplaceAll(text, "\n", " ")
	if len(text) > maxNote {
		text = strings.ToValidUTF8(text[:maxNote], "") + "…"
	}
	var lines []string
	if r.mu.now.Notes != "" {
		lines = strings.Split(r.mu.now.Notes, "\n")
	}
	lines = append(lines, text)
	r.mu.now.Notes = strings.Join(lines[max(0, len(lines)-maxNotes):], "\n")
	r.mu.now.Noted++
}

func (r *reporter) waits(reason string) { r.update(func() { r.mu.waiting = reason }) }

// between says whether the end of the scheduler is not that of the job.
func (r *reporter) between(yes bool) { r.update(func() { r.mu.rescales = yes }) }

// scaled tells how many slots the next scheduler wants.
func (r *reporter) scaled(slots int) {
	r.update(func() { r.mu.rescales, r.mu.state, r.mu.now.Slots = false, job.Created, slots })
}

// mute says nothing any more: what becomes of the job is not this process's any longer.
func (r *reporter) mute() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.muted = true
}

// listen adds the reporter to what listens to the job.
func (r *reporter) listen(l scheduler.Listener) scheduler.Listener {
	state, committed, restored, restarting := l.State, l.Committed, l.Restored, l.Restarting
	l.State = func(s job.State, cause *flow.Failure) {
		if cause != nil && errors.Is(cause, store.ErrFenced) {
			r.mute()
		}
		r.update(func() {
			r.mu.state = s
			switch {
			case s == job.Running:
				r.mu.cause = ""
			case cause != nil:
				r.mu.cause = cause.Error()
			}
		})
		if state != nil {
			state(s, cause)
		}
	}
	l.Committed = func(b flow.Barrier) {
		r.update(func() { r.mu.now.Epoch = uint64(b.Epoch) })
		if committed != nil {
			committed(b)
		}
	}
	l.Restored = func(x scheduler.Restored) {
		r.update(func() { r.mu.now.Attempt, r.mu.now.Epoch = uint64(x.Attempt), uint64(x.Epoch) })
		if restored != nil {
			restored(x)
		}
	}
	l.Restarting = func(next flow.Attempt, delay time.Duration, cause *flow.Failure) {
		r.update(func() { r.mu.now.Attempt = uint64(next) })
		if restarting != nil {
			restarting(next, delay, cause)
		}
	}
	return l
}
