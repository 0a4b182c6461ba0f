package worker

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/lsm"
	"github.com/weirflow/weir/state/memory"
)

// counting is a source whose splits are the numbers from a first one up to the limit
// that the test sets.
type counting struct {
	mu    sync.Mutex
	limit int64
	end   int64
	wake  []func()
}

func (c *counting) set(limit int64) {
	c.mu.Lock()
	c.limit = limit
	wake := slices.Clone(c.wake)
	c.mu.Unlock()
	for _, f := range wake {
		f()
	}
}

func (c *counting) get() int64 { c.mu.Lock(); defer c.mu.Unlock(); return c.limit }

func (*counting) Info() operator.SourceInfo                { return operator.SourceInfo{} }
func (*counting) Enumerator() (operator.Enumerator, error) { return nil, nil }
func (c *counting) Reader(ctx *operator.ReaderContext) (operator.Reader[int64], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake = append(c.wake, ctx.Wake)
	return &counter{c: c}, nil
}

type counter struct {
	c    *counting
	open []operator.Split
}

func at(s operator.Split) int64 { return int64(binary.BigEndian.Uint64(s.Data)) }

func splitAt(id string, n int64) operator.Split {
	return operator.Split{ID: id, Data: binary.BigEndian.AppendUint64(nil, uint64(n))}
}

func (r *counter) Add(s operator.Split) error { r.open = append(r.open, s); return nil }
func (r *counter) Read(into *operator.Records[int64], most int) (operator.Status, error) {
	for i := range r.open {
		s := &r.open[i]
		n := at(*s)
		for n < r.c.get() && len(into.Values) < most {
			into.Append(n, flow.MinTime)
			n++
		}
		if len(into.Values) == 0 {
			continue
		}
		into.Split, into.Done = s.ID, n == r.c.end
		*s = splitAt(s.ID, n)
		if into.Done {
			r.open = slices.Delete(r.open, i, i+1)
		}
		return operator.More, nil
	}
	return operator.WaitForWake, nil
}
func (*counter) Where() string                         { return "" }
func (r *counter) Snapshot() ([]operator.Split, error) { return slices.Clone(r.open), nil }
func (*counter) Pause(string, bool)                    {}
func (*counter) Close() error                          { return nil }

type count struct{ Key, N, Sum int64 }

// counts is a sink that keeps the newest count of each key.
type counts struct {
	mu   sync.Mutex
	slow time.Duration // that a batch takes
	of   map[int64]count
}

func (*counts) Info() operator.SinkInfo                                          { return operator.SinkInfo{} }
func (*counts) Committer(*operator.CommitterContext) (operator.Committer, error) { return nil, nil }
func (c *counts) Writer(*operator.WriterContext) (operator.Writer[count], error) { return c, nil }
func (c *counts) Write(b *flow.Batch[count]) error {
	time.Sleep(c.slow)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range b.Values {
		c.of[v.Key] = v
	}
	return nil
}
func (*counts) Idle() error                          { return nil }
func (*counts) Prepare(flow.Barrier) ([]byte, error) { return []byte("prepared"), nil }
func (*counts) Tick(flow.Time) error                 { return nil }
func (*counts) Close() error                         { return nil }

// attempt is a scheduler of one attempt: it waits for what it needs.
type attempt struct {
	*testing.T
	*Worker
	number uint64
	plan   *graph.Plan
	tasks  []api.Task
	mu     sync.Mutex
	acks   map[uint64][]*api.Ack
	states map[api.State]int
	why    []string
}

func (a *attempt) TaskState(m *api.TaskState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.states[m.State]++
	if m.Failure != nil {
		a.why = append(a.why, m.Failure.Message)
	}
}
func (a *attempt) Ack(m *api.Ack) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acks[m.Epoch] = append(a.acks[m.Epoch], m)
}
func (a *attempt) Decline(m *api.Decline)             { a.Errorf("epoch %d is declined: %s", m.Epoch, m.Reason) }
func (*attempt) RequestSplit(*api.RequestSplit)       {}
func (*attempt) FinishedSplit(*api.FinishedSplit)     {}
func (*attempt) SourceWatermark(*api.SourceWatermark) {}

// restoring is a job of a source and a keyed process function over several attempts.
type restoring struct {
	source  *counting
	sink    *counts
	storage store.Storage
	job     *store.Job
	graph   *graph.Graph
	options Options // AlignTimeout, Credit and Seed

	// disk is where keyed state is, in directories of dir; nil: in memory.
	disk   *lsm.Env
	dir    string
	mu     sync.Mutex
	opened int
}

