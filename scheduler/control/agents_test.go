package control

import (
	"fmt"
	"slices"

	"github.com/weirflow/weir/api"
)

// obey is an agent reading its orders.
func (w *world) obey(a *agent, m message) {
	a.acked = max(a.acked, m.sent)
	if m.index < a.index {
		return
	}
	a.index = m.index
	wanted := map[api.AllocID]bool{}
	for _, al := range m.orders {
		wanted[al.ID] = !al.Stop
		p := a.procs[al.ID]
		if p == nil && a.leaving {
			continue
		} else if p == nil && !al.Stop {
			p = &proc{alloc: al, state: api.AllocPending, at: w.now + int64(1+w.rng.IntN(6))*tick}
			a.procs[al.ID] = p
		} else if p == nil {
			a.procs[al.ID] = &proc{alloc: al, state: api.AllocEnded} // it was stopped before it was seen
			continue
		}
		if wish := m.wishes[al.Job]; p.wish != wish {
			p.wish, p.wishAt = wish, w.now
		}
	}
	for id, p := range a.procs {
		if _, listed := wanted[id]; !listed && p.state.Ended() {
			delete(a.procs, id)
		} else if !wanted[id] && !p.state.Ended() && !p.ending {
			p.ending = true
			// Not by the random source: the order of a map is not that of the next run.
			p.at = w.now + int64(len(id)+len(a.procs))%4*tick
		}
	}
}

// agent is what one does in a tick.
func (w *world) agent(a *agent) {
	if !a.up {
		if w.now >= a.back || !w.faults {
			a.up, a.leaving, a.acked, a.index = true, false, w.now, 0
			a.incarnation++
		}
		return
	}
	if a.leaving && w.now >= a.back {
		a.up, a.back, a.procs = false, w.now+20*tick, map[api.AllocID]*proc{}
		return
	}
	if w.now-a.acked > agentLease.Microseconds() {
		for _, p := range a.procs {
			if !p.state.Ended() {
				p.state, p.changed = api.AllocFailed, w.now
			}
		}
	}
	for _, p := range a.procs {
		switch {
		case p.state.Ended() || p.at > w.now:
		case p.ending:
			p.state, p.changed = api.AllocEnded, w.now
		case p.state == api.AllocPending:
			p.state, p.changed = api.AllocRunning, w.now
		}
	}
	if w.now/tick%3 == int64(a.slots)%3 {
		m := message{node: a.id, incarnation: a.incarnation, sent: w.now, report: true, leaving: a.leaving}
		for _, id := range sortedIDs(a.procs) {
			p := a.procs[id]
			s := api.AllocStatus{Alloc: id, State: p.state}
			if p.job != nil {
				s.Job = &api.JobReport{Status: *p.job, Slots: p.ran, Attempt: p.attempt}
			}
			m.statuses = append(m.statuses, s)
		}
		w.send(m)
	}
}

func sortedIDs(procs map[api.AllocID]*proc) []api.AllocID {
	ids := make([]api.AllocID, 0, len(procs))
	for id := range procs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// coordinators run jobs: the one of the highest term of those that are up.
func (w *world) coordinators() {
	newest := map[string]*proc{}
	slots := map[string]int{}
	var all []*proc
	for _, a := range w.agents {
		for _, id := range sortedIDs(a.procs) {
			p := a.procs[id]
			if p.state != api.AllocRunning {
				continue
			}
			all = append(all, p)
			slots[fmt.Sprint(p.alloc.Job, p.alloc.Version)] += p.alloc.Slots
			if old := newest[p.alloc.Job]; p.alloc.Coordinator && (old == nil || p.alloc.Term > old.alloc.Term) {
				newest[p.alloc.Job] = p
			}
		}
	}
	for _, p := range all {
		j := w.jobOf(p.alloc.Job)
		if newest[p.alloc.Job] != p || j == nil || p.job != nil && p.job.Ended() {
			continue
		}
		// It starts with all that is wanted, and goes on with what it has where more is wanted.
		status := api.JobStarting
		if has := slots[fmt.Sprint(p.alloc.Job, p.alloc.Version)]; has >= j.asked() || p.ran > 0 && has >= p.ran {
			status, p.ran = api.JobRunning, min(has, j.asked())
		} else if p.ran > 0 {
			p.ran = 0
			p.attempt++
		}
		old := w.now-p.wishAt > 10*tick
		switch {
		case p.wish == api.WishCancel && old && w.chance(70):
			status = api.JobCancelled
		case (p.wish == api.WishStop || p.wish == api.WishSave) && old && status == api.JobRunning:
			status = api.JobStopped
		case p.wish == api.WishStop || p.wish == api.WishSave:
			status = api.JobStopping
		case w.faults && status == api.JobRunning && w.rng.IntN(2000) == 0:
			status = api.JobFinished
		case w.faults && w.rng.IntN(4000) == 0:
			status = api.JobFailed
		}
		p.job = &status
		if !status.Ended() {
			continue
		}
		for _, q := range all { // they end by themselves, and this may be known before their job's end is
			if q.alloc.Job == p.alloc.Job && q.alloc.Version == p.alloc.Version && !q.ending {
				q.ending, q.at = true, w.now+int64(w.rng.IntN(4))*tick
			}
		}
	}
}
