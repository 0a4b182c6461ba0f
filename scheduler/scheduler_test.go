package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// crew is a worker whose tasks do what they are told at once, but for what the
// test has taken over with hold.
type crew struct {
	*Scheduler
	sync.Mutex
	tasks  []api.Task
	source map[api.Task]bool
	told   []string
	hold   map[string]bool // by message
	refuse error           // of Deploy
	saves  bool            // acknowledges with a snapshot
	at     uint64          // the attempt
	ended  map[api.Task]bool
	noMore int
}

func (c *crew) note(format string, args ...any) (held bool) {
	c.Lock()
	defer c.Unlock()
	line := fmt.Sprintf(format, args...)
	c.told = append(c.told, line)
	what, _, _ := strings.Cut(line, " ")
	return c.hold[what]
}

func (c *crew) take() string {
	c.Lock()
	defer c.Unlock()
	s := strings.Join(c.told, ", ")
	c.told = nil
	return s
}

func (c *crew) state(s api.State, f *api.Failure, tasks ...api.Task) {
	for _, t := range tasks {
		c.Lock()
		over := c.ended[t]
		c.ended[t] = over || s >= api.Finished
		c.Unlock()
		if !over {
			c.TaskState(&api.TaskState{Attempt: c.at, Task: t, State: s, Failure: f})
		}
	}
}

func (c *crew) Deploy(m *api.Deploy) error {
	held := c.note("deploy %d", len(m.Tasks))
	c.Lock()
	c.at, c.noMore = m.Attempt, 0
	clear(c.ended)
	c.Unlock()
	if c.refuse != nil {
		return c.refuse
	}
	if !held {
		c.running()
	}
	return nil
}

// running reports all tasks, and that the sources want a split.
func (c *crew) running() {
	c.state(api.Running, nil, c.tasks...)
	for _, t := range c.tasks {
		if c.source[t] {
			c.RequestSplit(&api.RequestSplit{Attempt: c.at, Task: t, Operator: t.Chain})
		}
	}
}

func (c *crew) AddSplits(m *api.AddSplits) {
	for _, s := range m.Splits {
		if c.note("split %s to %d", s.ID, m.Task.Subtask) {
			continue
		}
		c.read(m.Task, s.ID)
	}
}

// read reports that a subtask has read a split, and asks for one more.
func (c *crew) read(t api.Task, id string) {
	c.FinishedSplit(&api.FinishedSplit{Attempt: c.at, Task: t, Operator: t.Chain, Split: id})
	c.RequestSplit(&api.RequestSplit{Attempt: c.at, Task: t, Operator: t.Chain})
}

func (c *crew) NoMoreSplits(m *api.NoMoreSplits) {
	if c.note("nomore %d", m.Task.Subtask) {
		return
	}
	c.state(api.Drained, nil, m.Task)
	if c.noMore++; c.noMore == len(c.source) {
		c.state(api.Drained, nil, c.tasks...)
	}
}

func (c *crew) StopSources(*api.StopSources) {
	if !c.note("stop") {
		c.state(api.Drained, nil, c.tasks...)
	}
}

func (c *crew) InjectBarrier(m *api.InjectBarrier) {
	if c.note("barrier %d", m.Epoch) {
		return
	}
	for _, t := range c.tasks {
		a := &api.Ack{Attempt: c.at, Task: t, Epoch: m.Epoch}
		if c.saves {
			a.Snapshot = checkpoint.AppendTaskSnapshot(nil, &checkpoint.TaskSnapshot{Chain: t.Chain, Subtask: t.Subtask,
				Parallelism: len(c.tasks) / 2, End: flow.DefaultMaxParallelism})
		}
		if t.Chain == "sink" {
			a.Prepared = []api.Prepared{{Operator: "sink", Epoch: m.Epoch, Data: []byte{byte(m.Epoch)}}}
		}
		c.Ack(a)
	}
}

func (c *crew) NoSplitYet(m *api.NoSplitYet) { c.note("wait %d", m.Task.Subtask) }
func (c *crew) AbortEpoch(m *api.AbortEpoch) { c.note("abort %d", m.Epoch) }
func (c *crew) Committed(m *api.Committed)   { c.note("committed %d", m.Epoch) }
func (c *crew) Align(m *api.Align)           { c.note("align %s %s", m.Group, short(m.Time)) }

