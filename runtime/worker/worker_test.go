package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger is a scheduler that notes what it is told.
type ledger struct {
	sync.Mutex
	lines []string
}

func (l *ledger) note(format string, args ...any) {
	l.Lock()
	defer l.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

// take returns what was told, sorted: tasks speak at the same time.
func (l *ledger) take() string {
	synctest.Wait()
	l.Lock()
	defer l.Unlock()
	slices.Sort(l.lines)
	s := strings.Join(l.lines, ", ")
	l.lines = nil
	return s
}

var states = map[api.State]string{api.Running: "running", api.Drained: "drained", api.Finished: "finished", api.Failed: "failed", api.Cancelled: "cancelled"}

func (l *ledger) TaskState(m *api.TaskState) {
	why := ""
	if m.Failure != nil {
		why = " " + m.Failure.Operator + ": " + m.Failure.Message
	}
	l.note("%s/%d %s%s", m.Task.Chain, m.Task.Subtask, states[m.State], why)
}
func (l *ledger) Ack(m *api.Ack)         { l.note("%s/%d ack %d", m.Task.Chain, m.Task.Subtask, m.Epoch) }
func (l *ledger) Decline(m *api.Decline) { l.note("decline %d", m.Epoch) }
func (l *ledger) RequestSplit(m *api.RequestSplit) {
	l.note("%s/%d request", m.Operator, m.Task.Subtask)
}
func (l *ledger) FinishedSplit(m *api.FinishedSplit)     { l.note("finished %s", m.Split) }
func (l *ledger) SourceWatermark(m *api.SourceWatermark) { l.note("watermark %d", m.Time) }

// numbers is a source whose splits are one number each, the length of their data.
type numbers struct{ open []operator.Split }

func (numbers) Info() operator.SourceInfo                { return operator.SourceInfo{} }
func (numbers) Enumerator() (operator.Enumerator, error) { return nil, nil }
func (numbers) Reader(*operator.ReaderContext) (operator.Reader[int64], error) {
	return &numbers{}, nil
}
func (n *numbers) Add(s operator.Split) error { n.open = append(n.open, s); return nil }
func (n *numbers) Read(into *operator.Records[int64], _ int) (operator.Status, error) {
	into.Append(int64(len(n.open[0].Data)), 1)
	into.Split, into.Done = n.open[0].ID, true
	n.open = n.open[1:]
	return operator.More, nil
}
func (*numbers) Where() string                       { return "" }
func (*numbers) Snapshot() ([]operator.Split, error) { return nil, nil }
func (*numbers) Pause(string, bool)                  {}
func (*numbers) Close() error                        { return nil }

// sum is a sink that fails at 13.
type sum struct {
	*ledger
	subtask int
}

func (sum) Info() operator.SinkInfo                                          { return operator.SinkInfo{} }
func (sum) Committer(*operator.CommitterContext) (operator.Committer, error) { return nil, nil }
func (s sum) Writer(ctx *operator.WriterContext) (operator.Writer[int64], error) {
	return sum{s.ledger, ctx.Subtask}, nil
}
func (s sum) Write(b *flow.Batch[int64]) error {
	for _, v := range b.Values {
		if v == 13 {
			return errors.New("no luck")
		}
		s.note("sum/%d got %d", s.subtask, v)
	}
	return nil
}
func (sum) Idle() error                          { return nil }
func (sum) Prepare(flow.Barrier) ([]byte, error) { return nil, nil }
func (sum) Tick(flow.Time) error                 { return nil }
func (sum) Close() error                         { return nil }

// rig is a worker of a source and a sink of two subtasks each, joined by a
// broadcast.
type rig struct {
	*Worker
	*ledger
	plan         *graph.Plan
	tasks        []api.Task
	refuse       error // of the third state that is made
	made, closed int
}

type counted struct {
	state.Store
	r *rig
}

func (c counted) Close() error {
	c.r.ledger.Lock()
	c.r.closed++
	c.r.ledger.Unlock()
	return c.Store.Close()
}

func newRig(t *testing.T, seed uint64) *rig {
	t.Helper()
	r := &rig{ledger: &ledger{}}
	g := &graph.Graph{Operators: []*graph.Operator{
		{ID: "src", Name: "src", Kind: graph.KindSource, Outputs: []graph.Output{{Type: "int64", Impl: operator.EdgeOf[int64]()}},
			Impl: &operator.Impl{New: func() operator.Operator { return operator.NewSource(operator.SourceConfig[int64]{Source: numbers{}}) }}},
		{ID: "sum", Name: "sum", Kind: graph.KindSink, Inputs: []graph.Input{{Type: "int64", Edges: []graph.Edge{{From: "src", Exchange: graph.Exchange{Kind: graph.Broadcast}}}}},
			Impl: &operator.Impl{New: func() operator.Operator { return operator.NewSink[int64](sum{ledger: r.ledger}) }}},
	}}
	plan, err := graph.Build(g, graph.PlanOptions{Parallelism: 2, Chaining: true})
	if err != nil {
		t.Fatal(err)
	}
	r.plan = plan
	for _, c := range plan.Chains {
		for s := range c.Parallelism {
			r.tasks = append(r.tasks, api.Task{Chain: string(c.ID), Subtask: s})
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.Worker = New(ctx, Options{Plan: plan, Scheduler: r.ledger, BatchSize: 4, Registry: &obs.Registry{}, Log: slog.New(slog.DiscardHandler),
		Now: func() flow.Time { return 1 }, Seed: seed,
		State: func(_ flow.TaskID, max int, groups flow.KeyGroupRange) (state.Store, error) {
			r.ledger.Lock()
			defer r.ledger.Unlock()
			if r.made++; r.made == 3 && r.refuse != nil {
				return nil, r.refuse
			}
			return counted{memory.New(memory.Options{MaxParallelism: max, KeyGroups: groups}), r}, nil
		}})
	t.Cleanup(func() { cancel(); r.Wait() })
	return r
}

func (r *rig) deploy() error { return r.Deploy(&api.Deploy{Job: "job", Attempt: 3, Tasks: r.tasks}) }

func (r *rig) want(t *testing.T, want string) {
	t.Helper()
	if got := r.take(); got != want {
		t.Errorf("told %s\nwant %s", got, want)
	}
}

const began = "src/0 request, src/0 running, src/1 request, src/1 running, sum/0 running, sum/1 running"

func TestWorkerRunsAJob(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, seed)
			if err := r.deploy(); err != nil {
				t.Fatal(err)
			}
			if err := r.deploy(); err == nil || !strings.Contains(err.Error(), "attempt 3 is deployed already") {
				t.Error(err)
			}
			r.want(t, began)
			src := r.tasks[0]
			r.AddSplits(&api.AddSplits{Attempt: 3, Task: src, Splits: []api.Split{{ID: "a", Data: []byte("12345")}}})
			r.want(t, "finished a, src/0 request, sum/0 got 5, sum/1 got 5")
			// Of another attempt, or of nobody: nothing.
			for _, attempt := range []uint64{0, 2, 4} {
				r.StopSources(&api.StopSources{Attempt: attempt})
				r.FinishTasks(&api.FinishTasks{Attempt: attempt})
				r.CancelTasks(&api.CancelTasks{Attempt: attempt, Tasks: r.tasks})
				r.NoMoreSplits(&api.NoMoreSplits{Attempt: attempt, Task: src})
				r.InjectBarrier(&api.InjectBarrier{Attempt: attempt, Epoch: 1, Tasks: r.tasks})
			}
			r.CancelTasks(&api.CancelTasks{Attempt: 3, Tasks: []api.Task{{Chain: "who"}, {Chain: "src", Subtask: 9}}})
			r.CancelTasks(&api.CancelTasks{Attempt: 3, Tasks: []api.Task{}})
			r.AddSplits(&api.AddSplits{Attempt: 3, Task: r.tasks[2], Splits: []api.Split{{ID: "no source"}}})
			r.want(t, "")
			r.InjectBarrier(&api.InjectBarrier{Attempt: 3, Epoch: 1, Tasks: r.tasks[:2]})
			r.want(t, "src/0 ack 1, src/1 ack 1, sum/0 ack 1, sum/1 ack 1")
			r.Committed(&api.Committed{Attempt: 3, Epoch: 1})
			r.NoMoreSplits(&api.NoMoreSplits{Attempt: 3, Task: src})
			r.want(t, "src/0 drained")
			r.StopSources(&api.StopSources{Attempt: 3})
			r.want(t, "src/1 drained, sum/0 drained, sum/1 drained")
			r.InjectBarrier(&api.InjectBarrier{Attempt: 3, Epoch: 2, Kind: uint8(flow.BarrierFinal), Tasks: r.tasks[:2]})
			r.want(t, "src/0 ack 2, src/1 ack 2, sum/0 ack 2, sum/1 ack 2")
			r.FinishTasks(&api.FinishTasks{Attempt: 3})
			r.Wait()
			r.want(t, "src/0 finished, src/1 finished, sum/0 finished, sum/1 finished")
			r.CancelTasks(&api.CancelTasks{Attempt: 3, Tasks: r.tasks})
			r.want(t, "")
			if r.closed != 4 {
				t.Errorf("%d of 4 states are closed", r.closed)
			}
		})
	}
}