func newRestoring(t *testing.T, st store.Storage) *restoring {
	r := &restoring{source: &counting{end: 1000}, sink: &counts{of: map[int64]count{}}, storage: st}
	r.job = store.OpenJob(st, "job", store.JobOptions{})
	key, err := operator.NewKey(func(v int64) int64 { return v % 50 })
	if err != nil {
		t.Fatal(err)
	}
	make := func(s *operator.Setup[int64]) operator.Processor[int64, int64, count] {
		n, sum := operator.ValueState[int64](s, "n"), operator.ValueState[int64](s, "sum")
		return operator.Processor[int64, int64, count]{Each: func(c *operator.Keyed[int64], v int64, out *operator.Emitter[count]) {
			was, _ := n.Get()
			old, _ := sum.Get()
			n.Set(was + 1)
			sum.Set(old + v)
			out.Emit(count{c.Key, was + 1, old + v})
		}}
	}
	declared, err := operator.Declare(make)
	if err != nil {
		t.Fatal(err)
	}
	r.graph = &graph.Graph{MaxParallelism: 16, Operators: []*graph.Operator{
		{ID: "src", Name: "src", Kind: graph.KindSource, Outputs: []graph.Output{{Type: "int64", Impl: operator.EdgeOf[int64]()}},
			Impl: &operator.Impl{New: func() operator.Operator {
				return operator.NewSource(operator.SourceConfig[int64]{Source: r.source})
			}}},
		{ID: "count", Name: "count", Kind: "process", Inputs: []graph.Input{{Type: "int64", Edges: []graph.Edge{{From: "src",
			Exchange: graph.Exchange{Kind: graph.Hash, Impl: key.Hash}}}}},
			Outputs: []graph.Output{{Type: "count", Impl: operator.EdgeOf[count]()}},
			Impl: &operator.Impl{New: func() operator.Operator {
				return operator.NewProcess(operator.ProcessConfig[int64, int64, count]{Key: key, Make: make, Declared: declared})
			}}},
		{ID: "sink", Name: "sink", Kind: graph.KindSink, Inputs: []graph.Input{{Type: "count", Edges: []graph.Edge{{From: "count"}}}},
			Impl: &operator.Impl{New: func() operator.Operator { return operator.NewSink[count](r.sink) }}},
	}}
	return r
}

func target(p *graph.Plan) checkpoint.Target {
	t := checkpoint.Target{MaxParallelism: p.MaxParallelism}
	for _, c := range p.Chains {
		tc := checkpoint.TargetChain{ID: c.ID, Parallelism: c.Parallelism}
		for i, o := range c.Operators {
			to := checkpoint.TargetOperator{ID: o.ID, Name: o.Name, Source: len(o.Inputs) == 0}
			if i == 0 {
				for _, in := range c.Inputs {
					to.Inputs = append(to.Inputs, checkpoint.TargetInput{Port: in.Port, Index: in.Edge.Index, From: in.From,
						Outlet: in.Output, Exchange: checkpoint.Exchange(in.Exchange.Kind)})
				}
			}
			tc.Operators = append(tc.Operators, to)
		}
		t.Chains = append(t.Chains, tc)
	}
	return t
}