func short(t int64) string {
	if flow.Time(t) == flow.MaxTime {
		return "max"
	}
	return fmt.Sprint(t)
}

func (c *crew) FinishTasks(*api.FinishTasks) {
	if !c.note("finish") {
		c.state(api.Finished, nil, c.tasks...)
	}
}

func (c *crew) CancelTasks(m *api.CancelTasks) {
	if !c.note("cancel %d", len(m.Tasks)) {
		c.state(api.Cancelled, nil, m.Tasks...)
	}
}

// enumeration is an enumerator that the test scripts.
type enumeration struct {
	crew     *crew
	discover func(ctx context.Context, call int) (operator.Discovery, error)
	finish   func(ids []string)
	closing  error
	calls    int
}

func (e *enumeration) Discover(ctx context.Context) (operator.Discovery, error) {
	e.calls++
	return e.discover(ctx, e.calls)
}
func (e *enumeration) Finished(ids []string) {
	if e.crew.saves {
		e.crew.note("finished %s", strings.Join(ids, " "))
	}
	if e.finish != nil {
		e.finish(ids)
	}
}
func (e *enumeration) Snapshot() ([]byte, error) { return []byte("discovered"), nil }
func (e *enumeration) Restore(b []byte) error    { e.crew.note("restore %s", b); return nil }
func (e *enumeration) Close() error              { e.crew.note("enumerator closed"); return e.closing }

type commission struct {
	crew   *crew
	commit func(ctx context.Context, e flow.Epoch) error
}

func (c commission) Commit(ctx context.Context, e flow.Epoch, prepared [][]byte) error {
	c.crew.note("commit %d %d", e, len(prepared))
	if c.commit != nil {
		return c.commit(ctx, e)
	}
	return nil
}
func (c commission) Recover(_ context.Context, restored flow.Epoch) error {
	if c.crew.saves {
		c.crew.note("recover %d", restored)
	}
	return nil
}
func (c commission) Close() error { c.crew.note("committer closed"); return nil }

// setup is a job of a source and a sink, in a bubble.
type setup struct {
	parallelism int
	source      operator.SourceImpl
	sink        *operator.SinkImpl
	discover    func(ctx context.Context, call int) (operator.Discovery, error)
	commit      func(ctx context.Context, e flow.Epoch) error
	interval    time.Duration
	sources     []flow.OperatorID // default: src
}

