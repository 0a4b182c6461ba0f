package run

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/sdk"
)

func askedPlan(t *testing.T) *graph.Plan {
	t.Helper()
	p := sdk.New("p")
	few := sdk.Read(p, slice.Of(1, 2, 3), sdk.ID("few"), sdk.Name("a few"))
	odd := sdk.Filter(few, func(i int) bool { return i%2 == 1 }, sdk.ID("odd"))
	counts := sdk.Aggregate(sdk.KeyBy(odd, func(i int) int { return i }), sdk.Count[int](), sdk.ID("count"))
	sdk.Write(counts, collect.New[sdk.KeyValue[int, int64]](), sdk.ID("out"))
	other := sdk.Read(p, slice.Of(1), sdk.ID("other"))
	sdk.Write(other, collect.New[int](), sdk.ID("away"))
	plan, err := Plan(p, Options{Parallelism: 2})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestAskGraph(t *testing.T) {
	plan := askedPlan(t)
	a := newAskable("j", plan, &obs.Registry{}, true)
	got, err := a.answer(api.AskGraph, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"job":"j","max_parallelism":128,"mode":"streaming","tasks":6,"chains":[` +
		`{"id":"few","parallelism":2,"region":0,"operators":[{"id":"few","name":"a few","kind":"source"},{"id":"odd","name":"filter","kind":"filter"}]},` +
		`{"id":"count","parallelism":2,"region":0,"operators":[{"id":"count","name":"aggregate","kind":"aggregate"},{"id":"out","name":"collect","kind":"sink"}]},` +
		`{"id":"other","parallelism":2,"region":1,"operators":[{"id":"other","name":"slice","kind":"source"},{"id":"away","name":"collect","kind":"sink"}]}],` +
		`"exchanges":[{"edge":"count:0.0","kind":"hash","key":"int","from_chain":"few","from":"odd","to_chain":"count","to":"count"}],` +
		`"regions":[["few","count"],["other"]]}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff, got)
	}
	if _, err := newAskable("j", plan, &obs.Registry{}, false).answer(api.AskGraph, time.Now()); err == nil || !strings.Contains(err.Error(), "not the job's coordinator") {
		t.Error(err)
	}
	if _, err := a.answer("weather", time.Now()); err == nil || !strings.Contains(err.Error(), `"weather"`) {
		t.Error(err)
	}
}

