package checkpoint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/flow"
)

// sim is a whole protocol in one goroutine: a coordinator, tasks with their
// aligners and prepared output, and the wires between them. Wires are in order
// and lose nothing, as exchanges are; control messages between the coordinator and the
// tasks are in a pool, from which whoever drives the sim takes them in any order,
// twice, or not at all.
//
// Sources emit numbered records that every task sends on to all its outputs; a
// task without outputs is a sink. So the sim knows what each sink must have
// committed when an epoch is: what the sources emitted before its barrier, once
// for each path. It returns an error as soon as an invariant is broken.
type sim struct {
	co    *Coordinator
	now   flow.Time
	nodes []*node
	pool  []*message
	log   func(format string, args ...any)

	committed flow.Epoch
	complete  bool
	failed    *flow.Failure
	commits   int
}

type node struct {
	id      flow.TaskID
	inputs  []*wire
	outputs []*wire
	aligner *Aligner

	ended   bool
	emitted int                // records, if it is a source
	cut     map[flow.Epoch]int // emitted before the barrier, if it is a source
	aligned map[flow.Epoch]int
	acked   map[flow.Epoch]bool
	done    bool // heard that the final epoch is committed

	// A sink's.
	prepared Prepared
	buffer   []string
	out      map[string]int
}

type wire struct {
	from, to *node
	channel  int
	queue    []item
}

type item struct {
	record string
	ctl    flow.Control
}

type message struct {
	kind    string // inject abort notify ack decline committed
	task    *node
	barrier flow.Barrier
	cs      []Committable
	reason  string
}

func (m *message) String() string {
	switch m.kind {
	case "committed":
		return fmt.Sprintf("committed %d", m.barrier.Epoch)
	case "ack", "decline":
		return fmt.Sprintf("%s %s %d", m.kind, m.task.id.Chain, m.barrier.Epoch)
	}
	return fmt.Sprintf("%s %d %s", m.kind, m.barrier.Epoch, m.task.id.Chain)
}

// newSim makes a sim; inputs[i] are the indexes of the tasks that task i reads.
func newSim(names []string, inputs [][]int, opts Options) (*sim, error) {
	s := &sim{log: func(string, ...any) {}, committed: 0}
	var tasks, sources []flow.TaskID
	for i, name := range names {
		n := &node{
			id: flow.TaskID{Chain: flow.ChainID(name)}, aligner: NewAligner(max(1, len(inputs[i]))),
			cut: map[flow.Epoch]int{}, aligned: map[flow.Epoch]int{}, acked: map[flow.Epoch]bool{}, out: map[string]int{},
		}
		for c, from := range inputs[i] {
			w := &wire{from: s.nodes[from], to: n, channel: c}
			n.inputs = append(n.inputs, w)
			w.from.outputs = append(w.from.outputs, w)
		}
		s.nodes = append(s.nodes, n)
		tasks = append(tasks, n.id)
		if len(n.inputs) == 0 {
			sources = append(sources, n.id)
		}
	}
	var err error
	s.co, err = NewCoordinator(1, tasks, sources, opts)
	return s, err
}

func (n *node) source() bool { return len(n.inputs) == 0 }

// paths counts the ways from src to n.
func (n *node) paths(src *node) int {
	if n == src {
		return 1
	}
	sum := 0
	for _, w := range n.inputs {
		sum += w.from.paths(src)
	}
	return sum
}

func (s *sim) node(name string) *node {
	for _, n := range s.nodes {
		if string(n.id.Chain) == name {
			return n
		}
	}
	panic("no task " + name)
}

func (s *sim) do(acts []Action) error {
	for _, a := range acts {
		s.log("> %s", a)
		switch a := a.(type) {
		case InjectBarrier:
			if n := len(s.co.inFlight); a.Barrier.Kind == flow.BarrierFinal && n > 1 {
				return fmt.Errorf("%s starts with %d in flight", a.Barrier, n)
			}
			for _, t := range a.Tasks {
				s.pool = append(s.pool, &message{kind: "inject", task: s.node(string(t.Chain)), barrier: a.Barrier})
			}
		case Abort:
			for _, n := range s.nodes {
				s.pool = append(s.pool, &message{kind: "abort", task: n, barrier: a.Barrier})
			}
		case NotifyCommitted:
			for _, n := range s.nodes {
				s.pool = append(s.pool, &message{kind: "notify", task: n, barrier: a.Barrier})
			}
		case Commit:
			if err := s.commit(a); err != nil {
				return err
			}
			s.pool = append(s.pool, &message{kind: "committed", barrier: a.Barrier})
		case Late:
		case Complete:
			if s.complete {
				return fmt.Errorf("complete twice")
			}
			s.complete = true
		case Fail:
			if s.failed != nil {
				return fmt.Errorf("failed twice")
			}
			s.failed = a.Cause
		default:
			return fmt.Errorf("unknown action %T", a)
		}
	}
	return nil
}

// commit does a Commit and checks it against what the sources emitted.
func (s *sim) commit(a Commit) error {
	n := a.Barrier.Epoch
	if n <= s.committed {
		return fmt.Errorf("commit of %d after %d", n, s.committed)
	}
	s.committed = n
	s.commits++
	for _, t := range s.nodes {
		if !t.acked[n] {
			return fmt.Errorf("commit of %d without the acknowledgement of %s", n, t.id)
		}
		if t.aligned[n] != 1 {
			return fmt.Errorf("%s aligned committed epoch %d %d times", t.id, n, t.aligned[n])
		}
	}
	for _, o := range a.Operators {
		for _, c := range o.Committables {
			for _, r := range strings.Fields(string(c.Data)) {
				s.node(string(o.Operator)).out[r]++
			}
		}
	}
	for _, sink := range s.nodes {
		if len(sink.outputs) > 0 {
			continue
		}
		want := map[string]int{}
		for _, src := range s.nodes {
			if paths := sink.paths(src); src.source() && paths > 0 {
				for i := range src.cut[n] {
					want[fmt.Sprintf("%s%d", src.id.Chain, i)] = paths
				}
			}
		}
		if fmt.Sprint(want) != fmt.Sprint(sink.out) {
			return fmt.Errorf("epoch %d: sink %s has committed %v, want %v", n, sink.id, sink.out, want)
		}
	}
	return nil
}

