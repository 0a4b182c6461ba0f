package control

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
)

// Cluster is all that a decision depends on.
type Cluster struct {
	Now int64
	// Version is the leader's release. Nodes that are more than one minor release away get
	// nothing new. Default "": all do.
	Version string
	Nodes   []*Node
	Jobs    []*Job
	Allocs  []*Alloc
}

// Node is an agent.
type Node struct {
	api.Node
	Status api.NodeStatus
	// Heard is when the leader last heard of it. For a new leader that is at the earliest
	// when it came to lead: before, it was another that agents spoke to.
	Heard int64
	// Dead says that it is known to have no process: its lease need not be waited for.
	Dead bool
	// Leaves is whether its last report says that it goes. Who leaves has ended its executors.
	Leaves bool
	// DrainBy is when executors are ended though there is no other place for them. Default
	// 0: never.
	DrainBy int64
}

// Job is a job that was submitted, in its newest version.
type Job struct {
	Spec api.JobSpec
	Wish api.Wish
	// WishAt is since when that is wanted; executors that failed before do not count.
	WishAt int64
	// Slots is how many a user or the autoscaler wants. Default 0: see Wants.
	Slots int
	// Wants is how many its coordinator of this version has said that it wants. Default
	// 0: the parallelism of Spec.
	Wants  int
	Status api.JobStatus
	Reason string
	Since  int64 // when it came to its status
	// Term is that of its newest coordinator.
	Term uint64

	led bool // there is a coordinator that runs
}

// asked is how many slots its coordinator is to come to.
func (j *Job) asked() int {
	return max(1, cmp.Or(max(0, j.Slots), max(0, j.Wants), j.Spec.Parallelism))
}

// wanted is how many slots the job is to have now. A coordinator that runs with more than it is to
// come to keeps those until it does with less: executors that end before cost a restart.
func (j *Job) wanted() int {
	if j.led {
		return max(j.asked(), j.Wants)
	}
	return j.asked()
}

// Alloc is an executor.
type Alloc struct {
	api.Alloc
	Status api.AllocStatus
	Since  int64 // when it came to its state
}

// live reports whether the process is or may be there.
func (a *Alloc) live() bool { return !a.Status.State.Ended() }

// number is the allocation's within its job.
func (a *Alloc) number() int {
	_, n, _ := strings.Cut(string(a.ID[min(len(a.Job), len(a.ID)):]), ".")
	number, _ := strconv.Atoi(n) // what was named by others counts as the first
	return number
}

// failed reports whether it has ended and nobody wanted it.
func (a *Alloc) failed() bool {
	return !a.Stop && (a.Status.State == api.AllocFailed || a.Status.State == api.AllocEnded)
}

// Options are times and bounds of decisions.
type Options struct {
	// Lease is for how long a node may be silent. Default 3s.
	Lease time.Duration
	// Backoff is how long a job waits before the second try; the first comes at once, and
	// each further one after twice as long, up to MaxBackoff. Defaults 500ms, 30s.
	Backoff, MaxBackoff time.Duration
	// Tries is how many executors of a job may fail in a row before the job does; those that fail
	// together, before another is started, are one. A row ends when none
	// has failed for Quiet. Defaults 10, 1m.
	Tries int
	Quiet time.Duration
	// Linger is how long an executor that ended with code 0 is left alone before it is
	// replaced: most often its job ends, and the coordinator says so a little later.
	// Default 1s.
	Linger time.Duration
	// CancelWithin is how long a coordinator has to cancel its job. Default 10s.
	CancelWithin time.Duration
	// Hold is how long a job that lacks slots keeps those that it has, if others wait too.
	// Default 10s.
	Hold time.Duration
	// Settle is how long the next job is not moved off a draining node after the one
	// before, if that does not run earlier. Default 30s.
	Settle time.Duration
	// Keep is for how long a job that has ended is remembered. Default 7 days.
	Keep time.Duration
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	for _, d := range []struct {
		d    *time.Duration
		dflt time.Duration
	}{
		{&o.Lease, 3 * time.Second}, {&o.Backoff, 500 * time.Millisecond}, {&o.MaxBackoff, 30 * time.Second},
		{&o.Quiet, time.Minute}, {&o.Linger, time.Second}, {&o.CancelWithin, 10 * time.Second},
		{&o.Hold, 10 * time.Second}, {&o.Settle, 30 * time.Second}, {&o.Keep, 7 * 24 * time.Hour},
	} {
		if *d.d <= 0 {
			*d.d = d.dflt
		}
	}
	if o.Tries <= 0 {
		o.Tries = 10
	}
	o.MaxBackoff = max(o.MaxBackoff, o.Backoff)
}

// delay is how long to wait after tries executors failed in a row.
func (o *Options) delay(tries int) time.Duration {
	d := o.Backoff
	for i := 2; i < tries && d < o.MaxBackoff; i++ {
		d *= 2
	}
	if tries < 2 {
		return 0
	}
	return min(d, o.MaxBackoff)
}

// byAge sorts what a decision goes through: nodes by ID, jobs by age, allocations in the order in
// which they were made.
func (c *Cluster) byAge() {
	slices.SortFunc(c.Nodes, func(a, b *Node) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(c.Jobs, func(a, b *Job) int {
		return cmp.Or(cmp.Compare(a.Spec.Submitted, b.Spec.Submitted), cmp.Compare(a.Spec.Name, b.Spec.Name))
	})
	slices.SortFunc(c.Allocs, func(a, b *Alloc) int {
		return cmp.Or(cmp.Compare(a.Job, b.Job), cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
	})
}
