package registry

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weirflow/weir/api"
)

func (cmd *PutAllocs) apply(c *change) error {
	j := c.s.jobs[cmd.Job]
	if j == nil {
		return fmt.Errorf("%w: job %.100q", ErrNotFound, cmd.Job)
	}
	if j.Index > cmd.At {
		return fmt.Errorf("%w: job %s has changed at %d, after %d", ErrConflict, cmd.Job, j.Index, cmd.At)
	}
	if err := cmd.checkStatus(j); err != nil {
		return err
	}
	for _, id := range cmd.Stop {
		if a := c.s.allocs[id]; a == nil || a.Alloc.Job != cmd.Job {
			return fmt.Errorf("%w: allocation %.100q of job %s", ErrNotFound, id, cmd.Job)
		}
	}
	term, err := cmd.checkPlace(c, j)
	if err != nil {
		return err
	}
	if err := c.checkRoom(cmd); err != nil {
		return err
	}
	c.result.Repeat = !c.put(cmd, term)
	return nil
}

func (cmd *PutAllocs) checkStatus(j *Job) error {
	switch cmd.Status {
	case "", api.JobPending, api.JobStarting, api.JobRunning, api.JobStopping,
		api.JobFinished, api.JobStopped, api.JobCancelled, api.JobFailed:
	default:
		return fmt.Errorf("%w: %.40q is no status of a job", ErrRefused, cmd.Status)
	}
	if j.Status.Ended() && (len(cmd.Place) > 0 || cmd.Status != "" && cmd.Status != j.Status) {
		return fmt.Errorf("%w: job %s is %s", ErrRefused, j.Name, j.Status)
	}
	if cmd.Status.Ended() && len(cmd.Place) > 0 {
		return fmt.Errorf("%w: job %s cannot be %s and be given executors", ErrRefused, j.Name, cmd.Status)
	}
	return nil
}

// checkPlace looks at each new allocation by itself, and returns the job's term behind them.
func (cmd *PutAllocs) checkPlace(c *change, j *Job) (term uint64, err error) {
	term = j.Term
	coordinators := 0
	for i := range cmd.Place {
		if a := &cmd.Place[i]; a.Coordinator {
			if a.Term <= j.Term {
				return 0, fmt.Errorf("%w: a new coordinator of job %s has term %d, and the job had %d", ErrRefused, j.Name, a.Term, j.Term)
			}
			term = a.Term
			coordinators++
		}
	}
	if coordinators > 1 {
		return 0, fmt.Errorf("%w: job %s is given %d coordinators", ErrRefused, j.Name, coordinators)
	}
	seen := make(map[api.AllocID]bool, len(cmd.Place))
	for i := range cmd.Place {
		a := &cmd.Place[i]
		if err := checkName("an allocation", string(a.ID)); err != nil {
			return 0, err
		}
		switch {
		case seen[a.ID] || c.s.allocs[a.ID] != nil:
			return 0, fmt.Errorf("%w: allocation %s is there already", ErrRefused, a.ID)
		case a.Job != j.Name:
			return 0, fmt.Errorf("%w: allocation %s is of job %.100q, in a decision about job %s", ErrRefused, a.ID, a.Job, j.Name)
		case a.Version != j.Spec().Version:
			return 0, fmt.Errorf("%w: allocation %s is of version %d, and job %s has version %d",
				ErrConflict, a.ID, a.Version, j.Name, j.Spec().Version)
		case a.Slots < 1:
			return 0, fmt.Errorf("%w: allocation %s has %d slots", ErrRefused, a.ID, a.Slots)
		case a.Term != term:
			return 0, fmt.Errorf("%w: allocation %s has term %d, and job %s has %d", ErrRefused, a.ID, a.Term, j.Name, term)
		case a.Stop:
			return 0, fmt.Errorf("%w: allocation %s is new and to be ended", ErrRefused, a.ID)
		}
		seen[a.ID] = true
	}
	return term, nil
}

