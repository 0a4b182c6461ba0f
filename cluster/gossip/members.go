package gossip

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Status is how a member looks from here.
type Status string

// Statuses of members.
const (
	Alive  Status = "alive"
	Failed Status = "failed" // silent, and nobody else hears it either
	Left   Status = "left"   // it said so
)

// Member is an agent as gossip knows it.
type Member struct {
	Meta
	// Addr is where it gossips, host:port.
	Addr   string    `json:"addr"`
	Status Status    `json:"status"`
	Since  time.Time `json:"since"`
}

// EventKind says what has happened.
type EventKind string

// Kinds of events.
const (
	Joined       EventKind = "joined"  // it is here, or back
	Changed      EventKind = "changed" // it tells something else of itself
	MemberFailed EventKind = "failed"
	MemberLeft   EventKind = "left"
	Conflict     EventKind = "conflict" // another agent claims the same id, from another address
	Missed       EventKind = "missed"   // events were dropped: look at Members
	maxEvents              = 256
	maxGone                = 1000 // members that failed or left and are remembered
)

// Event is something that has happened. Member is empty for Missed.
type Event struct {
	Kind   EventKind
	Member Member
}

// table is what is known of members. The library calls it under its own lock: nothing here
// blocks.
type table struct {
	now    func() time.Time
	events chan Event

	mu struct {
		sync.Mutex
		members map[string]Member
		// goodbyes are those heard of last, oldest first.
		goodbyes []goodbye
		missed   bool
		ended    bool
	}
}

func newTable(now func() time.Time) *table {
	t := &table{now: now, events: make(chan Event, maxEvents)}
	t.mu.members = map[string]Member{}
	return t
}

// NotifyJoin is called for members that are new or back.
func (t *table) NotifyJoin(n *memberlist.Node) { t.alive(n, Joined) }

// NotifyUpdate is called when a member's meta has changed.
func (t *table) NotifyUpdate(n *memberlist.Node) { t.alive(n, Changed) }

func (t *table) alive(n *memberlist.Node, kind EventKind) {
	meta, err := decodeMeta(n.Name, n.Meta)
	if err != nil {
		return // NotifyAlive refuses it before
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	was, known := t.mu.members[n.Name]
	m := Member{Meta: meta, Addr: n.Address(), Status: Alive, Since: t.now()}
	if known && was.Status == Alive {
		m.Since = was.Since
	}
	t.mu.members[n.Name] = m
	t.tellLocked(Event{kind, m})
}

// NotifyLeave is called for members that failed or left.
func (t *table) NotifyLeave(n *memberlist.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, known := t.mu.members[n.Name]
	if !known {
		return
	}
	kind := MemberFailed
	m.Status, m.Since = Failed, t.now()
	if slices.Contains(t.mu.goodbyes, goodbye{n.Name, m.Instance}) {
		kind, m.Status = MemberLeft, Left
	}
	t.mu.members[n.Name] = m
	t.forgetLocked()
	t.tellLocked(Event{kind, m})
}

// hear takes in a goodbye, and reports whether it is news. It may come before the library
// notices that the member is gone, or after: a member taken for failed has then left.
func (t *table) hear(g goodbye) (news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if slices.Contains(t.mu.goodbyes, g) {
		return false
	}
	if len(t.mu.goodbyes) == maxGoodbyes {
		t.mu.goodbyes = t.mu.goodbyes[1:]
	}
	t.mu.goodbyes = append(slices.Clip(t.mu.goodbyes), g)
	if m, known := t.mu.members[g.id]; known && m.Status == Failed && m.Instance == g.instance {
		m.Status, m.Since = Left, t.now()
		t.mu.members[g.id] = m
		t.tellLocked(Event{MemberLeft, m})
	}
	return true
}

// goodbyes are those heard of last.
func (t *table) goodbyes() []goodbye {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.mu.goodbyes)
}

// count counts those alive.
func (t *table) count() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.mu.members {
		if m.Status == Alive {
			n++
		}
	}
	return n
}

// forgetLocked drops the member that is gone for longest, above the bound.
func (t *table) forgetLocked() {
	var gone []Member
	for _, m := range t.mu.members {
		if m.Status != Alive {
			gone = append(gone, m)
		}
	}
	if len(gone) > maxGone {
		oldest := slices.MinFunc(gone, func(x, y Member) int {
			return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Node.ID, y.Node.ID))
		})
		delete(t.mu.members, string(oldest.Node.ID))
	}
}

// NotifyAlive refuses a member whose meta cannot be read.
func (t *table) NotifyAlive(n *memberlist.Node) error {
	_, err := decodeMeta(n.Name, n.Meta)
	return err
}

// NotifyConflict is called when two agents have one id: a data directory was copied.
func (t *table) NotifyConflict(_, other *memberlist.Node) {
	meta, err := decodeMeta(other.Name, other.Meta)
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tellLocked(Event{Conflict, Member{Meta: meta, Addr: other.Address(), Status: Alive, Since: t.now()}})
}

// tellLocked queues an event. Where there is no room it is dropped, and that is said with
// the next one for which there is.
func (t *table) tellLocked(e Event) {
	if t.mu.ended {
		return
	}
	need := 1
	if t.mu.missed {
		need = 2
	}
	if cap(t.events)-len(t.events) < need {
		t.mu.missed = true
		return
	}
	if t.mu.missed {
		t.mu.missed = false
		t.events <- Event{Kind: Missed}
	}
	e.Member.Meta = e.Member.clone()
	t.events <- e
}

// end closes the events.
func (t *table) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.mu.ended {
		t.mu.ended = true
		close(t.events)
	}
}

func (t *table) list() []Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Member, 0, len(t.mu.members))
	for _, id := range slices.Sorted(maps.Keys(t.mu.members)) {
		m := t.mu.members[id]
		m.Meta = m.clone()
		list = append(list, m)
	}
	return list
}
