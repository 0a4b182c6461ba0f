package scheduler

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// scribe is a worker that notes what a source's subtasks are told.
type scribe struct {
	api.Worker
	said []string
}

func (w *scribe) say(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

func (w *scribe) Deploy(*api.Deploy) error { return nil }
func (w *scribe) AddSplits(m *api.AddSplits) {
	ids := ""
	for _, s := range m.Splits {
		ids += s.ID
	}
	w.say("%d gets %s", m.Task.Subtask, ids)
}
func (w *scribe) NoMoreSplits(m *api.NoMoreSplits) { w.say("%d ends", m.Task.Subtask) }
func (w *scribe) NoSplitYet(m *api.NoSplitYet)     { w.say("%d waits", m.Task.Subtask) }

// harbour is a scheduler whose inbox the test works off.
type harbour struct {
	*Scheduler
	*scribe
	src *source
}

func newHarbour(t *testing.T, parallelism int, a operator.Assign) *harbour {
	t.Helper()
	g := &graph.Graph{Operators: []*graph.Operator{
		{ID: "src", Kind: graph.KindSource, Outputs: []graph.Output{{Type: "int"}},
			Impl: &operator.Impl{Source: &operator.SourceImpl{Assign: a}}},
		{ID: "sink", Kind: graph.KindSink, Inputs: []graph.Input{{Type: "int", Edges: []graph.Edge{{From: "src"}}}}, Impl: &operator.Impl{}},
	}}
	plan, err := graph.Build(g, graph.PlanOptions{Parallelism: parallelism})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Plan: plan, Now: func() flow.Time { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	w := &scribe{}
	s.worker = w
	s.cur.ctx = context.Background()
	s.cur.sources["src"].begun = true
	return &harbour{s, w, s.cur.sources["src"]}
}

// live notes that a subtask runs.
func (h *harbour) live(subtask int) { h.src.register(subtask) }

func (h *harbour) request(subtask int) {
	h.RequestSplit(&api.RequestSplit{Attempt: h.cur.id(), Operator: "src", Task: api.Task{Chain: "src", Subtask: subtask}})
	for _, f := range h.take() {
		f()
	}
}

func (h *harbour) found(done bool, ids string) {
	d := operator.Discovery{Done: done}
	for _, id := range ids {
		d.Splits = append(d.Splits, operator.Split{ID: string(id)})
	}
	h.src.discovered(d)
}

func (h *harbour) want(t *testing.T, want string) {
	t.Helper()
	if got := strings.Join(h.said, ", "); got != want {
		t.Fatalf("told: %s\nwant: %s", got, want)
	}
	h.said = nil
}

// The event time of a subtask is that of its slowest split, so it must not read
// one of several before it knows the others.
func TestSplitsComeTogether(t *testing.T) {
	h := newHarbour(t, 2, operator.AssignSpread)
	h.live(0)
	h.live(1)
	h.found(true, "abcde")
	h.want(t, "0 gets ace, 1 gets bd")
}

// A subtask that is told to wait no longer holds back event time. Nobody may be
// told while found splits are not yet dealt: they may be its own, and old.
func TestNobodyWaitsBeforeSplitsAreDealt(t *testing.T) {
	h := newHarbour(t, 3, operator.AssignSpread)
	h.live(0)
	h.request(0)
	h.found(true, "a")
	h.live(1)
	h.request(1)
	h.want(t, "")
	h.live(2)
	h.want(t, "0 gets a, 1 waits")
	h.request(2)
	h.want(t, "2 waits")
}