func (o setup) make(t *testing.T) *crew {
	t.Helper()
	c := &crew{at: 1, source: map[api.Task]bool{}, hold: map[string]bool{}, ended: map[api.Task]bool{}}
	if o.source.Enumerator == nil {
		o.source.Enumerator = func() (operator.Enumerator, error) { return &enumeration{crew: c, discover: o.discover}, nil }
	}
	if o.sink == nil {
		o.sink = &operator.SinkImpl{Committer: func(*operator.CommitterContext) (operator.Committer, error) { return commission{c, o.commit}, nil }}
	}
	if o.sources == nil {
		o.sources = []flow.OperatorID{"src"}
	}
	g := &graph.Graph{}
	sink := &graph.Operator{ID: "sink", Name: "the sink", Kind: graph.KindSink, NoChain: true, Inputs: []graph.Input{{Type: "int"}}, Impl: &operator.Impl{Sink: o.sink}}
	for _, id := range o.sources {
		source := o.source
		g.Operators = append(g.Operators, &graph.Operator{ID: id, Name: "the source", Kind: graph.KindSource, Outputs: []graph.Output{{Type: "int"}},
			Impl: &operator.Impl{Source: &source}})
		sink.Inputs[0].Edges = append(sink.Inputs[0].Edges, graph.Edge{From: id})
	}
	g.Operators = append(g.Operators, sink)
	plan, err := graph.Build(g, graph.PlanOptions{Parallelism: max(1, o.parallelism)})
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range plan.Chains {
		for sub := range ch.Parallelism {
			at := api.Task{Chain: string(ch.ID), Subtask: sub}
			c.tasks = append(c.tasks, at)
			if len(ch.Inputs) == 0 {
				c.source[at] = true
			}
		}
	}
	c.Scheduler, err = New(Options{Job: "job", Plan: plan, Epochs: checkpoint.Options{Interval: o.interval}, Log: slog.New(slog.DiscardHandler),
		Now: func() flow.Time { return flow.TimeOf(time.Now()) }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs the job to its end.
func (c *crew) run(ctx context.Context) error { return c.Run(ctx, c) }

// begin starts the job, and waits until it waits.
func (c *crew) begin(t *testing.T) <-chan error {
	done := make(chan error, 1)
	go func() { done <- c.run(t.Context()) }()
	synctest.Wait()
	return done
}

func splits(ids ...string) (s []operator.Split) {
	for _, id := range ids {
		s = append(s, operator.Split{ID: id})
	}
	return s
}

// all finds everything at once.
func all(ids ...string) func(context.Context, int) (operator.Discovery, error) {
	return func(context.Context, int) (operator.Discovery, error) {
		return operator.Discovery{Splits: splits(ids...), Done: true}, nil
	}
}

func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func wantTold(t *testing.T, c *crew, want string) {
	t.Helper()
	synctest.Wait()
	if got := c.take(); got != want {
		t.Errorf("told %s\nwant %s", got, want)
	}
}

// inOrder wants these among what was told, in this order: what goroutines beside
// the scheduler's do may stand between.
func inOrder(t *testing.T, c *crew, want string) {
	t.Helper()
	synctest.Wait()
	told := c.take()
	rest := strings.Split(want, ", ")
	for line := range strings.SplitSeq(told, ", ") {
		if len(rest) > 0 && line == rest[0] {
			rest = rest[1:]
		}
	}
	if len(rest) > 0 {
		t.Errorf("told %s\nwant %s", told, want)
	}
}

func TestJobWorksOffItsInput(t *testing.T) {
	bubble(t, "at once", func(t *testing.T) {
		c := setup{discover: all("a", "b")}.make(t)
		if err := c.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		inOrder(t, c, "deploy 2, split a to 0, split b to 0, nomore 0, barrier 1, commit 1 1, committed 1, finish, committer closed")
	})
	// Discovery goes on as long as it says; what was read is told to it.
	bubble(t, "bit by bit", func(t *testing.T) {
		var read []string
		var c *crew
		o := setup{discover: func(_ context.Context, call int) (operator.Discovery, error) {
			return operator.Discovery{Splits: splits(fmt.Sprint("s", call)), After: time.Hour, Done: call == 3}, nil
		}}
		c = o.make(t)
		impl := c.cur.sources["src"].op.Impl.(*operator.Impl).Source
		inner := impl.Enumerator
		impl.Enumerator = func() (operator.Enumerator, error) {
			e, err := inner()
			e.(*enumeration).finish = func(ids []string) { read = append(read, ids...) }
			return e, err
		}
		c.hold["split"] = true
		done := c.begin(t)
		wantTold(t, c, "deploy 2, split s1 to 0")
		time.Sleep(time.Hour + time.Second)
		c.read(api.Task{Chain: "src"}, "s1")
		wantTold(t, c, "split s2 to 0")
		c.read(api.Task{Chain: "src"}, "s2")
		wantTold(t, c, "wait 0") // it is not yet time to look again
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		// The enumerator's goroutine is another than the scheduler's.
		if got := c.take(); got != "enumerator closed, split s3 to 0" && got != "split s3 to 0, enumerator closed" {
			t.Errorf("told %s\nwant the last split, and the enumerator closed", got)
		}
		c.read(api.Task{Chain: "src"}, "s3")
		if err := <-done; err != nil || fmt.Sprint(read) != "[s1 s2]" {
			t.Error(err, read)
		}
	})
	bubble(t, "with epochs", func(t *testing.T) {
		c := setup{discover: all("a"), interval: time.Second}.make(t)
		c.hold["split"] = true
		done := c.begin(t)
		time.Sleep(2500 * time.Millisecond)
		inOrder(t, c, "deploy 2, split a to 0, barrier 1, commit 1 1, committed 1, barrier 2, commit 2 1, committed 2")
		c.read(api.Task{Chain: "src"}, "a")
		if err := <-done; err != nil {
			t.Error(err)
		}
		inOrder(t, c, "nomore 0, barrier 3, commit 3 1, committed 3, finish, committer closed")
	})
}

func wantFailure(t *testing.T, err error, op, text string) {
	t.Helper()
	var f *flow.Failure
	if !errors.As(err, &f) || string(f.Operator) != op || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want a failure of %q that says %q", err, op, text)
	}
}

func TestConnectorsFail(t *testing.T) {
	wrong := errors.New("wrong")
	none := func(*operator.CommitterContext) (operator.Committer, error) { return nil, nil }
	for _, c := range []struct {
		name string
		o    setup
		op   string
		says string
	}{
		{"enumerator", setup{source: operator.SourceImpl{Enumerator: func() (operator.Enumerator, error) { return nil, wrong }}}, "src", "finding input: wrong"},
		{"enumerator panics", setup{source: operator.SourceImpl{Enumerator: func() (operator.Enumerator, error) { panic(wrong) }}}, "src", "finding input: panic: wrong"},
		{"discovery", setup{discover: func(context.Context, int) (operator.Discovery, error) { return operator.Discovery{}, wrong }}, "src", "finding input: wrong"},
		{"discovery panics", setup{discover: func(context.Context, int) (operator.Discovery, error) { panic(wrong) }}, "src", "finding input: panic: wrong"},
		{"discovery, later", setup{discover: func(_ context.Context, n int) (operator.Discovery, error) {
			if n == 3 {
				return operator.Discovery{}, wrong
			}
			return operator.Discovery{After: time.Hour}, nil
		}}, "src", "finding input: wrong"},
		{"commit", setup{discover: all(), commit: func(context.Context, flow.Epoch) error { return wrong }}, "sink", "committing final 1: wrong"},
		{"commit panics", setup{discover: all(), commit: func(context.Context, flow.Epoch) error { panic(wrong) }}, "sink", "committing final 1: panic: wrong"},
		{"commit with a failure of its own", setup{discover: all(), commit: func(context.Context, flow.Epoch) error {
			return &flow.Failure{Domain: flow.DomainUser, Message: "wrong"}
		}}, "sink", "committing final 1: wrong"},
		{"no committer", setup{discover: all(), sink: &operator.SinkImpl{Committer: none}}, "sink", "has no committer"},
	} {
		bubble(t, c.name, func(t *testing.T) {
			cr := c.o.make(t)
			wantFailure(t, cr.run(t.Context()), c.op, c.says)
			if told := cr.take(); !strings.Contains(told, "cancel 2") {
				t.Error(told)
			}
		})
	}
}

// A call that hangs must heed its context: the job's end waits for it, and for
// nothing else.
func TestCancelEndsWhatBlocks(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, o := range map[string]setup{
		"discovery": {discover: func(ctx context.Context, _ int) (operator.Discovery, error) { return operator.Discovery{}, hang(ctx) }},
		"waiting":   {discover: func(context.Context, int) (operator.Discovery, error) { return operator.Discovery{}, nil }},
		"commit":    {discover: all(), commit: func(ctx context.Context, _ flow.Epoch) error { return hang(ctx) }},
	} {
		bubble(t, name, func(t *testing.T) {
			c := o.make(t)
			done := c.begin(t)
			time.Sleep(time.Hour)
			c.Cancel()
			if err := <-done; !errors.Is(err, ErrCancelled) {
				t.Error(err)
			}
			c.Cancel() // to a job that has ended
			c.Stop()
			c.state(api.Failed, &api.Failure{Message: "late"}, api.Task{Chain: "src"})
		})
	}
	bubble(t, "before it began", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c := setup{discover: all("a")}.make(t)
		c.hold["split"] = true
		if err := c.run(ctx); !errors.Is(err, ErrCancelled) {
			t.Error(err)
		}
	})
}

func TestStop(t *testing.T) {
	for name, when := range map[string]func(c *crew){
		"before it began": func(c *crew) { c.Stop() },
		"while deploying": func(c *crew) { c.hold["deploy"] = true },
		"while reading":   func(c *crew) { c.hold["split"] = true },
	} {
		bubble(t, name, func(t *testing.T) {
			c := setup{discover: all("a"), parallelism: 2}.make(t)
			c.hold["split"] = true
			when(c)
			done := c.begin(t)
			c.Stop()
			synctest.Wait()
			if c.hold["deploy"] {
				c.running()
			}
			if err := <-done; !errors.Is(err, ErrStopped) {
				t.Error(err)
			}
			inOrder(t, c, "deploy 4, stop, barrier 1, commit 1 2, committed 1, finish, committer closed")
		})
	}
}

func TestDeployIsRefused(t *testing.T) {
	bubble(t, "refused", func(t *testing.T) {
		c := setup{discover: all("a"), parallelism: 2}.make(t)
		c.refuse = errors.New("the plan has no such chain")
		wantFailure(t, c.run(t.Context()), "", "no such chain")
	})
}

func TestTaskFails(t *testing.T) {
	bubble(t, "first failure wins", func(t *testing.T) {
		c := setup{discover: all("a"), parallelism: 2, interval: time.Second}.make(t)
		c.hold["split"], c.hold["cancel"], c.hold["barrier"] = true, true, true
		done := c.begin(t)
		time.Sleep(1500 * time.Millisecond)
		c.take()
		c.state(api.Failed, &api.Failure{Operator: "sink", Name: "the sink", Message: "disk full"}, api.Task{Chain: "sink", Subtask: 1})
		wantTold(t, c, "abort 1, cancel 3")
		// What comes now is of no interest.
		c.state(api.Failed, &api.Failure{Operator: "src", Message: "closed"}, api.Task{Chain: "src", Subtask: 0})
		c.Ack(&api.Ack{Attempt: 1, Task: api.Task{Chain: "src", Subtask: 1}, Epoch: 1})
		c.Stop()
		c.state(api.Cancelled, nil, c.tasks...)
		wantFailure(t, <-done, "sink", "disk full")
		wantTold(t, c, "committer closed")
	})
}

func TestStrangeMessages(t *testing.T) {
	bubble(t, "strange", func(t *testing.T) {
		c := setup{discover: all("a"), parallelism: 2}.make(t)
		c.hold["split"] = true
		done := c.begin(t)
		c.take()
		src, nobody := api.Task{Chain: "src"}, api.Task{Chain: "who", Subtask: 7}
		for _, attempt := range []uint64{0, 1, 2} {
			for _, at := range []api.Task{src, nobody, {Chain: "src", Subtask: -1}, {Chain: "src", Subtask: 99}} {
				if attempt == 1 && at == src {
					continue
				}
				c.TaskState(&api.TaskState{Attempt: attempt, Task: at, State: api.Failed})
				c.TaskState(&api.TaskState{Attempt: attempt, Task: at, State: 99})
				c.Ack(&api.Ack{Attempt: attempt, Task: at, Epoch: 1})
				c.Decline(&api.Decline{Attempt: attempt, Task: at, Epoch: 9})
				c.RequestSplit(&api.RequestSplit{Attempt: attempt, Task: at, Operator: "who"})
				c.FinishedSplit(&api.FinishedSplit{Attempt: attempt, Task: at, Operator: "who", Split: "a"})
				c.FinishedSplit(&api.FinishedSplit{Attempt: attempt, Task: at, Operator: "src", Split: "zz"})
				c.SourceWatermark(&api.SourceWatermark{Attempt: attempt, Task: at, Operator: "src", Group: "g"})
			}
		}
		wantTold(t, c, "")
		c.read(src, "a")
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAlignmentGroups(t *testing.T) {
	bubble(t, "two sources", func(t *testing.T) {
		c := setup{discover: all("x", "y"), parallelism: 1, sources: []flow.OperatorID{"a", "b"},
			source: operator.SourceImpl{AlignGroup: "g", AlignDrift: time.Second}}.make(t)
		c.hold["split"] = true
		done := c.begin(t)
		c.take()
		at := func(src string, t flow.Time) {
			c.SourceWatermark(&api.SourceWatermark{Attempt: 1, Task: api.Task{Chain: src}, Operator: src, Group: "g", Time: int64(t)})
		}
		at("a", 5)
		wantTold(t, c, "")
		at("b", 3)
		wantTold(t, c, "align g 3")
		at("b", 4)
		at("a", 100)
		wantTold(t, c, "align g 4")
		at("b", flow.MaxTime) // it has nothing to read
		wantTold(t, c, "align g 100")
		at("b", 50)
		wantTold(t, c, "align g 50")
		c.state(api.Drained, nil, api.Task{Chain: "b"})
		wantTold(t, c, "align g 100")
		c.Cancel()
		<-done
	})
}
