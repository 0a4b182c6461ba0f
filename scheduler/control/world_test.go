package control

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
)

// A world is a cluster as it may be: a registry, whoever leads, and agents with processes, which
// speak to the leader by messages that come late, twice or never. It is a program of one
// goroutine; the same seed gives the same world.

const (
	tick       = 50_000 // microseconds
	agentLease = 800 * time.Millisecond
)

var worldOptions = Options{
	Lease: time.Second, Backoff: 100 * time.Millisecond, MaxBackoff: time.Second, Quiet: 3 * time.Second, Linger: 200 * time.Millisecond,
	CancelWithin: time.Second, Hold: time.Second, Settle: time.Second, Tries: 1000, Keep: time.Hour,
}

type proc struct {
	alloc   api.Alloc
	state   api.AllocState
	at      int64 // when the state changes by itself: it is up, or it ends as it was told
	ending  bool
	job     *api.JobStatus // what a coordinator reports
	ran     int            // with how many slots it runs its job
	attempt uint64         // counts how often it had to start it again
	wish    api.Wish
	wishAt  int64
	changed int64
}

type agent struct {
	id          api.NodeID
	slots       int
	up, cut     bool
	back        int64 // when it comes up again
	incarnation int
	acked       int64 // when the newest report was sent that was answered
	index       int   // of the newest orders
	procs       map[api.AllocID]*proc
	leaving     bool
}

// message is a report, or orders.
type message struct {
	due         int64
	node        api.NodeID
	incarnation int
	sent        int64 // the report's
	report      bool
	leaving     bool
	statuses    []api.AllocStatus
	index       int
	orders      []api.Alloc
	wishes      map[string]api.Wish
}

type world struct {
	rng      *rand.Rand
	now      int64
	skew     int64 // the leader's clock
	faults   bool
	c        *Cluster
	index    int // of the registry's newest change
	changed  map[string]int
	reports  map[api.AllocID]api.JobReport
	known    map[api.NodeID]int // the incarnation that is registered
	agents   []*agent
	messages []message
	answers  []message // until all messages of a tick are read
	next     int64
	decided  int // index at the last decision
	late     *Decision
	lateAt   int64
	lateIdx  int
	wrong    error
	log      []string
	counts   map[string]int
}

func newWorld(seed uint64) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 1)), now: time.Hour.Microseconds(), faults: true, c: &Cluster{}, changed: map[string]int{},
		reports: map[api.AllocID]api.JobReport{}, known: map[api.NodeID]int{}, counts: map[string]int{},
	}
	for i := range 2 + w.rng.IntN(4) {
		w.agents = append(w.agents, &agent{
			id: api.NodeID(fmt.Sprint("n", i)), slots: 1 + w.rng.IntN(4), up: true, incarnation: 1, procs: map[api.AllocID]*proc{},
		})
	}
	return w
}

func (w *world) say(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%7.2fs ", float64(w.now-time.Hour.Microseconds())/1e6)+fmt.Sprintf(format, args...))
}

// clock is the leader's.
func (w *world) clock() int64 { return w.now + w.skew }

func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }

func (w *world) touch(job string) {
	w.index++
	if job != "" {
		w.changed[job] = w.index
	}
}

func (w *world) jobOf(name string) *Job {
	i := slices.IndexFunc(w.c.Jobs, func(j *Job) bool { return j.Spec.Name == name })
	if i < 0 {
		return nil
	}
	return w.c.Jobs[i]
}

func (w *world) nodeOf(id api.NodeID) *Node {
	i := slices.IndexFunc(w.c.Nodes, func(n *Node) bool { return n.ID == id })
	if i < 0 {
		return nil
	}
	return w.c.Nodes[i]
}

// step is one tick.
func (w *world) step() error {
	w.now += tick
	w.deliver()
	for _, a := range w.agents {
		w.agent(a)
	}
	w.coordinators()
	w.lead()
	if w.wrong != nil {
		return w.wrong
	}
	return w.safe()
}