// checkRoom looks at the nodes on which allocations are to be put.
func (c *change) checkRoom(cmd *PutAllocs) error {
	if c.s.live+len(cmd.Place) > MaxAllocs {
		return fmt.Errorf("%w: there are %d executors, at most %d are possible", ErrLimit, c.s.live, MaxAllocs)
	}
	free := map[api.NodeID]int{}
	for i := range cmd.Place {
		a := &cmd.Place[i]
		n := c.s.nodes[a.Node]
		if n == nil {
			return fmt.Errorf("%w: node %.100q", ErrNotFound, a.Node)
		}
		if n.Index > cmd.At {
			return fmt.Errorf("%w: node %s has changed at %d, after %d", ErrConflict, n.Info.Name, n.Index, cmd.At)
		}
		if !n.Usable() {
			return fmt.Errorf("%w: node %s is %s", ErrRefused, n.Info.Name, n.Status)
		}
		if _, ok := free[a.Node]; !ok {
			free[a.Node] = n.Info.Slots - c.s.used(n)
		}
		if a.Slots > free[a.Node] {
			return fmt.Errorf("%w: allocation %s wants %d slots of node %s, which has %d free",
				ErrConflict, a.ID, a.Slots, n.Info.Name, max(free[a.Node], 0))
		}
		free[a.Node] -= a.Slots
	}
	return nil
}

// used counts the slots of a node's live allocations.
func (s *state) used(n *Node) (slots int) {
	for _, id := range n.Allocs {
		slots += s.allocs[id].Alloc.Slots
	}
	return slots
}

// put does what was checked, and reports whether anything has changed.
func (c *change) put(cmd *PutAllocs, term uint64) (changed bool) {
	stopped := c.stop(cmd.Stop)
	j := c.s.jobs[cmd.Job].clone()
	reason := cut(cmd.Reason, MaxText)
	status := cmd.Status != "" && cmd.Status != j.Status
	if status || reason != "" && reason != j.Reason && !j.Status.Ended() {
		j.Reason = reason
		changed = true
	}
	if !changed && stopped == 0 && len(cmd.Place) == 0 {
		return false
	}
	j.Term, j.Index = term, c.index
	for i := range cmd.Place {
		a := cmd.Place[i]
		c.s.allocs[a.ID] = &Alloc{
			Alloc: a, Status: api.AllocStatus{Alloc: a.ID, State: api.AllocPending}, Made: c.index, Since: c.time,
		}
		n := c.s.nodes[a.Node].clone()
		at, _ := slices.BinarySearch(n.Allocs, a.ID)
		n.Allocs = slices.Insert(n.Allocs, at, a.ID)
		c.s.nodes[a.Node] = n
		c.s.live++
		j.Allocs = append(j.Allocs, a.ID)
	}
	c.s.sortMade(j.Allocs)
	c.s.jobs[cmd.Job] = j
	if n := len(cmd.Place); n > 0 || stopped > 0 {
		c.note(Event{Kind: EventPlaced, Job: cmd.Job, Text: fmt.Sprintf("%d executors placed, %d told to end; term %d", n, stopped, term)})
	}
	if status {
		c.setJobStatus(cmd.Job, cmd.Status, reason)
	}
	return true
}

// sortMade sorts allocations by their making, which a snapshot can tell.
func (s *state) sortMade(ids []api.AllocID) {
	slices.SortFunc(ids, func(x, y api.AllocID) int {
		return cmp.Or(cmp.Compare(s.allocs[x].Made, s.allocs[y].Made), cmp.Compare(x, y))
	})
}

// stop asks for the end of allocations, and counts those for which that is new.
func (c *change) stop(ids []api.AllocID) (n int) {
	for _, id := range ids {
		if a := c.s.allocs[id]; a.Live() && !a.Alloc.Stop {
			a = a.clone()
			a.Alloc.Stop = true
			c.s.allocs[id] = a
			n++
		}
	}
	return n
}

