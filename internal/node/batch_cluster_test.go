package node_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/scheduler/job"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/shuffle/spill"
)

// agent is the part of one that keeps outputs, and an executor of its.
type agent struct {
	addr  string
	stop  func()
	kill  context.CancelFunc
	ended chan error
}

// host starts what an agent keeps outputs with.
func host(t *testing.T) *agent {
	t.Helper()
	store, err := spill.Open(vfs.Default, t.TempDir(), spill.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := rpc.NewOutputServer(node.Serve(store), nil, nil, rpc.Options{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	var once sync.Once
	a := &agent{addr: l.Addr().String(), stop: func() {
		once.Do(func() {
			s.Close()
			if err := <-served; err != nil {
				t.Error(err)
			}
			if n := store.Used(); n > 0 {
				t.Logf("%d bytes are left at %s", n, l.Addr())
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	}}
	t.Cleanup(a.stop)
	return a
}

// hosts is a job of several processes, on several agents.
type hosts struct {
	t       *testing.T
	plan    func() *graph.Plan
	opt     node.Options
	side    sync.WaitGroup
	control string
	done    chan error
	mu      sync.Mutex
	reports []api.JobReport
}

func (c *hosts) member(alloc string, slots int, at *agent) node.Member {
	return node.Member{Dir: c.t.TempDir(), Hello: api.Hello{Job: "stages", Alloc: api.AllocID(alloc), Node: api.NodeID("host-" + alloc), Term: 1, Slots: slots, Store: at.addr}}
}

func (c *hosts) coordinate(at *agent, slots int) {
	c.t.Helper()
	c.opt.Job, c.done = "stages", make(chan error, 1)
	ready := make(chan string, 1)
	m := c.member("coordinator", slots, at)
	m.Ready = func(r api.ExecutorReady) { ready <- r.Control }
	co, err := node.NewCoordinator(c.plan(), c.opt, m, func(r api.JobReport) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.reports = append(c.reports, r)
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.side.Go(func() { c.done <- co.Run(c.t.Context()) })
	c.t.Cleanup(c.side.Wait)
	c.control = <-ready
}

func (c *hosts) execute(alloc string, slots int, at *agent) {
	c.t.Helper()
	e, err := node.NewExecutor(c.plan(), node.Options{Job: "stages"}, c.member(alloc, slots, at))
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	c.t.Cleanup(cancel)
	at.kill, at.ended = cancel, make(chan error, 1)
	where := make(chan node.Address, 1)
	where <- node.Address{Control: c.control, Term: 1}
	c.side.Go(func() { at.ended <- e.Run(ctx, where) })
}

func (c *hosts) wait() {
	c.t.Helper()
	select {
	case err := <-c.done:
		if err != nil {
			c.t.Fatal(err)
		}
	case <-time.After(2 * time.Minute):
		c.t.Fatal("the job does not end")
	}
}

// TestBatchCluster runs a job in batch mode on three agents, and wants what one process gives.
func TestBatchCluster(t *testing.T) {
	s := &stages{records: 5000, keys: 30, splits: 7, parallelism: 3}
	sink, h := collect.New[total](), &tracker{}
	c := &hosts{t: t, plan: func() *graph.Plan {
		return s.plan(t, func(out *sdk.Stream[total]) { sdk.Write(out, sink) })
	}, opt: node.Options{Task: h.heard}}
	a, b, d := host(t), host(t), host(t)
	c.coordinate(a, 1)
	c.execute("b", 1, b)
	c.execute("d", 1, d)
	c.wait()
	for _, x := range []*agent{b, d} {
		if err := <-x.ended; err != nil {
			t.Error(err)
		}
	}
	s.check(t, sink.Results())
	if h.count("again", "") > 0 {
		t.Error(h)
	}
}

// TestBatchLostAgent has an agent die with its executor and what lies there, when one half of
// the work is done: what is wanted of that is made again, and what has read from it.
func TestBatchLostAgent(t *testing.T) {
	s := &stages{records: 5000, keys: 30, splits: 8, parallelism: 4}
	sink, h := collect.New[total](), &tracker{}
	c := &hosts{t: t, plan: func() *graph.Plan {
		return s.plan(t, func(out *sdk.Stream[total]) { sdk.Write(out, sink) })
	}, opt: node.Options{Task: h.heard, Restart: job.FixedDelay{}}}
	a, b := host(t), host(t)
	var once sync.Once
	died := make(chan struct{})
	onB := map[string]bool{} // what has finished there, by the time of its death
	h.on = func(e scheduler.TaskEvent) {
		select {
		case <-died:
			return
		default:
		}
		if e.Kind == "finished" && e.Alloc == "b" {
			onB[e.Task.String()] = true
		}
		if e.Kind == "started" && e.Task.Chain == "sums" {
			once.Do(func() {
				close(died)
				b.kill()
				b.stop()
			})
		}
	}
	c.coordinate(a, 2)
	c.execute("b", 2, b)
	// All of "moved" have run when the first of "sums" starts.
	c.wait()
	s.check(t, sink.Results())
	moved := 0
	for task := range onB {
		if strings.HasPrefix(task, "moved/") {
			moved++
		}
	}
	if moved == 0 || h.count("lost", "moved") != moved {
		t.Errorf("%d of what was lost, %d told\n%s", moved, h.count("lost", "moved"), h)
	}
	// Nothing of the sources is wanted again but what lay there, and of those that read from
	// that nothing runs in vain.
	if n := h.count("again", "numbers"); n > h.count("lost", "numbers") {
		t.Errorf("%d of the sources run again, %d were lost\n%s", n, h.count("lost", "numbers"), h)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.reports[len(c.reports)-1]
	if last.Status != api.JobFinished || !strings.Contains(last.Notes, "runs again") || last.Noted == 0 {
		t.Errorf("%+v", last)
	}
}