// take delivers a message of the pool. With keep it stays there and comes again.
func (s *sim) take(i int, keep bool) error {
	m := s.pool[i]
	if !keep {
		s.pool = slices.Delete(s.pool, i, i+1)
	}
	s.log("%s", m)
	var acts []Action
	var err error
	switch m.kind {
	case "inject":
		return s.barrier(m.task, 0, m.barrier)
	case "abort":
		s.decided(m.task, m.task.aligner.Abort(m.barrier.Epoch))
		if b, _ := m.task.aligner.Aligning(); b == m.barrier {
			return fmt.Errorf("%s still aligns %s after it was aborted", m.task.id, b)
		}
	case "notify":
		m.task.prepared.Committed(m.barrier.Epoch)
		m.task.done = m.task.done || m.barrier.Kind == flow.BarrierFinal
	case "ack":
		m.task.acked[m.barrier.Epoch] = true
		acts, err = s.co.Ack(Ack{1, m.task.id, m.barrier.Epoch, slices.Clone(m.cs), nil}, s.now)
	case "decline":
		acts, err = s.co.Decline(Decline{1, m.task.id, m.barrier.Epoch, m.reason}, s.now)
	case "committed":
		acts, err = s.co.Committed(m.barrier.Epoch, s.now)
	}
	if err != nil {
		return err
	}
	return s.do(acts)
}

// barrier gives a barrier to a task, and does what its aligner decides.
func (s *sim) barrier(n *node, channel int, b flow.Barrier) error {
	d := n.aligner.Barrier(channel, b)
	s.log("  %s.%d %s: %s", n.id.Chain, channel, b, d)
	s.decided(n, d)
	if d.Verdict != Aligned {
		return nil
	}
	n.aligned[b.Epoch]++
	if n.aligned[b.Epoch] > 1 {
		return fmt.Errorf("%s aligned %s twice", n.id, b)
	}
	n.cut[b.Epoch] = n.emitted
	if len(n.outputs) == 0 && len(n.buffer) > 0 {
		n.prepared.Add(Committable{Operator: flow.OperatorID(n.id.Chain), Epoch: b.Epoch, Data: []byte(strings.Join(n.buffer, " "))})
		n.buffer = nil
	}
	for _, w := range n.outputs {
		w.queue = append(w.queue, item{ctl: flow.BarrierControl(b)})
	}
	s.pool = append(s.pool, &message{kind: "ack", task: n, barrier: b, cs: n.prepared.For(b.Epoch)})
	return nil
}

func (s *sim) decided(n *node, d Decision) {
	if d.Aborted != 0 {
		s.pool = append(s.pool, &message{kind: "decline", task: n, barrier: flow.Barrier{Epoch: d.Aborted}, reason: "overtaken"})
	}
}

// emit has a source emit a record.
func (s *sim) emit(n *node) {
	if n.ended {
		return
	}
	r := fmt.Sprintf("%s%d", n.id.Chain, n.emitted)
	n.emitted++
	s.record(n, r)
}

func (s *sim) record(n *node, r string) {
	if len(n.outputs) == 0 {
		n.buffer = append(n.buffer, r)
	}
	for _, w := range n.outputs {
		w.queue = append(w.queue, item{record: r})
	}
}

// end ends a task's output.
func (s *sim) end(n *node) {
	if n.ended {
		return
	}
	n.ended = true
	s.log("  %s ended", n.id.Chain)
	for _, w := range n.outputs {
		w.queue = append(w.queue, item{ctl: flow.Control{Kind: flow.ControlEnd}})
	}
}

// readable are the wires that have something and are not blocked.
func (s *sim) readable() []*wire {
	var out []*wire
	for _, n := range s.nodes {
		for _, w := range n.inputs {
			if len(w.queue) > 0 && !n.aligner.Blocked(w.channel) {
				out = append(out, w)
			}
		}
	}
	return out
}

// read takes the next item from a wire.
func (s *sim) read(w *wire) error {
	it := w.queue[0]
	w.queue = w.queue[1:]
	switch it.ctl.Kind {
	case flow.ControlBarrier:
		return s.barrier(w.to, w.channel, it.ctl.Barrier)
	case flow.ControlEnd:
		w.to.aligner.End(w.channel)
		for _, in := range w.to.inputs {
			if !w.to.aligner.inputs[in.channel].ended {
				return nil
			}
		}
		s.end(w.to)
	default:
		s.record(w.to, it.record)
	}
	return nil
}

// tick lets time pass.
func (s *sim) tick(d time.Duration) error {
	s.now = s.now.Add(d)
	return s.do(s.co.Tick(s.now))
}

// run delivers everything, oldest first and wires before messages, until nothing
// is left, except for messages that a filter takes away.
func (s *sim) run(filter func(*message) bool) error {
	for {
		if ws := s.readable(); len(ws) > 0 {
			if err := s.read(ws[0]); err != nil {
				return err
			}
			continue
		}
		i := slices.IndexFunc(s.pool, func(m *message) bool { return filter == nil || !filter(m) })
		if i < 0 {
			return nil
		}
		if err := s.take(i, false); err != nil {
			return err
		}
	}
}
