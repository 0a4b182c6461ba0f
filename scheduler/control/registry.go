package control

import (
	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/registry"
)

// Heard is what the leader knows of an agent and no registry does.
type Heard struct {
	At           int64
	Dead, Leaves bool
}

// From is the cluster as a registry has it. A node that heard does not name was not heard of: who
// has come to lead names all, as heard of at that moment.
func From(v *registry.View, heard map[api.NodeID]Heard, now int64, version string) *Cluster {
	c := &Cluster{Now: now, Version: version}
	for _, n := range v.Nodes() {
		h := heard[n.Info.ID]
		c.Nodes = append(c.Nodes, &Node{
			Node: n.Info, Status: n.Status, Heard: h.At, Dead: h.Dead, Leaves: h.Leaves,
		})
	}
	for _, j := range v.Jobs() {
		job := &Job{
			Spec: *j.Spec(), Wish: j.Wish, Slots: j.Scale.Parallelism, Status: j.Status, Reason: j.Reason, Since: j.Since, Term: j.Term,
		}
		if j.Reported >= job.Spec.Submitted { // else it is the version's before
			job.Wants = j.Report.Slots
		}
		for i := len(j.Events) - 1; i >= 0 && job.WishAt == 0; i-- {
			if k := j.Events[i].Kind; k == registry.EventWish || k == registry.EventSubmitted {
				job.WishAt = j.Events[i].Time
			}
		}
		c.Jobs = append(c.Jobs, job)
	}
	for _, a := range v.Allocs() {
		c.Allocs = append(c.Allocs, &Alloc{Alloc: a.Alloc, Status: a.Status, Since: a.Since})
	}
	return c
}

// Commands are what a registry has to be told, in this order; at is the index of the view that
// was decided on. Where a node is gone they are about nodes only: that changes jobs, so what was
// decided about them would be refused, and is decided again on the next view. Minor changes are
// left out unless reasons is set.
func (d *Decision) Commands(at uint64, reasons bool) []registry.Command {
	var cmds []registry.Command
	lost := false
	for _, n := range d.Nodes {
		cmds = append(cmds, &registry.SetNodeStatus{Node: n.Node, Status: n.Status, Reason: n.Reason, At: at})
		lost = lost || gone(n.Status)
	}
	if lost {
		return cmds
	}
	for i := range d.Jobs {
		j := &d.Jobs[i]
		switch {
		case j.Forget:
			cmds = append(cmds, &registry.ForgetJob{Job: j.Job})
			continue
		case j.Minor && (!reasons || j.Reason == ""): // a registry keeps the old reason then
			continue
		}
		for _, text := range j.Events {
			cmds = append(cmds, &registry.AddEvent{Job: j.Job, Kind: registry.EventPlaced, Text: text})
		}
		cmds = append(cmds, &registry.PutAllocs{Job: j.Job, At: at, Place: j.Start, Stop: j.Stop, Status: j.Status, Reason: j.Reason})
	}
	return cmds
}