// start deploys the job's next attempt, from its newest manifest.
func (r *restoring) start(t *testing.T, parallelism int) *attempt {
	t.Helper()
	plan, err := graph.Build(r.graph, graph.PlanOptions{Parallelism: parallelism, Chaining: true})
	if err != nil {
		t.Fatal(err)
	}
	number, m, err := r.job.Claim(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	a := &attempt{T: t, number: uint64(number), plan: plan, acks: map[uint64][]*api.Ack{}, states: map[api.State]int{}}
	deploy := &api.Deploy{Job: "job", Attempt: a.number}
	splits := [][]byte{}
	var from *checkpoint.Restore
	if m == nil {
		for i := range 3 {
			sp := splitAt(fmt.Sprint("s", i), 0)
			splits = append(splits, checkpoint.AppendSplit(nil, &checkpoint.SavedSplit{ID: sp.ID, Data: sp.Data}))
		}
	} else {
		if from, err = checkpoint.Resolve(m, target(plan), checkpoint.ResolveOptions{}); err != nil {
			t.Fatal(err)
		}
		deploy.Epoch, splits = uint64(from.Epoch), from.Sources["src"].Splits
	}
	for _, c := range plan.Chains {
		for s := range c.Parallelism {
			id := flow.TaskID{Chain: c.ID, Subtask: s}
			a.tasks = append(a.tasks, apiTask(id))
			if from != nil {
				deploy.Restore = append(deploy.Restore, checkpoint.AppendTaskRestore(nil, from.Tasks[id]))
			}
		}
	}
	deploy.Tasks = a.tasks
	ctx, cancel := context.WithCancel(t.Context())
	a.Worker = New(ctx, Options{Plan: plan, Scheduler: a, BatchSize: 16, Registry: &obs.Registry{}, Log: slog.New(slog.DiscardHandler),
		Now: func() flow.Time { return 1 }, Storage: Stored(r.job), Staging: Staged(r.job), Hashes: true,
		AlignTimeout: r.options.AlignTimeout, Credit: r.options.Credit, Seed: r.options.Seed,
		State: func(_ flow.TaskID, max int, groups flow.KeyGroupRange) (state.Store, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.disk != nil {
				r.opened++
				return r.disk.Open(lsm.Options{Dir: filepath.Join(r.dir, fmt.Sprint(r.opened)), MaxParallelism: max, KeyGroups: groups})
			}
			return memory.New(memory.Options{MaxParallelism: max, KeyGroups: groups}), nil
		}})
	t.Cleanup(func() { cancel(); a.Wait() })
	if err := a.Deploy(deploy); err != nil {
		t.Fatal(err)
	}
	for i, b := range splits {
		sp, err := checkpoint.DecodeSplit(b)
		if err != nil {
			t.Fatal(err)
		}
		a.AddSplits(&api.AddSplits{Attempt: a.number, Task: a.tasks[i%parallelism], Operator: "src", Splits: []api.Split{{ID: sp.ID, Data: sp.Data}}})
	}
	synctest.Wait()
	if n := a.states[api.Running]; n != len(a.tasks) {
		t.Fatalf("%d of %d tasks run: %v", n, len(a.tasks), a.why)
	}
	return a
}

// epoch takes a checkpoint and commits it. The sources take part as tasks only: nothing
// is found while it runs.
func (r *restoring) epoch(a *attempt, e uint64) {
	a.Helper()
	a.InjectBarrier(&api.InjectBarrier{Attempt: a.number, Epoch: e, Tasks: a.tasks[:a.plan.Chains[0].Parallelism]})
	synctest.Wait()
	m := &checkpoint.Manifest{Job: "job", Attempt: a.number, Epoch: e, MaxParallelism: a.plan.MaxParallelism,
		Sources: []checkpoint.SourceSnapshot{{Operator: "src", Done: true, Assigned: []string{"s0", "s1", "s2"}}}}
	if len(a.acks[e]) != len(a.tasks) {
		a.Fatalf("%d of %d tasks have acknowledged: %v", len(a.acks[e]), len(a.tasks), a.why)
	}
	for _, ack := range a.acks[e] {
		s, err := checkpoint.DecodeTaskSnapshot(ack.Snapshot)
		if err != nil {
			a.Fatal(err)
		}
		if e == 1 && len(ack.Prepared) > 0 && ack.Prepared[0].Records == 0 {
			a.Error("what is prepared has no records")
		}
		m.Tasks = append(m.Tasks, *s)
	}
	if err := checkpoint.Balance(flow.Epoch(e), m.Tasks, target(a.plan)); err != nil {
		a.Error(err)
	}
	if err := r.job.Commit(a.Context(), m); err != nil {
		a.Fatal(err)
	}
	a.Committed(&api.Committed{Attempt: a.number, Epoch: e})
}

// kill ends the attempt as if its process were gone.
func (a *attempt) kill() {
	a.CancelTasks(&api.CancelTasks{Attempt: a.number, Tasks: a.tasks})
	a.Wait()
}

func (r *restoring) check(t *testing.T) {
	t.Helper()
	synctest.Wait()
	for k := range int64(50) {
		want := count{Key: k, N: 3 * 1000 / 50}
		for v := k; v < 1000; v += 50 {
			want.Sum += 3 * v
		}
		if got := r.sink.of[k]; got != want {
			t.Errorf("key %d: %+v, not %+v", k, got, want)
		}
	}
}

// A job that is killed between epochs, and goes on with more or fewer subtasks, counts
// each record once.
func TestJobIsRestored(t *testing.T) {
	directory := func(t *testing.T) store.Storage {
		st, err := store.Open(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	for name, open := range map[string]func(t *testing.T) store.Storage{
		"memory":        func(*testing.T) store.Storage { return store.NewMem(nil) },
		"directory":     directory,
		"state on disk": directory,
	} {
		t.Run(name, func(t *testing.T) {
			st, dir := open(t), t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				r := newRestoring(t, st)
				if name == "state on disk" {
					env, err := lsm.NewEnv(lsm.EnvOptions{Memory: 8 << 20})
					if err != nil {
						t.Fatal(err)
					}
					r.disk, r.dir = env, dir
					defer func() {
						if err := env.Close(); err != nil {
							t.Error(err)
						}
					}()
				}
				a := r.start(t, 2)
				r.source.set(120)
				synctest.Wait()
				r.epoch(a, 1)
				r.source.set(333)
				r.epoch(a, 2)
				r.source.set(400)
				synctest.Wait()
				a.kill()
				for i, p := range []int{2, 3, 1, 4} {
					a = r.start(t, p)
					r.source.set(int64(450 + 100*i))
					r.epoch(a, uint64(3+i))
					r.source.set(int64(460 + 100*i))
					synctest.Wait()
					a.kill()
				}
				a = r.start(t, 2)
				r.source.set(1000)
				r.epoch(a, 7)
				r.check(t)
				a.kill()
				// The end is an epoch as any other: nothing is left to read.
				a = r.start(t, 2)
				r.epoch(a, 8)
				a.kill()
			})
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
