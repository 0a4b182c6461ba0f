package fleet

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weirflow/weir/api"
)

// ID is an executor for as long as it has joined: one that comes again has another.
type ID uint64

// Roster is who is here, and who has which task. It belongs to one goroutine, or is
// used under a lock.
type Roster struct {
	next ID
	// here is in the order of joining.
	here    []member
	attempt uint64
	// owner is the executor of each task of the attempt that has not ended.
	owner map[api.Task]ID
	// known are the tasks of the attempt.
	known map[api.Task]bool
}

type member struct {
	id    ID
	hello api.Hello
}

// Join adds an executor.
func (r *Roster) Join(h api.Hello) ID {
	r.next++
	r.here = append(r.here, member{r.next, h})
	return r.next
}

// Leave removes an executor, and says which tasks end with it: they were its, and have
// not ended.
func (r *Roster) Leave(id ID) (attempt uint64, lost []api.Task) {
	r.here = slices.DeleteFunc(r.here, func(m member) bool { return m.id == id })
	for t, o := range r.owner {
		if o == id {
			lost = append(lost, t)
		}
	}
	for _, t := range lost {
		delete(r.owner, t)
	}
	slices.SortFunc(lost, compareTasks)
	return r.attempt, lost
}

func compareTasks(a, b api.Task) int {
	return cmp.Or(cmp.Compare(a.Chain, b.Chain), cmp.Compare(a.Subtask, b.Subtask))
}

// Named are the executors that have joined under a name.
func (r *Roster) Named(alloc api.AllocID) (ids []ID) {
	for _, m := range r.here {
		if m.hello.Alloc == alloc {
			ids = append(ids, m.id)
		}
	}
	return ids
}

// All are the executors that are here.
func (r *Roster) All() []ID {
	ids := make([]ID, len(r.here))
	for i, m := range r.here {
		ids[i] = m.id
	}
	return ids
}

// Slots counts those of all executors.
func (r *Roster) Slots() (n int) {
	for _, m := range r.here {
		n += m.hello.Slots
	}
	return n
}

// Need is how many slots a deployment takes.
func Need(tasks []api.Task) (n int) {
	for _, t := range tasks {
		n = max(n, t.Subtask+1)
	}
	return n
}

// Deploy splits a deployment: what each executor that gets a part of it is to run, in the
// order of their ids.
func (r *Roster) Deploy(m *api.Deploy) ([]Part, error) {
	if n := len(m.Restore); n > 0 && n != len(m.Tasks) {
		return nil, fmt.Errorf("fleet: %d tasks are to be restored from %d snapshots", len(m.Tasks), n)
	}
	need := Need(m.Tasks)
	if have := r.Slots(); have < need {
		return nil, fmt.Errorf("%w: the deployment takes %d, and there are %d on %d executors", ErrSlots, need, have, len(r.here))
	}
	slots := r.spread(need)
	r.attempt, r.owner, r.known = m.Attempt, map[api.Task]ID{}, map[api.Task]bool{}
	places := make([]api.Place, len(m.Tasks))
	parts := map[ID]*api.Deploy{}
	for i, t := range m.Tasks {
		at := slots[t.Subtask]
		places[i] = api.Place{Task: t, Data: at.hello.Data}
		p := parts[at.id]
		if p == nil {
			p = &api.Deploy{Job: m.Job, Attempt: m.Attempt, Epoch: m.Epoch, Parallelism: m.Parallelism}
			parts[at.id] = p
		}
		p.Tasks = append(p.Tasks, t)
		if len(m.Restore) > 0 {
			p.Restore = append(p.Restore, m.Restore[i])
		}
		r.owner[t], r.known[t] = at.id, true
	}
	out := make([]Part, 0, len(parts))
	for id, p := range parts {
		p.Places = places
		out = append(out, Part{id, p})
	}
	slices.SortFunc(out, func(a, b Part) int { return cmp.Compare(a.To, b.To) })
	return out, nil
}

// Part is what one executor gets of a deployment.
type Part struct {
	To     ID
	Deploy *api.Deploy
}

// stay are executors with just the slots that are needed, if that can be had: those that the
// leader keeps when the others are too many. The coordinator, which has joined before all
// others, comes first, then the oldest, as their names tell. See place.Fleet.
func (r *Roster) stay(need int) []member {
	if r.Slots() <= need {
		return slices.Clone(r.here)
	}
	order, first := slices.Clone(r.here), r.here[0].id
	for _, m := range order {
		first = min(first, m.id)
	}
	slices.SortStableFunc(order, func(a, b member) int {
		switch {
		case a.id == first:
			return -1
		case b.id == first:
			return 1
		}
		return cmp.Or(cmp.Compare(len(a.hello.Alloc), len(b.hello.Alloc)), cmp.Compare(a.hello.Alloc, b.hello.Alloc))
	})
	var kept []member
	left := need
	for i, m := range order {
		if m.hello.Slots <= left || i == 0 {
			kept = append(kept, m)
			left -= m.hello.Slots
		}
	}
	if left > 0 {
		return order
	}
	return kept
}

// spread chooses the executor of each slot that is needed: as evenly as their slots
// allow, and neighbours together, in the order of zones and names.
func (r *Roster) spread(need int) []member {
	order := r.stay(need)
	slices.SortStableFunc(order, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.hello.Zone, b.hello.Zone), cmp.Compare(a.hello.Alloc, b.hello.Alloc), cmp.Compare(a.id, b.id))
	})
	counts := make([]int, len(order))
	for left := need; left > 0; {
		for i := range order {
			if left > 0 && counts[i] < order[i].hello.Slots {
				counts[i]++
				left--
			}
		}
	}
	slots := make([]member, 0, need)
	for i, n := range counts {
		for range n {
			slots = append(slots, order[i])
		}
	}
	return slots
}

// Owner is the executor that has a task of an attempt; false where none has it any more.
func (r *Roster) Owner(attempt uint64, t api.Task) (ID, bool) {
	if attempt != r.attempt {
		return 0, false
	}
	id, ok := r.owner[t]
	return id, ok
}

// Split deals tasks out by their executors, in the order of ids. Tasks that nobody has
// are rest.
func (r *Roster) Split(attempt uint64, tasks []api.Task) (shares []Share, rest []api.Task) {
	by := map[ID][]api.Task{}
	for _, t := range tasks {
		if id, ok := r.Owner(attempt, t); ok {
			by[id] = append(by[id], t)
		} else {
			rest = append(rest, t)
		}
	}
	for id, ts := range by {
		shares = append(shares, Share{id, ts})
	}
	slices.SortFunc(shares, func(a, b Share) int { return cmp.Compare(a.To, b.To) })
	return shares, rest
}

// Share is some executor's share of tasks.
type Share struct {
	To    ID
	Tasks []api.Task
}

// Unknown are those of tasks that the attempt does not have: of them nothing will ever
// be heard. A task that has ended is not unknown.
func (r *Roster) Unknown(attempt uint64, tasks []api.Task) (unknown []api.Task) {
	for _, t := range tasks {
		if attempt != r.attempt || !r.known[t] {
			unknown = append(unknown, t)
		}
	}
	return unknown
}

// Heard says whether a message that an executor sends of a task counts. ended is whether
// it is the task's last.
func (r *Roster) Heard(from ID, attempt uint64, t api.Task, ended bool) bool {
	if id, ok := r.Owner(attempt, t); !ok || id != from {
		return false
	}
	if ended {
		delete(r.owner, t)
	}
	return true
}