func TestAskStats(t *testing.T) {
	plan := askedPlan(t)
	start := time.Unix(1000, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	r := &obs.Registry{}
	a, worker := newAskable("j", plan, r, true), newAskable("j", plan, r, false)
	at70 := int64(70)
	want := func(a *askable, now float64, attempt, epoch uint64, ops ...api.OperatorStats) {
		t.Helper()
		want := &api.JobStats{Job: "j", Time: at(now).UnixMicro(), Attempt: attempt, Epoch: epoch, Operators: append([]api.OperatorStats{}, ops...)}
		if diff := cmp.Diff(want, a.stats(at(now)), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
			t.Errorf("at %v: %s", now, diff)
		}
	}
	none := func(id, name string) api.OperatorStats { return api.OperatorStats{ID: id, Name: name} }
	rest := []api.OperatorStats{none("out", "collect"), none("other", "slice"), none("away", "collect")}
	want(worker, 0, 0, 0)
	want(a, 0, 0, 0, append([]api.OperatorStats{none("few", "a few"), none("odd", "filter"), none("count", "aggregate")}, rest...)...)

	// Two subtasks of a chain, and one of another that has not begun.
	tasks := []*obs.Task{{Attempt: 1}, {Attempt: 1}, {Attempt: 1}}
	few := []*obs.Operator{r.Operator(tasks[0], "few", "a few", "source", 0), r.Operator(tasks[1], "few", "a few", "source", 1)}
	r.Operator(tasks[2], "count", "aggregate", "aggregate", 1)
	tasks[0].Begin(at(10))
	tasks[1].Begin(at(12))
	tasks[1].Wait(at(13), true)
	few[0].RecordsIn.Store(100)
	few[0].RecordsOut.Store(50)
	few[1].RecordsIn.Store(8)
	few[0].Watermark.Store(80)
	a.report.Store(&api.JobReport{Attempt: 1, Epoch: 6})
	// Since the attempt began, 4 s and 2 s ago.
	want(worker, 14, 1, 0,
		api.OperatorStats{ID: "few", Name: "a few", Parallelism: 2, RecordsIn: 108, RecordsOut: 50, RateIn: 100.0/4 + 8.0/2, RateOut: 50.0 / 4, Busy: 0.75, Busiest: 1, Backpressured: 0.25},
		api.OperatorStats{ID: "count", Name: "aggregate", Parallelism: 1})
	few[0].RecordsIn.Store(110)
	few[1].Watermark.Store(70)
	tasks[0].Wait(at(14), false)
	for _, now := range []float64{14.25, 14.4} { // asked soon again: of both times
		want(worker, now, 1, 0,
			api.OperatorStats{ID: "few", Name: "a few", Parallelism: 2, RecordsIn: 118, RecordsOut: 50, RateIn: 10 / (now - 14), Idle: 0.5, Backpressured: 0.5, Watermark: &at70},
			api.OperatorStats{ID: "count", Name: "aggregate", Parallelism: 1})
	}
	few[0].RecordsIn.Store(120)
	want(worker, 15, 1, 0,
		api.OperatorStats{ID: "few", Name: "a few", Parallelism: 2, RecordsIn: 128, RecordsOut: 50, RateIn: 20, Idle: 0.5, Backpressured: 0.5, Watermark: &at70},
		api.OperatorStats{ID: "count", Name: "aggregate", Parallelism: 1})
	want(worker, 17, 1, 0,
		api.OperatorStats{ID: "few", Name: "a few", Parallelism: 2, RecordsIn: 128, RecordsOut: 50, Idle: 0.5, Backpressured: 0.5, Watermark: &at70},
		api.OperatorStats{ID: "count", Name: "aggregate", Parallelism: 1})

	// Another attempt has subtask 0 elsewhere, and has come to the end of input.
	next := &obs.Task{Attempt: 2}
	moved := r.Operator(next, "few", "a few", "source", 1)
	next.Begin(at(20))
	moved.RecordsIn.Store(30)
	moved.Watermark.Store(math.MaxInt64)
	end := int64(math.MaxInt64)
	want(worker, 21, 2, 0, api.OperatorStats{ID: "few", Name: "a few", Parallelism: 1, RecordsIn: 30, RateIn: 30, Busy: 1, Busiest: 1, Watermark: &end})
	want(a, 21, 2, 6, append([]api.OperatorStats{
		{ID: "few", Name: "a few", Parallelism: 1, RecordsIn: 30, RateIn: 30, Busy: 1, Busiest: 1, Watermark: &end},
		none("odd", "filter"), none("count", "aggregate")}, rest...)...)
	// The third is decided, and nothing of it is here yet.
	a.report.Store(&api.JobReport{Attempt: 3, Epoch: 7})
	want(a, 22, 3, 7, append([]api.OperatorStats{none("few", "a few"), none("odd", "filter"), none("count", "aggregate")}, rest...)...)
}

// TestAskTooMuch asks for what no event can hold.
func TestAskTooMuch(t *testing.T) {
	out := &lines{done: make(chan struct{})}
	plan := &graph.Plan{Graph: &graph.Graph{}}
	for range 1000 {
		plan.Chains = append(plan.Chains, graph.Chain{Operators: []*graph.Operator{{ID: "o", Name: strings.Repeat("n", 300)}}})
	}
	x := &execution{events: newAgentEvents(out), asked: newAskable("j", plan, &obs.Registry{}, true)}
	x.ask(t.Context(), api.ExecutorCommand{Request: 7, Ask: api.AskGraph})
	x.events.close()
	if got := out.String(); !strings.HasPrefix(got, `{"request":7,"error":"the answer to graph is too long: `) || len(got) > 200 {
		t.Errorf("%.300s", got)
	}
	if len(out.String()) >= api.MaxExecutorEvent {
		t.Error("it is too long for an agent")
	}
}

// lines is where an agent would read.
type lines struct {
	strings.Builder
	done chan struct{}
}

func (l *lines) Close() error { close(l.done); return nil }