// A task that fails ends alone; its producers wait to be told.
func TestWorkerTellsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		if err := r.deploy(); err != nil {
			t.Fatal(err)
		}
		r.take()
		r.AddSplits(&api.AddSplits{Attempt: 3, Task: r.tasks[0], Splits: []api.Split{{ID: "bad", Data: make([]byte, 13)}}})
		r.want(t, "finished bad, src/0 request, sum/0 failed sum: no luck, sum/1 failed sum: no luck")
		r.AddSplits(&api.AddSplits{Attempt: 3, Task: r.tasks[1], Splits: []api.Split{{ID: "more", Data: make([]byte, 2)}}})
		r.want(t, "finished more, src/1 request")
		r.CancelTasks(&api.CancelTasks{Attempt: 3, Tasks: r.tasks[:2]})
		r.want(t, "src/0 cancelled, src/1 cancelled")
		r.Wait()
	})
}

func TestDeployThatFailsLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		r.tasks = append(r.tasks, api.Task{Chain: "who"})
		if err := r.deploy(); err == nil || !strings.Contains(err.Error(), `no chain "who"`) {
			t.Error(err)
		}
		r.tasks = r.tasks[:4]
		err := r.Deploy(&api.Deploy{Attempt: 3, Tasks: r.tasks, Restore: [][]byte{nil, nil, nil, []byte("rubbish")}})
		if err == nil || !strings.Contains(err.Error(), "task sum/1: what it is to be restored from") {
			t.Error(err)
		}
		if err := r.Deploy(&api.Deploy{Attempt: 3, Tasks: r.tasks, Restore: make([][]byte, 3)}); err == nil {
			t.Error("4 tasks and 3 snapshots are deployed")
		}
		if r.made != 0 {
			t.Errorf("%d states were opened", r.made)
		}
		if err := r.deploy(); err != nil {
			t.Error(err)
		}
		r.want(t, began)
	})
}