func (cmd *UpdateAllocs) apply(c *change) error {
	if c.s.nodes[cmd.Node] == nil {
		return fmt.Errorf("%w: node %.100q: it has to register first", ErrNotFound, cmd.Node)
	}
	for i := range cmd.Statuses {
		switch state := cmd.Statuses[i].State; state {
		case api.AllocPending, api.AllocRunning, api.AllocEnded, api.AllocFailed, api.AllocLost:
		default:
			return fmt.Errorf("%w: %.40q is no state of an allocation", ErrRefused, state)
		}
	}
	changed := false
	for _, status := range cmd.Statuses {
		a := c.s.allocs[status.Alloc]
		if a == nil || a.Alloc.Node != cmd.Node || !a.Live() {
			if !status.State.Ended() {
				c.result.Unwanted = append(c.result.Unwanted, status.Alloc)
			}
			continue
		}
		// The report comes first: it may be the last word of a coordinator that has ended.
		if status.Job != nil && c.report(a, status.Job) {
			changed = true
		}
		if c.updateAlloc(c.s.allocs[status.Alloc], status) {
			changed = true
		}
	}
	c.result.Repeat = !changed
	return nil
}

// updateAlloc takes over what is told of a live allocation, and reports whether it is news.
func (c *change) updateAlloc(was *Alloc, status api.AllocStatus) bool {
	status.Job = nil
	status.Exit = cut(status.Exit, MaxText)
	status.Data, status.Control = cut(status.Data, MaxText), cut(status.Control, MaxText)
	if n := len(status.Lines); n > MaxLines {
		status.Lines = status.Lines[n-MaxLines:]
	}
	status.Lines = slices.Clone(status.Lines)
	for i, line := range status.Lines {
		status.Lines[i] = cut(line, MaxLine)
	}
	if status.State == api.AllocPending && was.Status.State == api.AllocRunning {
		return false // an older word that came late
	}
	if sameStatus(&status, &was.Status) {
		return false
	}
	a := was.clone()
	a.Status = status
	if status.State != was.Status.State {
		a.Since = c.time
	}
	c.s.allocs[status.Alloc] = a
	if a.Live() {
		if a.Alloc.Coordinator {
			// Agents that run the job are concerned: see Mark.
			c.s.jobs[a.Alloc.Job] = c.s.jobs[a.Alloc.Job].clone()
		}
		return true
	}
	c.s.live--
	if n := c.s.nodes[a.Alloc.Node]; n != nil {
		n = n.clone()
		if at, ok := slices.BinarySearch(n.Allocs, status.Alloc); ok {
			n.Allocs = slices.Delete(n.Allocs, at, at+1)
		}
		c.s.nodes[a.Alloc.Node] = n
	}
	j := c.s.jobs[a.Alloc.Job].clone()
	j.Index = c.index
	c.s.jobs[j.Name] = j
	text := fmt.Sprintf("executor %s on %s has %s", status.Alloc, a.Alloc.Node, status.State)
	if status.State == api.AllocLost {
		text = fmt.Sprintf("executor %s on %s is lost", status.Alloc, a.Alloc.Node)
	}
	if status.Exit != "" {
		text += ": " + status.Exit
	}
	c.note(Event{Kind: EventExecutor, Job: j.Name, Node: a.Alloc.Node, Alloc: status.Alloc, Text: text})
	c.forgetAllocs(j.Name)
	return true
}

func sameStatus(x, y *api.AllocStatus) bool {
	return x.State == y.State && x.PID == y.PID && x.Data == y.Data && x.Control == y.Control &&
		x.Exit == y.Exit && x.ExitCode == y.ExitCode && slices.Equal(x.Lines, y.Lines)
}

// forgetAllocs drops the oldest of a job's ended allocations above the bound.
func (c *change) forgetAllocs(job string) {
	j := c.s.jobs[job]
	ended := 0
	for _, id := range j.Allocs {
		if !c.s.allocs[id].Live() {
			ended++
		}
	}
	if ended <= MaxAllocsEnded {
		return
	}
	j = j.clone()
	j.Allocs = slices.DeleteFunc(j.Allocs, func(id api.AllocID) bool {
		if ended <= MaxAllocsEnded || c.s.allocs[id].Live() {
			return false
		}
		ended--
		delete(c.s.allocs, id)
		return true
	})
	c.s.jobs[job] = j
}
