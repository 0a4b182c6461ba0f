package worker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/shuffle/wire"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/memory"
)

// await waits until just the lines of want were told.
func (l *ledger) await(t *testing.T, want string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(30 * time.Second)
	for {
		l.Lock()
		slices.Sort(l.lines)
		got := strings.Join(l.lines, ", ")
		if got == want {
			l.lines = nil
		}
		l.Unlock()
		if got == want {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("told %s\nwant %s", got, want)
		}
	}
}

// cluster is a job of a source and a sink of two subtasks each, in some processes.
type cluster struct {
	*ledger
	workers []*Worker
	places  []api.Place
	tasks   [][]api.Task // by worker
}

// newCluster makes as many workers as where names, with the tasks src/0, src/1, sum/0 and
// sum/1 on them.
func newCluster(t *testing.T, x graph.ExchangeKind, where ...int) *cluster {
	t.Helper()
	c := &cluster{ledger: &ledger{}}
	n := slices.Max(where) + 1
	c.tasks = make([][]api.Task, n)
	ends := make([]*wire.Endpoint, n)
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = wire.New(wire.Options{Listener: l, Job: "job"})
		t.Cleanup(func() { _ = ends[i].Close() })
	}
	for i, w := range where {
		task := api.Task{Chain: []string{"src", "src", "sum", "sum"}[i], Subtask: i % 2}
		c.tasks[w] = append(c.tasks[w], task)
		c.places = append(c.places, api.Place{Task: task, Data: ends[w].Addr().String()})
	}
	for i := range n {
		g := &graph.Graph{Operators: []*graph.Operator{
			{ID: "src", Name: "src", Kind: graph.KindSource, Outputs: []graph.Output{{Type: "int64", Impl: operator.EdgeOf[int64]()}},
				Impl: &operator.Impl{New: func() operator.Operator { return operator.NewSource(operator.SourceConfig[int64]{Source: numbers{}}) }}},
			{ID: "sum", Name: "sum", Kind: graph.KindSink, Inputs: []graph.Input{{Type: "int64", Edges: []graph.Edge{{From: "src", Exchange: graph.Exchange{Kind: x}}}}},
				Impl: &operator.Impl{New: func() operator.Operator { return operator.NewSink[int64](sum{ledger: c.ledger}) }}},
		}}
		plan, err := graph.Build(g, graph.PlanOptions{Parallelism: 2})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		w := New(ctx, Options{Plan: plan, Scheduler: c.ledger, BatchSize: 4, Registry: &obs.Registry{}, Log: slog.New(slog.DiscardHandler),
			Now: func() flow.Time { return 1 }, Endpoint: ends[i],
			State: func(_ flow.TaskID, max int, groups flow.KeyGroupRange) (state.Store, error) {
				return memory.New(memory.Options{MaxParallelism: max, KeyGroups: groups}), nil
			}})
		t.Cleanup(func() { cancel(); w.Wait() })
		c.workers = append(c.workers, w)
	}
	return c
}