// A store that cannot be opened is the task's failure; the next attempt has to wait
// until all of this one have ended.
func TestNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		r.refuse = errors.New("no disk")
		if err := r.deploy(); err != nil {
			t.Fatal(err)
		}
		if got := r.take(); strings.Count(got, "failed : keyed state: no disk") != 1 || strings.Count(got, "running") != 3 {
			t.Error(got)
		}
		next := &api.Deploy{Job: "job", Attempt: 5, Tasks: r.tasks}
		if err := r.Deploy(next); err == nil || !strings.Contains(err.Error(), "3 tasks of attempt 3 have not ended") {
			t.Error(err)
		}
		r.CancelTasks(&api.CancelTasks{Attempt: 3, Tasks: r.tasks})
		if got := r.take(); strings.Count(got, "cancelled") != 3 {
			t.Error(got)
		}
		if r.made != 4 || r.closed != 3 {
			t.Errorf("%d states are closed, %d were asked for", r.closed, r.made)
		}
		if err := r.Deploy(next); err != nil {
			t.Fatal(err)
		}
		r.want(t, began)
		r.CancelTasks(&api.CancelTasks{Attempt: 3, Tasks: r.tasks})
		r.want(t, "")
		if err := r.deploy(); err == nil {
			t.Error("an older attempt is deployed again")
		}
	})
}
