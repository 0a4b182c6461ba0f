package control

import (
	"fmt"

	"github.com/weirflow/weir/api"
)

// draining reports whether the executor has to leave its node.
func (r *round) draining(a *Alloc) bool {
	n := r.nodes[a.Node]
	return n != nil && (n.Status == api.NodeDraining || n.Status == api.NodeDrained)
}

// lookAtMoves finds out whether a job is leaving draining nodes: it has executors there and
// those that take their place, or it has left and does not run again yet.
func (r *round) lookAtMoves(j *Job) {
	here := r.here(j)
	over := slotsOf(here) > j.wanted()
	for _, a := range r.of[j.Spec.Name] {
		if !r.draining(a) || a.Version != j.Spec.Version {
			continue
		}
		switch {
		case a.live() && !a.Stop && over, a.live() && a.Stop,
			!a.live() && a.Stop && j.Status != api.JobRunning && !r.over(a.Since, r.o.Settle):
			r.moving[j.Spec.Name] = true
		}
	}
}

// move takes a job that has all it wants off draining nodes, one job at a time: other executors are
// started first, and when they run those on the node are ended. The job restarts once, from
// its newest epoch, and does not wait for processes to start. Its coordinator goes last, at
// the same moment as those; another is started at once, in the next term.
func (r *round) move(j *Job, ch *JobChange) {
	name := j.Spec.Name
	here := r.here(j)
	w := r.wants(j, here, nil)
	var co *Alloc
	settled := true
	for _, a := range here {
		settled = settled && a.Status.State == api.AllocRunning
		switch {
		case !r.draining(a):
		case a.Coordinator && a.Term == j.Term:
			co = a
		default:
			w.Move = append(w.Move, a.ID)
		}
	}
	if co == nil && len(w.Move) == 0 || !settled || slotsOf(here) != j.wanted() {
		return
	}
	if len(r.moving) > 0 && !r.moving[name] {
		return // another job's turn
	}
	last := len(w.Move) == 0
	if last {
		w.Move = append(w.Move, co.ID)
	}
	plan := r.fleet.Place(w)
	if !plan.Fits {
		for _, a := range here {
			if r.draining(a) {
				r.d.Notes = append(r.d.Notes, Note{a.Node, name, "to leave the node it " + plan.Reason})
				break
			}
		}
		return
	}
	r.moving[name] = true
	if last {
		r.stop(ch, co)
		r.start(j, ch, plan.Start, true, 0)
		r.status(j, ch, api.JobStarting, fmt.Sprintf("its coordinator leaves %s, which is draining", co.Node))
		return
	}
	r.start(j, ch, plan.Start, false, 0)
	ch.Events = append(ch.Events, fmt.Sprintf("%s started, to take the place of those on draining nodes", executors(len(plan.Start))))
}

// expire ends executors that have had their time to leave.
func (r *round) expire(j *Job, ch *JobChange) {
	for _, a := range r.here(j) {
		by := r.nodes[a.Node].DrainBy
		if by == 0 || !r.draining(a) {
			continue
		}
		if r.next(by); by <= r.c.Now {
			r.stop(ch, a)
			ch.Events = append(ch.Events, fmt.Sprintf("executor %s is ended: the time to drain %s is over", a.ID, a.Node))
		}
	}
}