func (c *cluster) deploy(t *testing.T, attempt uint64) {
	t.Helper()
	for i, w := range c.workers {
		if err := w.Deploy(&api.Deploy{Job: "job", Attempt: attempt, Tasks: c.tasks[i], Places: c.places}); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *cluster) each(f func(*Worker)) {
	for _, w := range c.workers {
		f(w)
	}
}

// TestTasksInSeveralProcesses: wherever the tasks of a job run, it does the same.
func TestTasksInSeveralProcesses(t *testing.T) {
	src, sink := []api.Task{{Chain: "src"}, {Chain: "src", Subtask: 1}}, func(s string) string {
		return fmt.Sprintf("sum/0 %s, sum/1 %s", s, s)
	}
	for _, where := range [][]int{{0, 0, 0, 0}, {0, 1, 0, 1}, {0, 0, 1, 1}, {0, 1, 1, 0}, {0, 1, 2, 3}} {
		for _, x := range []graph.ExchangeKind{graph.Broadcast, graph.Forward, graph.Rebalance} {
			t.Run(fmt.Sprint(x, where), func(t *testing.T) {
				c := newCluster(t, x, where...)
				for attempt := uint64(1); attempt <= 2; attempt++ {
					c.deploy(t, attempt)
					c.await(t, began)
					c.each(func(w *Worker) {
						w.AddSplits(&api.AddSplits{Attempt: attempt, Task: src[0], Splits: []api.Split{{ID: "a", Data: []byte("12345")}}})
					})
					switch x {
					case graph.Broadcast:
						c.await(t, "finished a, src/0 request, sum/0 got 5, sum/1 got 5")
					default:
						c.await(t, "finished a, src/0 request, sum/0 got 5")
					}
					if attempt == 1 {
						c.each(func(w *Worker) { w.CancelTasks(&api.CancelTasks{Attempt: attempt, Tasks: nil}) })
						c.await(t, "src/0 cancelled, src/1 cancelled, "+sink("cancelled"))
						continue
					}
					c.each(func(w *Worker) { w.InjectBarrier(&api.InjectBarrier{Attempt: attempt, Epoch: 1, Tasks: src}) })
					c.await(t, "src/0 ack 1, src/1 ack 1, "+sink("ack 1"))
					c.each(func(w *Worker) { w.StopSources(&api.StopSources{Attempt: attempt}) })
					c.await(t, "src/0 drained, src/1 drained, "+sink("drained"))
					c.each(func(w *Worker) {
						w.InjectBarrier(&api.InjectBarrier{Attempt: attempt, Epoch: 2, Kind: uint8(flow.BarrierFinal), Tasks: src})
					})
					c.await(t, "src/0 ack 2, src/1 ack 2, "+sink("ack 2"))
					c.each(func(w *Worker) { w.FinishTasks(&api.FinishTasks{Attempt: attempt}) })
					c.each((*Worker).Wait)
					c.await(t, "src/0 finished, src/1 finished, "+sink("finished"))
				}
			})
		}
	}
}

// TestProcessThatDies: the tasks that get records of a process, and those that send to
// it, fail with it.
func TestProcessThatDies(t *testing.T) {
	for _, dies := range []int{0, 1} {
		c := newCluster(t, graph.Rebalance, 0, 0, 1, 1)
		c.deploy(t, 1)
		c.await(t, began)
		if err := c.workers[dies].opt.Endpoint.Close(); err != nil {
			t.Fatal(err)
		}
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		end := time.After(30 * time.Second)
		for failed := 0; failed < 4; {
			c.Lock()
			failed = strings.Count(strings.Join(c.lines, ", "), "failed")
			all := strings.Join(c.lines, "\n")
			c.Unlock()
			if failed == 4 && strings.Count(all, `job "job" attempt 1, edge sum:0.0 from`) != 4 {
				t.Error(all)
			}
			select {
			case <-tick.C:
			case <-end:
				t.Fatal("not all tasks have failed:\n", all)
			}
		}
	}
}

func TestNoWayToOtherProcesses(t *testing.T) {
	c := newCluster(t, graph.Rebalance, 0, 0, 1, 1)
	for i, want := range []string{"what goes to task sum/0", "what comes from task src/0"} {
		c.workers[i].opt.Endpoint = nil
		err := c.workers[i].Deploy(&api.Deploy{Job: "job", Attempt: 1, Tasks: c.tasks[i], Places: c.places})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "has no endpoint") {
			t.Error(err)
		}
	}
	c = newCluster(t, graph.Rebalance, 0, 0, 1, 1)
	err := c.workers[0].Deploy(&api.Deploy{Job: "job", Attempt: 1, Tasks: c.tasks[0], Places: c.places[:2]})
	if err == nil || !strings.Contains(err.Error(), "does not say where it runs") {
		t.Error(err)
	}
}
