package control

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/scheduler/place"
)

// round is one decision in the making. What it decides it does to the cluster at once, so
// that what comes after is decided on what will be.
type round struct {
	c     *Cluster
	o     Options
	fleet *place.Fleet
	nodes map[api.NodeID]*Node
	of    map[string][]*Alloc // of a job, in the order of their making
	// moving are jobs that are leaving draining nodes.
	moving  map[string]bool
	waiting int // jobs that lack slots
	d       Decision
}

// Decide says what to do now. It changes c to what will be when that is done; who needs it as it
// was makes a copy.
func Decide(c *Cluster, o Options) Decision {
	o.EnsureDefaults()
	c.byAge()
	r := &round{
		c: c, o: o, nodes: make(map[api.NodeID]*Node, len(c.Nodes)),
		of: make(map[string][]*Alloc, len(c.Jobs)), moving: map[string]bool{},
	}
	for _, n := range c.Nodes {
		r.nodes[n.ID] = n
	}
	for _, a := range c.Allocs {
		r.of[a.Job] = append(r.of[a.Job], a)
	}
	r.leases()
	r.count()
	for _, j := range c.Jobs {
		co := coordinator(j, r.here(j))
		j.led = co != nil && co.Status.State == api.AllocRunning
		if !j.Status.Ended() {
			r.lookAtMoves(j)
			if j.Status == api.JobPending {
				r.waiting++
			}
		}
	}
	for _, j := range c.Jobs {
		ch := JobChange{Job: j.Spec.Name}
		r.job(j, &ch)
		if len(ch.Start)+len(ch.Stop) > 0 || ch.Status != "" || ch.Forget {
			ch.Minor = ch.Minor && len(ch.Start)+len(ch.Stop) == 0
			r.d.Jobs = append(r.d.Jobs, ch)
		}
	}
	for i := range r.d.Jobs {
		if r.d.Jobs[i].Forget {
			c.applyJob(&r.d.Jobs[i])
		}
	}
	return r.d
}

// next asks to be called again at a time.
func (r *round) next(at int64) {
	if at > r.c.Now && (r.d.Next == 0 || at < r.d.Next) {
		r.d.Next = at
	}
}

// since is how long ago something was. It is never negative: what happened later than now was told
// by another clock.
func (r *round) since(at int64) time.Duration {
	return time.Duration(max(0, r.c.Now-at)) * time.Microsecond
}

// over reports whether d has passed since a time, and if not asks for a call when it has. A time
// that is further ahead than d was told by a clock that nobody goes by any more.
func (r *round) over(at int64, d time.Duration) bool {
	if r.since(at) >= d || at-r.c.Now > d.Microseconds() {
		return true
	}
	r.next(at + d.Microseconds())
	return false
}

// leases looks at who is still there.
func (r *round) leases() {
	running := map[api.NodeID]int{}
	for _, a := range r.c.Allocs {
		if n := r.nodes[a.Node]; a.live() && (n == nil || gone(n.Status)) {
			a.lose(r.c.Now, NodeChange{Node: a.Node, Status: api.NodeLost}) // the registry has done so
		}
		if a.live() {
			running[a.Node]++
		}
	}
	for _, n := range r.c.Nodes {
		if gone(n.Status) {
			continue // until it comes again
		}
		switch silent := r.since(n.Heard) > r.o.Lease; {
		case n.Leaves:
			r.node(n, api.NodeLeft, "it has said so")
			continue
		case n.Dead:
			r.node(n, api.NodeLost, "its agent has ended")
			continue
		case silent:
			r.node(n, api.NodeLost, fmt.Sprintf("nothing was heard of it for %s", r.o.Lease))
			continue
		}
		r.next(min(n.Heard, r.c.Now) + r.o.Lease.Microseconds() + 1)
		if n.Status == api.NodeDraining && running[n.ID] == 0 {
			r.node(n, api.NodeDrained, "")
		}
	}
}

func gone(s api.NodeStatus) bool { return s == api.NodeLost || s == api.NodeLeft }

