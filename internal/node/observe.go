package node

import (
	"cmp"
	"slices"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/internal/obs/metrics"
	"github.com/weirflow/weir/internal/obs/traces"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/scheduler/job"
)

// Metrics makes the collector of a job whose operators count in r; see [Options].
func Metrics(r *obs.Registry) *metrics.Job {
	var states []string
	for s := job.Created; s <= job.Failed; s++ {
		states = append(states, s.String())
	}
	return metrics.NewJob(r, states)
}

// observe has m and t told what happens to the job, beside l.
func observe(l scheduler.Listener, m *metrics.Job, t *traces.Job) scheduler.Listener {
	if t != nil {
		l = both(tracing(t), l)
	}
	if m == nil {
		return l
	}
	return both(scheduler.Listener{
		State: func(s job.State, _ *flow.Failure) {
			m.State(s.String(), s == job.Deploying, s == job.Running, s == job.Failing)
		},
		Injected: func(b flow.Barrier) { m.Injected(uint64(b.Epoch), b.Kind.String()) },
		Acknowledged: func(b flow.Barrier, tasks []checkpoint.TaskSnapshot) {
			m.Acknowledged(uint64(b.Epoch), snapshot(tasks))
		},
		Committed:  func(b flow.Barrier) { m.Committed(uint64(b.Epoch), b.Kind.String()) },
		Aborted:    func(b flow.Barrier, _ string) { m.Aborted(uint64(b.Epoch), b.Kind.String()) },
		Restored:   func(r scheduler.Restored) { m.Restored(uint64(r.Attempt), uint64(r.Epoch)) },
		Restarting: func(flow.Attempt, time.Duration, *flow.Failure) { m.Restarting() },
	}, l)
}

// tracing tells t what happens to the job.
func tracing(t *traces.Job) scheduler.Listener {
	return scheduler.Listener{
		State: func(s job.State, cause *flow.Failure) {
			why := ""
			if cause != nil {
				why = cause.Error()
			}
			switch {
			case s == job.Deploying:
				t.Starting()
			case s == job.Running:
				t.Running()
			case s == job.Failing:
				t.Failing(why)
			case s.Terminal():
				t.Ended(why)
			}
		},
		Injected: func(b flow.Barrier) { t.Injected(uint64(b.Epoch), b.Kind.String()) },
		Acknowledged: func(b flow.Barrier, tasks []checkpoint.TaskSnapshot) {
			var all []traces.Task
			for i := range tasks {
				s := &tasks[i]
				all = append(all, traces.Task{Name: s.Task().String(), Took: time.Duration(s.Took) * time.Microsecond,
					Paused: time.Duration(s.Pause) * time.Microsecond, Bytes: s.Bytes})
			}
			slices.SortStableFunc(all, func(a, b traces.Task) int { return cmp.Compare(b.Took, a.Took) })
			t.Acknowledged(uint64(b.Epoch), all)
		},
		Committed:  func(b flow.Barrier) { t.Committed(uint64(b.Epoch)) },
		Aborted:    func(b flow.Barrier, reason string) { t.Aborted(uint64(b.Epoch), reason) },
		Restored:   func(r scheduler.Restored) { t.Restored(uint64(r.Attempt), uint64(r.Epoch)) },
		Restarting: func(flow.Attempt, time.Duration, *flow.Failure) {},
	}
}

// snapshot is what is told of the tasks' snapshots: a file that several name counts once.
func snapshot(tasks []checkpoint.TaskSnapshot) (s metrics.Snapshot) {
	seen := map[string]bool{}
	add := func(f *checkpoint.File) {
		if !seen[f.Blob] {
			seen[f.Blob] = true
			s.Bytes += f.Size
		}
	}
	for i := range tasks {
		t := &tasks[i]
		s.Added += t.Bytes
		s.Took = append(s.Took, time.Duration(t.Took)*time.Microsecond)
		s.Paused = append(s.Paused, time.Duration(t.Pause)*time.Microsecond)
		if t.Keyed != nil {
			for k := range t.Keyed.Files {
				add(&t.Keyed.Files[k])
			}
		}
		if t.InFlight != nil {
			add(t.InFlight)
			s.Overtaken += t.InFlight.Size
		}
	}
	return s
}

// both tells a, which has all functions, and then b, which may lack some.
func both(a, b scheduler.Listener) scheduler.Listener {
	return scheduler.Listener{
		State: func(s job.State, cause *flow.Failure) {
			a.State(s, cause)
			if b.State != nil {
				b.State(s, cause)
			}
		},
		Injected: func(x flow.Barrier) {
			a.Injected(x)
			if b.Injected != nil {
				b.Injected(x)
			}
		},
		Acknowledged: func(x flow.Barrier, tasks []checkpoint.TaskSnapshot) {
			a.Acknowledged(x, tasks)
			if b.Acknowledged != nil {
				b.Acknowledged(x, tasks)
			}
		},
		Committed: func(x flow.Barrier) {
			a.Committed(x)
			if b.Committed != nil {
				b.Committed(x)
			}
		},
		Aborted: func(x flow.Barrier, reason string) {
			a.Aborted(x, reason)
			if b.Aborted != nil {
				b.Aborted(x, reason)
			}
		},
		Restored: func(r scheduler.Restored) {
			a.Restored(r)
			if b.Restored != nil {
				b.Restored(r)
			}
		},
		Restarting: func(next flow.Attempt, delay time.Duration, cause *flow.Failure) {
			a.Restarting(next, delay, cause)
			if b.Restarting != nil {
				b.Restarting(next, delay, cause)
			}
		},
	}
}
