package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/cluster/raft"
	"github.com/weirflow/weir/cluster/registry"
	"github.com/weirflow/weir/runtime/lease"
	"github.com/weirflow/weir/scheduler/control"
)

// fake runs executors that are nothing but their statuses.
type fake struct {
	mu      sync.Mutex
	told    map[api.AllocID]api.AllocStatus
	wanted  map[api.AllocID]api.Assignment
	asked   []api.Request
	kills   int
	changed func()
}

func newFake() *fake {
	return &fake{told: map[api.AllocID]api.AllocStatus{}, wanted: map[api.AllocID]api.Assignment{}, changed: func() {}}
}

func (f *fake) Apply(all []api.Assignment) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.wanted)
	for _, a := range all {
		id := a.Alloc.ID
		f.wanted[id] = a
		s, ok := f.told[id]
		switch {
		case a.Alloc.Stop && !s.State.Ended():
			s = api.AllocStatus{Alloc: id, State: api.AllocEnded}
		case !ok && !a.Alloc.Stop:
			s = api.AllocStatus{Alloc: id, State: api.AllocRunning, PID: 1, Data: "data-" + string(id)}
			if a.Alloc.Coordinator {
				s.Control = "control-" + string(id)
				s.Job = &api.JobReport{Status: api.JobRunning, Attempt: a.Alloc.Term, Slots: a.Job.Parallelism}
			}
		default:
			continue
		}
		f.told[id] = s
		go f.changed()
	}
	return nil
}

func (f *fake) Ask(r api.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.asked, r) {
		f.asked = append(f.asked, r)
	}
}

func (f *fake) Statuses() (all []api.AllocStatus) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.told {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b api.AllocStatus) int { return strings.Compare(string(a.Alloc), string(b.Alloc)) })
	return all
}

func (f *fake) Known(ids []api.AllocID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		delete(f.told, id)
	}
}

func (f *fake) Kill(context.Context, string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kills++
	for id, s := range f.told {
		s.State, s.Job = api.AllocFailed, nil
		f.told[id] = s
	}
	return nil
}

// rig is one server, and agents that talk to it.
type rig struct {
	t      *testing.T
	raft   *raft.Node
	lead   *leader
	addr   string
	agents map[api.NodeID]*rigAgent
}

type rigAgent struct {
	runs   *fake
	link   *link
	cancel context.CancelFunc
	over   chan struct{}
	way    *way
	port   net.Listener // where it would be dialled
}

func newRig(t *testing.T) *rig {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	g := &rig{t: t, agents: map[api.NodeID]*rigAgent{}}
	var lead *leader
	ready := make(chan struct{})
	n, err := raft.Open(raft.Options{ID: "s1", Listener: listen(), Expect: 1, Registry: registry.New(),
		Lead: func(ctx context.Context, term uint64) {
			<-ready
			lead.lead(ctx, term)
		}})
	if err != nil {
		t.Fatal(err)
	}
	g.raft = n
	lead = newLeader(n, control.Options{Lease: 2 * time.Second})
	g.lead = lead
	close(ready)
	if err := n.Bootstrap(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	l := listen()
	g.addr = l.Addr().String()
	s := rpc.NewNodeServer(lead, nil, rpc.Options{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		for id := range g.agents {
			g.stop(id)
		}
		s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// start begins an agent with slots for two tasks.
func (g *rig) start(id api.NodeID) *rigAgent {
	g.t.Helper()
	a := &rigAgent{runs: newFake(), over: make(chan struct{}), way: newWay(g.t, g.addr)}
	var err error
	if a.port, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		g.t.Fatal(err)
	}
	a.link, err = newLink(linkOptions{Node: api.Node{ID: id, Name: string(id), Slots: 2, Version: "0.1.0", RPC: a.port.Addr().String()}, Runs: a.runs,
		Lease:   lease.Options{Every: 50 * time.Millisecond, Margin: 200 * time.Millisecond},
		Servers: func() []string { return []string{a.way.l.Addr().String()} }})
	if err != nil {
		g.t.Fatal(err)
	}
	a.runs.changed = a.link.news
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() { defer close(a.over); a.link.run(ctx) }()
	g.agents[id] = a
	return a
}

func (g *rig) stop(id api.NodeID) {
	a := g.agents[id]
	delete(g.agents, id)
	a.cancel()
	<-a.over
	a.way.cut()
	a.way.side.Wait()
	_ = a.port.Close()
}

// way is an agent's way to the server, which can be cut.
type way struct {
	l     net.Listener
	side  sync.WaitGroup
	mu    sync.Mutex
	over  bool
	conns []net.Conn
}

func newWay(t *testing.T, to string) *way {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{l: l}
	w.side.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil || !w.add(in, out) {
				in.Close()
				continue
			}
			for _, c := range [][2]net.Conn{{in, out}, {out, in}} {
				w.side.Go(func() {
					_, _ = io.Copy(c[0], c[1])
					_ = in.Close()
					_ = out.Close()
				})
			}
		}
	})
	return w
}

func (w *way) add(c ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, c...)
	return !w.over
}

// cut ends all connections, and lets no others come about.
func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	_ = w.l.Close()
	for _, c := range w.conns {
		_ = c.Close()
	}
}