// node brings a node to a status.
func (r *round) node(n *Node, status api.NodeStatus, reason string) {
	change := NodeChange{n.ID, status, reason}
	r.d.Nodes = append(r.d.Nodes, change)
	r.c.applyNode(change)
}

// count finds out what is free.
func (r *round) count() {
	used, ending := map[api.NodeID]int{}, map[api.NodeID]int{}
	for _, a := range r.c.Allocs {
		if a.live() {
			used[a.Node] += a.Slots
			if a.Stop {
				ending[a.Node] += a.Slots
			}
		}
	}
	nodes := make([]place.Node, 0, len(r.c.Nodes))
	for _, n := range r.c.Nodes {
		if n.Slots <= 0 {
			continue
		}
		p := place.Node{ID: n.ID, Name: n.Name, Zone: n.Zone, Free: max(0, n.Slots-used[n.ID]), Ending: ending[n.ID]}
		switch {
		case n.Status != api.NodeReady:
			p.Closed = string(n.Status)
		case skewed(n.Version, r.c.Version):
			p.Closed = fmt.Sprintf("of release %s, too far from the leader's %s", n.Version, r.c.Version)
		}
		nodes = append(nodes, p)
	}
	r.fleet = place.NewFleet(nodes)
}

// skewed reports whether two releases are more than a minor one apart. What is not written
// like a release is of any.
func skewed(a, b string) bool {
	majorA, minorA, okA := release(a)
	majorB, minorB, okB := release(b)
	return okA && okB && (majorA != majorB || max(minorA-minorB, minorB-minorA) > 1)
}

func release(s string) (major, minor int, ok bool) {
	first, rest, _ := strings.Cut(strings.TrimPrefix(s, "v"), ".")
	second, _, _ := strings.Cut(rest, ".")
	major, errMajor := strconv.Atoi(first)
	minor, errMinor := strconv.Atoi(second)
	return major, minor, errMajor == nil && errMinor == nil
}

// stop tells an executor to end.
func (r *round) stop(ch *JobChange, a *Alloc) {
	if a.live() && !a.Stop {
		a.Stop = true
		ch.Stop = append(ch.Stop, a.ID)
		r.fleet.End(a.Node, a.Slots)
	}
}

// start places executors. If the job is to have a new coordinator it is the one
// whose node runs an executor of the job already and so has its program, else the
// largest.
func (r *round) start(j *Job, ch *JobChange, starts []place.Start, coordinator bool, try int) {
	last, known := 0, map[api.NodeID]bool{}
	for _, a := range r.of[j.Spec.Name] {
		last = max(last, a.number())
		if a.Version == j.Spec.Version && a.Status.State == api.AllocRunning {
			known[a.Node] = true
		}
	}
	chosen := -1
	if coordinator {
		chosen = 0
		for i, s := range starts {
			was := starts[chosen]
			if known[s.Node] != known[was.Node] {
				if known[s.Node] {
					chosen = i
				}
			} else if s.Slots > was.Slots {
				chosen = i
			}
		}
		j.Term++
	}
	for i, s := range starts {
		last++
		a := api.Alloc{
			ID: api.AllocID(fmt.Sprintf("%s.%d", j.Spec.Name, last)), Job: j.Spec.Name, Node: s.Node, Version: j.Spec.Version,
			Coordinator: i == chosen, Slots: s.Slots, Term: j.Term, Try: try,
		}
		r.fleet.Take(s.Node, s.Slots)
		ch.Start = append(ch.Start, a)
		made := fresh(a, r.c.Now)
		r.c.Allocs = append(r.c.Allocs, made)
		r.of[j.Spec.Name] = append(r.of[j.Spec.Name], made)
	}
}

// status brings a job to a status.
func (r *round) status(j *Job, ch *JobChange, status api.JobStatus, reason string) {
	if j.Status == status && j.Reason == reason {
		return
	}
	if ch.Minor = j.Status == status && (ch.Status == "" || ch.Minor); !ch.Minor {
		j.Since = r.c.Now
	}
	j.Status, j.Reason = status, reason
	ch.Status, ch.Reason = status, reason
}
