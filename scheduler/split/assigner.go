package split

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ID names a split within its source operator.
type ID string

// Policy says when a split goes to which subtask.
type Policy uint8

const (
	// OnDemand gives a subtask the oldest split when it asks for one. For splits
	// that end, such as ranges of files: a fast subtask reads more of them.
	OnDemand Policy = iota
	// Spread gives all splits at once, each to the subtask that owns the fewest.
	// For splits that are read side by side and may never end, such as partitions
	// of a topic. It waits until all subtasks are live, since the first one to come
	// would get everything, and so that a subtask that was lost finds its place
	// free when it comes back.
	Spread
)

// String is "on-demand" or "spread".
func (p Policy) String() string {
	switch p {
	case OnDemand:
		return "on-demand"
	case Spread:
		return "spread"
	}
	return fmt.Sprintf("policy(%d)", uint8(p))
}

// Action is something to tell a subtask: [Assign] or [NoMore].
type Action interface {
	fmt.Stringer
	action()
}

// Assign: the subtask shall read the split.
type Assign struct {
	Subtask int
	Split   ID
}

// NoMore: all splits of the source are finished, so that the subtask's input has ended.
type NoMore struct{ Subtask int }

func (Assign) action() {}
func (NoMore) action() {}

// String is for scripts and logs.
func (a Assign) String() string { return fmt.Sprintf("assign %s to %d", a.Split, a.Subtask) }

// String is for scripts and logs.
func (a NoMore) String() string { return fmt.Sprintf("no more for %d", a.Subtask) }

// Assigner assigns the splits of one source operator.
//
// It remembers the id of every split, finished ones too, so that one that is
// found again is not read again; that is what its memory is for.
type Assigner struct {
	policy   Policy
	subtasks []reader
	splits   map[ID]*split
	found    int      // splits so far; numbers them
	open     int      // splits that are not finished
	queue    []*split // by number
	waiting  []int    // subtasks whose request is not yet answered, oldest first
	noMore   bool
}

// reader is what is known of one subtask.
type reader struct {
	live, told bool
	owned      []*split // in the order of assignment
}

type split struct {
	id     ID
	number int
	owner  int // nobody, or a subtask
	done   bool
}

const nobody = -1

// New makes an assigner for a source of the given parallelism, 1 at least.
func New(policy Policy, parallelism int) *Assigner {
	if parallelism < 1 || policy > Spread {
		panic(fmt.Sprintf("split: assigner %s for %d subtasks", policy, parallelism))
	}
	return &Assigner{policy: policy, subtasks: make([]reader, parallelism), splits: make(map[ID]*split)}
}

// Found adds splits. Those that are known, finished or not, are ignored, and so
// are all after NoMore.
func (a *Assigner) Found(ids ...ID) []Action {
	if a.noMore {
		return nil
	}
	for _, id := range ids {
		if _, known := a.splits[id]; known {
			continue
		}
		s := &split{id: id, number: a.found, owner: nobody}
		a.found++
		a.open++
		a.splits[id] = s
		a.queue = append(a.queue, s)
	}
	return a.assign()
}

// NoMore says that no split will be found any more.
func (a *Assigner) NoMore() []Action {
	a.noMore = true
	return a.assign()
}

// Register says that the subtask is there. One that is live already stays what it is: a
// subtask that starts anew is first lost.
func (a *Assigner) Register(subtask int) []Action {
	if !a.valid(subtask) {
		return nil
	}
	a.subtasks[subtask].live = true
	return a.assign()
}

// Request says that the subtask wants one more split. It may own others. A second
// request before the first is answered is ignored; with Spread all are.
func (a *Assigner) Request(subtask int) []Action {
	if a.policy != OnDemand || !a.Live(subtask) || slices.Contains(a.waiting, subtask) {
		return nil
	}
	a.waiting = append(a.waiting, subtask)
	return a.assign()
}

// Finished says that the subtask has read the split to its end. It is ignored
// unless the subtask owns the split: a lost one may say it after its split went
// to another, which then reads it too.
func (a *Assigner) Finished(subtask int, id ID) []Action {
	s := a.splits[id]
	if s == nil || s.owner == nobody || s.owner != subtask {
		return nil
	}
	s.owner, s.done = nobody, true
	a.open--
	t := &a.subtasks[subtask]
	t.owned = slices.DeleteFunc(t.owned, func(o *split) bool { return o == s })
	return a.assign()
}