func (g *rig) apply(c registry.Command) registry.Result {
	g.t.Helper()
	r, err := g.raft.Apply(g.t.Context(), c, "test")
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

// until waits for something to be true of what was decided.
func (g *rig) until(what string, f func(v *registry.View) bool) *registry.View {
	g.t.Helper()
	late := time.After(30 * time.Second)
	for {
		changed := g.raft.Registry().Watch(g.raft.Registry().Index())
		v := g.raft.Registry().View()
		if f(v) {
			return v
		}
		select {
		case <-changed:
		case <-late:
			g.t.Fatalf("it never came that %s\n%s", what, describe(v))
		}
	}
}

func describe(v *registry.View) string {
	var b strings.Builder
	for _, n := range v.Nodes() {
		fmt.Fprintf(&b, "node %s %s %s\n", n.Info.ID, n.Status, n.Reason)
	}
	for _, j := range v.Jobs() {
		fmt.Fprintf(&b, "job %s %s %s, term %d\n", j.Name, j.Status, j.Reason, j.Term)
		for _, e := range j.Events {
			fmt.Fprintf(&b, "  %s %s\n", e.Kind, e.Text)
		}
	}
	for _, a := range v.Allocs() {
		fmt.Fprintf(&b, "alloc %+v %+v\n", a.Alloc, a.Status)
	}
	return b.String()
}

func running(v *registry.View, job string) bool {
	j := v.Job(job)
	return j != nil && j.Status == api.JobRunning
}

// TestOrders submits a job to a cluster of two agents, loses the agent of its coordinator,
// asks for a savepoint, and stops it.
func TestOrders(t *testing.T) {
	g := newRig(t)
	a, b := g.start("a"), g.start("b")
	g.until("both agents are here", func(v *registry.View) bool { return v.Node("a") != nil && v.Node("b") != nil })
	g.apply(&registry.SubmitJob{Spec: api.JobSpec{Name: "clicks", Parallelism: 2, Submitted: time.Now().UnixMicro()}, Request: "1"})
	v := g.until("the job runs", func(v *registry.View) bool { return running(v, "clicks") })
	j := v.Job("clicks")
	first := coordinatorOf(v, j)
	if !strings.HasPrefix(first, "control-") {
		t.Fatalf("the coordinator is dialled at %q\n%s", first, describe(v))
	}
	var on api.NodeID
	for _, x := range v.AllocsOf("clicks") {
		if x.Alloc.Coordinator {
			on = x.Alloc.Node
		}
	}
	lost, left := a, b
	if on == "b" {
		lost, left = b, a
	}

	// The agent of the coordinator is cut off: it ends its executors before the leader gives
	// their slots to others.
	lost.way.cut()
	v = g.until("the job has another coordinator", func(v *registry.View) bool {
		return v.Node(on).Status == api.NodeLost && v.Job("clicks").Term > j.Term && running(v, "clicks")
	})
	if r := v.Node(on).Reason; !strings.Contains(r, "nothing was heard") {
		t.Errorf("an agent that lives and is cut off is lost because %q", r)
	}
	if c := coordinatorOf(v, v.Job("clicks")); c == first || c == "" {
		t.Errorf("the coordinator is dialled at %q, and was at %q", c, first)
	}

	// A savepoint while it goes on.
	g.apply(&registry.SetWish{Job: "clicks", Wish: api.WishRun, Save: true, Where: "/saved"})
	asked := func() (r []api.Request) {
		left.runs.mu.Lock()
		defer left.runs.mu.Unlock()
		return slices.Clone(left.runs.asked)
	}
	deadline := time.Now().Add(20 * time.Second)
	for len(asked()) == 0 && time.Now().Before(deadline) {
		<-time.After(5 * time.Millisecond)
	}
	for _, r := range asked() {
		if r.Savepoint != "/saved" {
			t.Errorf("asked for %+v", r)
		}
		left.link.answered(api.Answer{ID: r.ID, Answer: "epoch 7"})
	}
	g.until("the savepoint is there", func(v *registry.View) bool {
		j := v.Job("clicks")
		return len(j.Savepoints) == 1 && j.Savepoints[0].Where == "/saved" && j.Save.Request == 0
	})

	// It is cancelled: the coordinator says so, and its executors are ended.
	g.apply(&registry.SetWish{Job: "clicks", Wish: api.WishCancel})
	left.runs.mu.Lock()
	for id, s := range left.runs.told {
		if s.Job != nil {
			s.Job = &api.JobReport{Status: api.JobCancelled, Attempt: s.Job.Attempt}
			left.runs.told[id] = s
		}
	}
	left.runs.mu.Unlock()
	left.link.news()
	g.until("nothing of the job runs", func(v *registry.View) bool {
		return v.Job("clicks").Status == api.JobCancelled &&
			!slices.ContainsFunc(v.AllocsOf("clicks"), func(a *registry.Alloc) bool { return a.Live() })
	})
	lost.runs.mu.Lock()
	defer lost.runs.mu.Unlock()
	if lost.runs.kills == 0 {
		t.Error("the agent that was cut off has not ended its executors")
	}
}

// TestEnded ends the process of an agent, as far as others see: connections end, and its
// address refuses. It is lost at once, and is back when it reports again.
func TestEnded(t *testing.T) {
	g := newRig(t)
	a := g.start("a")
	g.until("the agent is here", func(v *registry.View) bool { return v.Node("a") != nil && v.Node("a").Usable() })
	if err := a.port.Close(); err != nil {
		t.Fatal(err)
	}
	a.way.cut()
	v := g.until("the agent is lost", func(v *registry.View) bool { return v.Node("a").Status == api.NodeLost })
	if r := v.Node("a").Reason; r != "its agent has ended" {
		t.Errorf("it is lost because %q", r)
	}
	g.stop("a")
	g.start("a")
	g.until("the agent is back", func(v *registry.View) bool { return v.Node("a").Usable() && v.Node("a").Registration == 2 })
}