// send puts a message on its way, or loses it, or doubles it.
func (w *world) send(m message) {
	n := 1
	if w.faults {
		if w.chance(10) {
			return
		}
		if w.chance(5) {
			n = 2
		}
	}
	for range n {
		m.due = w.now + int64(w.rng.IntN(3))*tick
		w.messages = append(w.messages, m)
	}
}

func (w *world) deliver() {
	var later []message
	for _, m := range w.messages {
		a := w.agents[slices.IndexFunc(w.agents, func(a *agent) bool { return a.id == m.node })]
		switch {
		case m.due > w.now:
			later = append(later, m)
		case a.cut:
		case m.report:
			w.hear(a, m)
		case a.up && a.incarnation == m.incarnation:
			w.obey(a, m)
		}
	}
	w.messages = append(later, w.answers...)
	w.answers = nil
}

// hear is the leader reading a report.
func (w *world) hear(a *agent, m message) {
	if m.incarnation < w.known[a.id] {
		return // of an agent that is gone
	}
	n := w.nodeOf(a.id)
	if n == nil {
		n = &Node{Node: api.Node{ID: a.id, Slots: a.slots}, Status: api.NodeReady}
		w.c.Nodes = append(w.c.Nodes, n)
		w.touch("")
	}
	if m.incarnation > w.known[a.id] {
		// It has just started: what it ran is lost.
		w.known[a.id] = m.incarnation
		w.lose(a.id)
		n.Leaves, n.Dead = false, false
	}
	if gone(n.Status) && !m.leaving {
		n.Status, n.Leaves, n.Dead = api.NodeReady, false, false
		w.touch("")
	}
	n.Heard = w.clock()
	if m.leaving && !n.Leaves {
		n.Leaves = true
		w.touch("")
	}
	for _, s := range m.statuses {
		w.update(a.id, s)
	}
	reply := message{node: a.id, incarnation: m.incarnation, sent: m.sent, index: w.index, wishes: map[string]api.Wish{}}
	for _, al := range w.c.Allocs {
		if al.Node == a.id && al.live() {
			reply.orders = append(reply.orders, al.Alloc)
			if j := w.jobOf(al.Job); j != nil {
				reply.wishes[al.Job] = j.Wish
			}
		}
	}
	held := w.messages
	w.messages = w.answers
	w.send(reply)
	w.messages, w.answers = held, w.messages
}

func (w *world) lose(node api.NodeID) {
	for _, al := range w.c.Allocs {
		if al.Node == node && al.live() {
			al.Status.State, al.Since = api.AllocLost, w.clock()
			w.touch(al.Job)
		}
	}
}

// update is the registry's: what has ended stays so.
func (w *world) update(node api.NodeID, s api.AllocStatus) {
	for _, al := range w.c.Allocs {
		if al.ID != s.Alloc || al.Node != node || !al.live() {
			continue
		}
		j := w.jobOf(al.Job)
		if s.Job != nil && j != nil && al.Coordinator && al.Term == j.Term && al.Version == j.Spec.Version && !j.Status.Ended() &&
			w.reports[al.ID] != *s.Job {
			w.reports[al.ID] = *s.Job
			j.Wants = s.Job.Slots
			w.setStatus(j, s.Job.Status)
		}
		if s.State == al.Status.State || s.State == api.AllocPending {
			continue
		}
		al.Status, al.Since = s, w.clock()
		al.Status.Job = nil
		w.touch(al.Job)
	}
}

func (w *world) setStatus(j *Job, s api.JobStatus) {
	if j.Status == s {
		return
	}
	w.say("%s is %s, says its coordinator", j.Spec.Name, s)
	j.Status, j.Reason, j.Since = s, "", w.clock()
	w.touch(j.Spec.Name)
	if s.Ended() {
		for _, al := range w.c.Allocs {
			if al.Job == j.Spec.Name && al.live() {
				al.Stop = true
			}
		}
	}
}

