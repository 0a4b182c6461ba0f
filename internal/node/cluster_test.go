package node_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/scheduler"
)

// cluster is a coordinator and executors of one job, in this process and over loopback.
type cluster struct {
	t     *testing.T
	c     *counting
	state string
	co    *node.Coordinator
	at    chan string // the coordinator's address
	done  chan error
	side  sync.WaitGroup

	mu      sync.Mutex
	reports []api.JobReport
	changed chan struct{}
}

func (c *counting) options(state string) node.Options {
	o := c.opt
	o.Job, o.State.Location, o.BatchSize = "counting", state, 16
	if o.Interval == 0 {
		o.Interval = 5 * time.Millisecond
	}
	return o
}

func (cl *cluster) member(alloc string, slots int, term uint64) node.Member {
	return node.Member{Dir: cl.t.TempDir(), Hello: api.Hello{Job: "counting", Alloc: api.AllocID(alloc), Node: api.NodeID("n-" + alloc), Slots: slots, Term: term}}
}

// coordinate starts the coordinator, with slots of its own.
func coordinate(ctx context.Context, t *testing.T, c *counting, state string, slots int) *cluster {
	t.Helper()
	cl := &cluster{t: t, c: c, state: state, at: make(chan string, 1), done: make(chan error, 1), changed: make(chan struct{}, 1)}
	m := cl.member("coordinator", slots, 1)
	m.Ready = func(r api.ExecutorReady) { cl.at <- r.Control }
	co, err := node.NewCoordinator(c.plan(t), c.options(state), m, func(r api.JobReport) {
		cl.mu.Lock()
		defer cl.mu.Unlock()
		cl.reports = append(cl.reports, r)
		select {
		case cl.changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	cl.co = co
	cl.side.Go(func() { cl.done <- co.Run(ctx) })
	t.Cleanup(cl.side.Wait)
	return cl
}

// execution is an executor that runs. kill ends it as if its agent were gone.
type execution struct {
	kill  context.CancelFunc
	ended chan error
}

func (cl *cluster) execute(alloc string, slots int, at string) execution {
	cl.t.Helper()
	e, err := node.NewExecutor(cl.c.plan(cl.t), cl.c.options(cl.state), cl.member(alloc, slots, 0))
	if err != nil {
		cl.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(cl.t.Context())
	where := make(chan node.Address, 1)
	where <- node.Address{Control: at, Term: 1}
	ended := make(chan error, 1)
	cl.side.Go(func() { ended <- e.Run(ctx, where) })
	cl.t.Cleanup(cancel)
	return execution{cancel, ended}
}

func (cl *cluster) wait() error {
	cl.t.Helper()
	select {
	case err := <-cl.done:
		return err
	case <-time.After(time.Minute):
		cl.t.Fatalf("the job did not end: %+v", cl.reported())
		return nil
	}
}

func (cl *cluster) reported() []api.JobReport {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return slices.Clone(cl.reports)
}

// until waits for a report.
func (cl *cluster) until(what func(api.JobReport) bool) api.JobReport {
	cl.t.Helper()
	late := time.After(30 * time.Second)
	for {
		for _, r := range cl.reported() {
			if what(r) {
				return r
			}
		}
		select {
		case <-cl.changed:
		case <-late:
			cl.t.Fatalf("not reported: %+v", cl.reported())
		}
	}
}

// TestCluster runs a job of three processes, and wants what one process gives.
func TestCluster(t *testing.T) {
	for _, backend := range []node.Backend{node.Memory, node.LSM} {
		t.Run(string(backend), func(t *testing.T) {
			var w watcher
			c := counting{records: 5_000, keys: 100, splits: 7, parallelism: 4, perEpoch: 300, epochs: &w.epochs}
			c.opt.Listener, c.opt.State.Backend = w.listener(), backend
			cl := coordinate(t.Context(), t, &c, t.TempDir(), 0)
			at := <-cl.at
			cl.until(func(r api.JobReport) bool {
				return r.Status == api.JobPending && r.Reason == "waits for 4 of 4 slots" && r.Slots == 4
			})
			a := cl.execute("a", 2, at)
			cl.until(func(r api.JobReport) bool { return r.Reason == "waits for 2 of 4 slots" })
			b := cl.execute("b", 3, at)
			if err := cl.wait(); err != nil {
				t.Fatal(err)
			}
			// Executors end by themselves: they hear that it is over.
			if err := errors.Join(<-a.ended, <-b.ended); err != nil {
				t.Error(err)
			}
			c.wantAll(t)
			all := cl.reported()
			if last := all[len(all)-1]; last.Status != api.JobFinished || last.Epoch == 0 || last.Attempt != 1 || last.Reason != "" {
				t.Errorf("%+v", last)
			}
		})
	}
}

// hold is a job that does not get beyond its third epoch's records before it is let go.
type hold struct {
	watcher
	gate  atomic.Int64
	free  atomic.Bool
	third chan struct{}
}

func newHold(c *counting) *hold {
	h := &hold{third: make(chan struct{})}
	l := h.listener()
	l.Committed = func(flow.Barrier) {
		n := h.epochs.Add(1)
		if n <= 3 || h.free.Load() {
			h.gate.Store(n)
		}
		if n == 3 {
			close(h.third)
		}
	}
	c.opt.Listener, c.epochs = l, &h.gate
	return h
}

// TestExecutorGone ends an executor in the middle of a job: its tasks go to another.
func TestExecutorGone(t *testing.T) {
	for _, spare := range []bool{true, false} {
		t.Run(fmt.Sprint("spare=", spare), func(t *testing.T) {
			c := counting{records: 6_000, keys: 100, splits: 7, parallelism: 3, perEpoch: 200}
			w := newHold(&c)
			cl := coordinate(t.Context(), t, &c, t.TempDir(), 1)
			at := <-cl.at
			n := 2
			if spare {
				n = 3
			}
			// The first is to have tasks: where one is to spare, whoever comes last may have none.
			all := []execution{cl.execute("e0", 1, at)}
			cl.until(func(r api.JobReport) bool { return r.Reason == "waits for 1 of 3 slots" })
			for i := 1; i < n; i++ {
				all = append(all, cl.execute(fmt.Sprint("e", i), 1, at))
			}
			select {
			case <-w.third:
			case err := <-cl.done:
				t.Fatal("it ended too early: ", err)
			}
			all[0].kill()
			if err := <-all[0].ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if !spare {
				cl.until(func(r api.JobReport) bool { return r.Reason == "waits for 1 of 3 slots" && r.Attempt == 2 })
				cl.execute("another", 1, at)
			}
			cl.until(func(r api.JobReport) bool { return r.Attempt == 2 })
			w.free.Store(true)
			if err := cl.wait(); err != nil {
				t.Fatal(err)
			}
			c.wantAll(t)
			if w.restarts == 0 || w.restored[len(w.restored)-1].Epoch == 0 {
				t.Errorf("%d restarts from %+v", w.restarts, w.restored)
			}
		})
	}
}

// TestCoordinatorGone ends the coordinator: executors wait for the next one, which goes on.
func TestCoordinatorGone(t *testing.T) {
	c := counting{records: 6_000, keys: 100, splits: 7, parallelism: 3, perEpoch: 200}
	w := newHold(&c)
	state := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	cl := coordinate(ctx, t, &c, state, 1)
	e, err := node.NewExecutor(c.plan(t), c.options(state), cl.member("e", 2, 0))
	if err != nil {
		t.Fatal(err)
	}
	where, ended := make(chan node.Address, 2), make(chan error, 1)
	where <- node.Address{Control: <-cl.at, Term: 1}
	go func() { ended <- e.Run(t.Context(), where) }()
	<-w.third
	gone := errors.New("its agent is gone")
	cancel(gone)
	if err := cl.wait(); !errors.Is(err, gone) {
		t.Error(err)
	}
	for _, r := range cl.reported() {
		if r.Status.Ended() {
			t.Errorf("%+v, though the job goes on", r)
		}
	}
	w.free.Store(true)
	next := &cluster{t: t, c: &c, state: state}
	m := next.member("second", 1, 2)
	m.Ready = func(r api.ExecutorReady) { where <- node.Address{Control: r.Control, Term: 2} }
	co, err := node.NewCoordinator(c.plan(t), c.options(state), m, func(api.JobReport) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := co.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	c.wantAll(t)
	if w.restored[len(w.restored)-1].Epoch == 0 {
		t.Error("it began anew")
	}
}

// TestWishes steers a job of several processes, and an executor of another program.
func TestWishes(t *testing.T) {
	var w watcher
	c := counting{records: 3_000, keys: 100, splits: 7, parallelism: 2, unbounded: true, epochs: &w.epochs}
	c.opt.Listener = w.listener()
	cl := coordinate(t.Context(), t, &c, t.TempDir(), 1)
	at := <-cl.at
	other := c
	other.unbounded, other.sink = false, nil
	wrong := &cluster{t: t, c: &other, state: cl.state}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := node.NewExecutor(other.plan(t), other.options(cl.state), wrong.member("w", 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	where := make(chan node.Address, 1)
	where <- node.Address{Control: at, Term: 1}
	if err := e.Run(ctx, where); !errors.Is(err, rpc.ErrRefused) || !strings.Contains(err.Error(), "builds another graph") {
		t.Error(err)
	}
	a := cl.execute("a", 1, at)
	if _, err := cl.co.Savepoint(ctx, t.TempDir()+"/save"); err != nil {
		t.Error(err)
	}
	cl.co.Stop()
	if err := cl.wait(); !errors.Is(err, scheduler.ErrStopped) {
		t.Error(err)
	}
	if err := <-a.ended; err != nil {
		t.Error(err)
	}
	c.wantAll(t)
	if all := cl.reported(); all[len(all)-1].Status != api.JobStopped {
		t.Errorf("%+v", all[len(all)-1])
	}
}

// TestRescale gives a job more slots and fewer while it runs: processes stay, and each record is
// counted once.
func TestRescale(t *testing.T) {
	for _, durable := range []bool{true, false} {
		t.Run(fmt.Sprint("durable=", durable), func(t *testing.T) {
			c := counting{records: 6_000, keys: 100, splits: 7, parallelism: 1, perEpoch: 200}
			w := newHold(&c)
			state := ""
			if durable {
				state = t.TempDir()
			}
			cl := coordinate(t.Context(), t, &c, state, 1)
			at := <-cl.at
			<-w.third
			cl.co.Rescale(3)
			cl.until(func(r api.JobReport) bool {
				return r.Status == api.JobRunning && r.Reason == "waits for 2 of 3 slots" && r.Slots == 1
			})
			a := cl.execute("a", 2, at)
			cl.until(func(r api.JobReport) bool { return r.Status == api.JobRunning && r.Slots == 3 })
			cl.co.Rescale(2)
			two := cl.until(func(r api.JobReport) bool { return r.Status == api.JobRunning && r.Slots == 2 })
			if two.Attempt < 3 != !durable {
				t.Errorf("%+v", two)
			}
			w.free.Store(true)
			if err := errors.Join(cl.wait(), <-a.ended); err != nil {
				t.Fatal(err)
			}
			for _, r := range cl.reported() {
				if r.Status.Ended() && r.Status != api.JobFinished {
					t.Errorf("%+v, though the job went on", r)
				}
			}
			if durable {
				c.wantAll(t)
				if w.restarts != 0 || w.restored[len(w.restored)-1].Epoch < 3 {
					t.Errorf("%d restarts, %+v", w.restarts, w.restored)
				}
			}
		})
	}
}

// TestSavepointAndStop ends a job with a savepoint from which another one goes on: no record is
// read by both, although the first commits epochs while its savepoint is copied.
func TestSavepointAndStop(t *testing.T) {
	var w watcher
	var mu sync.Mutex
	read := map[int]int{}
	c := counting{records: 4_000, keys: 100, splits: 7, parallelism: 2, perEpoch: 50, epochs: &w.epochs}
	c.tap = func(v int) {
		mu.Lock()
		defer mu.Unlock()
		read[v]++
	}
	c.opt.Listener = w.listener()
	cl := coordinate(t.Context(), t, &c, t.TempDir(), 1)
	a := cl.execute("a", 1, <-cl.at)
	cl.until(func(r api.JobReport) bool { return r.Epoch >= 3 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dest := t.TempDir() + "/save"
	epoch, err := cl.co.SavepointAndHold(ctx, dest)
	if err != nil || epoch < 3 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	cl.co.Suspend("")
	if err := cl.wait(); !errors.Is(err, scheduler.ErrStopped) {
		t.Error(err)
	}
	if err := <-a.ended; err != nil {
		t.Error(err)
	}
	mu.Lock()
	if len(read) == c.records {
		t.Error("all was read before the savepoint")
	}
	mu.Unlock()

	c.opt.State.From, c.perEpoch = dest, 0
	next := coordinate(t.Context(), t, &c, t.TempDir(), 1)
	b := next.execute("b", 1, <-next.at)
	if err := errors.Join(next.wait(), <-b.ended); err != nil {
		t.Fatal(err)
	}
	c.wantAll(t)
	for v, n := range read {
		if n != 1 {
			t.Fatalf("record %d was read %d times", v, n)
		}
	}
}