// SubtaskLost says that the subtask is gone. The splits it owns go back to the
// front of the queue; where they are to be read from is the shell's to know.
func (a *Assigner) SubtaskLost(subtask int) []Action {
	if !a.Live(subtask) {
		return nil
	}
	t := &a.subtasks[subtask]
	for _, s := range t.owned {
		s.owner = nobody
		a.queue = append(a.queue, s)
	}
	slices.SortFunc(a.queue, func(x, y *split) int { return cmp.Compare(x.number, y.number) })
	*t = reader{}
	a.waiting = slices.DeleteFunc(a.waiting, func(w int) bool { return w == subtask })
	return a.assign()
}

// Known reports whether the split was found before.
func (a *Assigner) Known(id ID) bool { return a.splits[id] != nil }

// Done reports whether NoMore was said and all splits are finished.
func (a *Assigner) Done() bool { return a.noMore && a.open == 0 }

// Live reports whether the subtask is registered.
func (a *Assigner) Live(subtask int) bool { return a.valid(subtask) && a.subtasks[subtask].live }

// Owner is the subtask that reads the split; false if none does.
func (a *Assigner) Owner(id ID) (int, bool) {
	s := a.splits[id]
	if s == nil || s.owner == nobody {
		return 0, false
	}
	return s.owner, true
}

// Progress counts the splits found so far and those finished.
func (a *Assigner) Progress() (found, finished int) { return a.found, a.found - a.open }

// Queued is the splits that nobody owns, in the order in which they will be assigned.
func (a *Assigner) Queued() []ID { return ids(a.queue) }

// Sort puts ids of known splits into the order in which they were found.
func (a *Assigner) Sort(ids []ID) {
	slices.SortFunc(ids, func(x, y ID) int { return cmp.Compare(a.splits[x].number, a.splits[y].number) })
}

// Owned is the unfinished splits of the subtask, in the order of assignment.
func (a *Assigner) Owned(subtask int) []ID {
	if !a.valid(subtask) {
		return nil
	}
	return ids(a.subtasks[subtask].owned)
}

func ids(splits []*split) []ID {
	out := make([]ID, len(splits))
	for i, s := range splits {
		out[i] = s.id
	}
	return out
}

func (a *Assigner) valid(subtask int) bool { return subtask >= 0 && subtask < len(a.subtasks) }

// assign hands out what can be, and then tells the end if it has come.
func (a *Assigner) assign() []Action {
	var acts []Action
	for len(a.queue) > 0 {
		to, ok := a.next()
		if !ok {
			return acts
		}
		s := a.queue[0]
		a.queue[0], a.queue = nil, a.queue[1:]
		s.owner = to
		a.subtasks[to].owned = append(a.subtasks[to].owned, s)
		acts = append(acts, Assign{to, s.id})
	}
	if !a.Done() {
		return acts
	}
	a.waiting = nil
	for i := range a.subtasks {
		if t := &a.subtasks[i]; t.live && !t.told {
			t.told = true
			acts = append(acts, NoMore{i})
		}
	}
	return acts
}

// next is the subtask that gets the next split, if one can have it now.
func (a *Assigner) next() (int, bool) {
	if a.policy == OnDemand {
		if len(a.waiting) == 0 {
			return 0, false
		}
		to := a.waiting[0]
		a.waiting = slices.Delete(a.waiting, 0, 1)
		return to, true
	}
	least := 0
	for i := range a.subtasks {
		if !a.subtasks[i].live {
			return 0, false
		}
		if len(a.subtasks[i].owned) < len(a.subtasks[least].owned) {
			least = i
		}
	}
	return least, true
}

// Describe prints the assigner for scripts.
func (a *Assigner) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, found=%d finished=%d queued=%v", a.policy, a.found, a.found-a.open, a.Queued())
	if len(a.waiting) > 0 {
		fmt.Fprintf(&b, " waiting=%v", a.waiting)
	}
	if a.noMore {
		b.WriteString(" no-more")
	}
	if a.Done() {
		b.WriteString(" done")
	}
	for i, t := range a.subtasks {
		switch {
		case !t.live:
			fmt.Fprintf(&b, "\n  %d: not there", i)
		case t.told:
			fmt.Fprintf(&b, "\n  %d: told the end", i)
		default:
			fmt.Fprintf(&b, "\n  %d: %v", i, ids(t.owned))
		}
	}
	return b.String()
}