// lead is the leader: it decides, and does all of it, or a part and is gone, or does it late.
func (w *world) lead() {
	if w.late != nil && w.now >= w.lateAt {
		w.carry(w.late, w.lateIdx, 1<<30)
		w.late = nil
	}
	if w.late != nil || w.index == w.decided && (w.next == 0 || w.clock() < w.next) {
		return
	}
	c := clone(w.c)
	c.Now = w.clock()
	d := Decide(c, worldOptions)
	w.counts["decisions"]++
	w.next, w.decided = d.Next, w.index
	if d.Empty() {
		return
	}
	switch {
	case w.faults && w.chance(10):
		w.late, w.lateAt, w.lateIdx = &d, w.now+int64(1+w.rng.IntN(4))*tick, w.index
	case w.faults && w.chance(10):
		w.carry(&d, w.index, w.rng.IntN(len(d.Nodes)+len(d.Jobs)+1))
		w.elect()
	default:
		w.carry(&d, w.index, 1<<30)
	}
}

// elect gives the world another leader, with another clock, who has heard of nobody yet.
func (w *world) elect() {
	w.say("another leader")
	w.counts["leaders"]++
	w.skew = int64(w.rng.IntN(81)-40) * tick
	w.late, w.next, w.decided = nil, 0, -1
	for _, n := range w.c.Nodes {
		n.Heard, n.Dead = w.clock(), false
	}
}

// carry makes changes as the registry does: those about records that have changed are refused.
func (w *world) carry(d *Decision, index, most int) {
	w.c.Now = w.clock()
	for _, n := range d.Nodes {
		if most--; most < 0 {
			return
		}
		if node := w.nodeOf(n.Node); !gone(node.Status) && (index == w.index || gone(n.Status)) {
			w.say("node %s is %s: %s", n.Node, n.Status, n.Reason)
			one := Decision{Nodes: []NodeChange{n}}
			for _, a := range w.c.Allocs {
				if a.Node == n.Node && a.live() && gone(n.Status) {
					w.changed[a.Job] = w.index
				}
			}
			w.c.Apply(&one)
		}
	}
	for _, j := range d.Jobs {
		if most--; most < 0 {
			return
		}
		if w.changed[j.Job] > index || !w.room(j.Start) {
			if w.late != d {
				w.wrong = fmt.Errorf("a decision on what is there was refused:\n%s", d)
			}
			w.counts["refused"]++
			continue
		}
		one := Decision{Jobs: []JobChange{j}}
		w.say("%s", strings.TrimSpace(strings.ReplaceAll(one.String(), "\n", "\n          ")))
		w.c.Apply(&one)
		w.counts["starts"] += len(j.Start)
	}
	w.index++
}

// room is the registry's own check.
func (w *world) room(starts []api.Alloc) bool {
	used := map[api.NodeID]int{}
	for _, a := range w.c.Allocs {
		if a.live() {
			used[a.Node] += a.Slots
		}
	}
	for _, a := range starts {
		n := w.nodeOf(a.Node)
		if used[a.Node] += a.Slots; n.Status != api.NodeReady || used[a.Node] > n.Slots {
			return false
		}
	}
	return true
}

// safe is what must hold at each moment.
func (w *world) safe() error {
	leaders := map[string]api.AllocID{}
	for _, a := range w.agents {
		used := 0
		for _, p := range a.procs {
			if p.state.Ended() {
				continue
			}
			used += p.alloc.Slots
			if key := fmt.Sprint(p.alloc.Job, " in term ", p.alloc.Term); p.alloc.Coordinator {
				if other, ok := leaders[key]; ok {
					return fmt.Errorf("%s has two coordinators: %s, %s", key, other, p.alloc.ID)
				}
				leaders[key] = p.alloc.ID
			}
		}
		if used > a.slots {
			return fmt.Errorf("%s runs %d slots and has %d", a.id, used, a.slots)
		}
	}
	used := map[api.NodeID]int{}
	for _, a := range w.c.Allocs {
		if a.live() {
			used[a.Node] += a.Slots
		}
	}
	for _, n := range w.c.Nodes {
		if used[n.ID] > n.Slots {
			return fmt.Errorf("%d slots of %s were given away, of %d", used[n.ID], n.ID, n.Slots)
		}
	}
	return nil
}
