package control

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirflow/weir/api"
)

// Decision is what to do, in this order: changes of nodes first, then of jobs. Each change is made
// as a whole or not at all; a leader that is gone in between leaves the rest to the next.
type Decision struct {
	Nodes []NodeChange
	Jobs  []JobChange
	// Notes say what waits, for people. They are not decisions: the next call says them again.
	Notes []Note
	// Next is when to decide again though nothing has changed; 0: not before something does.
	Next int64
}

// NodeChange is a node's new status. What runs on a node that is lost or has left is lost with
// it.
type NodeChange struct {
	Node   api.NodeID
	Status api.NodeStatus
	Reason string
}

// JobChange is what happens to one job.
type JobChange struct {
	Job string
	// Start are new executors, at most one of them a coordinator, in a new term.
	Start []api.Alloc
	// Stop are executors that are to end.
	Stop []api.AllocID
	// Status and Reason are what the job comes to. An empty Status leaves both.
	Status api.JobStatus
	Reason string
	// Events say why, for people.
	Events []string
	// Minor says that only a reason has changed: it may be held back for some seconds, so
	// that jobs that wait do not fill the log with who else got a slot.
	Minor bool
	// Forget removes the job and its allocations.
	Forget bool
}

// Note is something that waits, while its job runs.
type Note struct {
	Node api.NodeID
	Job  string
	Text string
}

// Empty reports whether there is nothing to do.
func (d *Decision) Empty() bool { return len(d.Nodes) == 0 && len(d.Jobs) == 0 }

// String lists the changes, one a line.
func (d *Decision) String() string {
	var b strings.Builder
	for _, n := range d.Nodes {
		fmt.Fprintf(&b, "node %s is %s", n.Node, n.Status)
		if n.Reason != "" {
			fmt.Fprintf(&b, ": %s", n.Reason)
		}
		b.WriteString("\n")
	}
	for _, j := range d.Jobs {
		for _, id := range j.Stop {
			fmt.Fprintf(&b, "%s: stop %s\n", j.Job, id)
		}
		for _, a := range j.Start {
			fmt.Fprintf(&b, "%s: start %s\n", j.Job, describe(a))
		}
		for _, e := range j.Events {
			fmt.Fprintf(&b, "%s: event: %s\n", j.Job, e)
		}
		if j.Status != "" {
			fmt.Fprintf(&b, "%s: is %s", j.Job, j.Status)
			if j.Reason != "" {
				fmt.Fprintf(&b, ": %s", j.Reason)
			}
			b.WriteString("\n")
		}
		if j.Forget {
			fmt.Fprintf(&b, "%s: forget\n", j.Job)
		}
	}
	for _, n := range d.Notes {
		b.WriteString("note: ")
		if n.Node != "" {
			fmt.Fprintf(&b, "node %s, ", n.Node)
		}
		fmt.Fprintf(&b, "job %s: %s\n", n.Job, n.Text)
	}
	return b.String()
}

func describe(a api.Alloc) string {
	s := fmt.Sprintf("%s: %d on %s, version %d, term %d", a.ID, a.Slots, a.Node, a.Version, a.Term)
	if a.Coordinator {
		s += ", coordinator"
	}
	if a.Try > 0 {
		s += fmt.Sprintf(", try %d", a.Try)
	}
	return s
}

// Apply makes a decision's changes: what becomes of the cluster if they are carried out now.
func (c *Cluster) Apply(d *Decision) {
	for _, n := range d.Nodes {
		c.applyNode(n)
	}
	for i := range d.Jobs {
		c.applyJob(&d.Jobs[i])
	}
}

func (c *Cluster) applyNode(n NodeChange) {
	for _, node := range c.Nodes {
		if node.ID == n.Node {
			node.Status = n.Status
		}
	}
	if n.Status != api.NodeLost && n.Status != api.NodeLeft {
		return
	}
	for _, a := range c.Allocs {
		if a.Node == n.Node && a.live() {
			a.lose(c.Now, n)
		}
	}
}

func (a *Alloc) lose(now int64, n NodeChange) {
	a.Status.State, a.Since = api.AllocLost, now
	a.Status.Exit = fmt.Sprintf("node %s is %s", n.Node, n.Status)
}

func (c *Cluster) applyJob(ch *JobChange) {
	if ch.Forget {
		c.Jobs = slices.DeleteFunc(c.Jobs, func(j *Job) bool { return j.Spec.Name == ch.Job })
		c.Allocs = slices.DeleteFunc(c.Allocs, func(a *Alloc) bool { return a.Job == ch.Job })
		return
	}
	for _, a := range c.Allocs {
		if a.Job == ch.Job && slices.Contains(ch.Stop, a.ID) {
			a.Stop = true
		}
	}
	for _, j := range c.Jobs {
		if j.Spec.Name != ch.Job {
			continue
		}
		for _, a := range ch.Start {
			c.Allocs = append(c.Allocs, fresh(a, c.Now))
			j.Term = max(j.Term, a.Term)
		}
		if ch.Status != "" {
			if j.Status != ch.Status {
				j.Since = c.Now
			}
			j.Status, j.Reason = ch.Status, ch.Reason
		}
	}
}

// fresh is an allocation that was just made.
func fresh(a api.Alloc, now int64) *Alloc {
	return &Alloc{Alloc: a, Status: api.AllocStatus{Alloc: a.ID, State: api.AllocPending}, Since: now}
}
