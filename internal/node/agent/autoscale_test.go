package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/registry"
	"github.com/weirflow/weir/internal/node/config"
	"github.com/weirflow/weir/scheduler/rescale"
)

// counted is a graph of a source and a sum by key.
func counted(parallelism int) api.JobGraph {
	return api.JobGraph{
		Chains: []api.GraphChain{ // not in their order
			{ID: "c2", Parallelism: parallelism, Operators: []api.GraphOperator{{ID: "sum", Name: "sum"}, {ID: "sink", Name: "sink"}}},
			{ID: "c1", Parallelism: parallelism, Operators: []api.GraphOperator{{ID: "src", Name: "events"}, {ID: "map", Name: "map"}}},
		},
		Exchanges: []api.GraphExchange{{FromChain: "c1", From: "map", ToChain: "c2", To: "sum"}},
	}
}

// model is what subtasks of such a job would tell, of which n of p run here, if so many records a
// second come in all. A subtask of the sum does 1000 a second, one of the source 10,000.
func model(offered float64, n, p int) api.JobStats {
	done := min(offered, 1000*float64(p))
	share := done / float64(p) // of one subtask
	source := api.OperatorStats{Parallelism: n, RateIn: share * float64(n), RateOut: share * float64(n), Busy: share / 10_000, Busiest: share / 10_000}
	if offered > done {
		source.Backpressured = 1 - done/offered
	}
	sum := api.OperatorStats{Parallelism: n, RateIn: source.RateIn, RateOut: source.RateIn, Busy: share / 1000, Busiest: share / 1000}
	s := api.JobStats{}
	for id, o := range map[string]api.OperatorStats{"src": source, "map": source, "sum": sum, "sink": sum} {
		o.ID = id
		s.Operators = append(s.Operators, o)
	}
	return s
}

func TestSampleOf(t *testing.T) {
	g, now := counted(2), time.UnixMicro(7)
	stats := model(3000, 2, 2)
	got, err := sampleOf(2, now, &g, &stats)
	if err != nil {
		t.Fatal(err)
	}
	src, sum := got.Loads[0], got.Loads[1]
	if got.At != 7 || got.Parallelism != 2 || src.ID != "events" || sum.ID != "sum" || !slices.Equal(sum.Inputs, []string{"events"}) {
		t.Fatalf("%+v", got)
	}
	if src.Out != 2000 || src.Backpressured < 0.33 || sum.In != 2000 || sum.Busy != 1 || sum.Busiest != 1 || sum.Subtasks != 2 {
		t.Errorf("%+v", got)
	}
	short := model(3000, 1, 2)
	if _, err := sampleOf(2, now, &g, &short); err == nil || !strings.Contains(err.Error(), "1 of 2 subtasks of events") {
		t.Errorf("one of two subtasks is missing: %v", err)
	}
	if _, err := sampleOf(2, now, &api.JobGraph{}, &stats); err == nil {
		t.Error("an empty graph is no sample")
	}
	g.Chains[0].Operators[0].Name = "events"
	if got, err := sampleOf(2, now, &g, &stats); err != nil || got.Loads[1].ID != "events (c2)" || got.Loads[1].Inputs[0] != "events (c1)" {
		t.Errorf("two chains of one name: %+v %v", got, err)
	}
}

func TestBounded(t *testing.T) {
	for _, c := range []struct {
		want, free, to int
		change         bool
	}{{8, 6, 8, true}, {8, 3, 5, true}, {8, 0, 2, false}, {1, 0, 1, true}} {
		d := rescale.Decision{Parallelism: c.want, Change: true, Reason: "why"}
		bounded(&d, &rescale.Sample{Parallelism: 2}, c.free)
		if d.Parallelism != c.to || d.Change != c.change || strings.Contains(d.Reason, "slots") != (c.to != c.want) {
			t.Errorf("from 2 to %d with %d free slots: %+v", c.want, c.free, d)
		}
	}
}

// world is a server as an autoscaler sees it, whose jobs are models.
type world struct {
	t *testing.T
	r *registry.Registry

	mu      sync.Mutex
	index   uint64
	offered float64
	broken  error // of measuring
	steps   []int
}

// offer has the job's source get so many records a second.
func (w *world) offer(rate float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offered = rate
}

func (w *world) apply(c registry.Command) {
	w.t.Helper()
	data, err := registry.Encode(c, time.Now().UnixMicro(), byAutoscaler)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index++
	if r := w.r.Apply(w.index, data); r.Err() != nil {
		w.t.Fatal(r.Err())
	}
}

func (w *world) job() *registry.Job { return w.r.View().Job("clicks") }

// submit has a job run.
func (w *world) submit(s api.JobSpec) {
	w.t.Helper()
	w.apply(&registry.SubmitJob{Spec: s})
	w.apply(&registry.PutAllocs{Job: s.Name, At: w.r.Index(), Status: api.JobRunning})
}

func (w *world) Stats(context.Context, string) (api.JobStats, error) {
	p := w.job().Spec().Parallelism
	w.mu.Lock()
	defer w.mu.Unlock()
	return model(w.offered, p, p), w.broken
}

func (w *world) Graph(context.Context, string) (api.JobGraph, error) {
	return counted(w.job().Spec().Parallelism), nil
}

func (w *world) Rescale(_ context.Context, _ string, r api.RescaleRequest) (api.Done, error) {
	s := *w.job().Spec()
	s.Parallelism = r.Parallelism
	w.mu.Lock()
	w.steps = append(w.steps, r.Parallelism)
	w.mu.Unlock()
	w.submit(s)
	return api.Done{}, nil
}

func (w *world) note(_ context.Context, job, text string) error {
	w.apply(&registry.AddEvent{Job: job, Kind: registry.EventScale, Text: text})
	return nil
}

func (w *world) notes() (all []string) {
	for _, e := range w.job().Events {
		if e.Kind == registry.EventScale {
			all = append(all, e.Text)
		}
	}
	return all
}

// inWorld runs a test beside an autoscaler, in fake time, with a node of six slots.
func inWorld(t *testing.T, a api.Autoscale, f func(w *world, s *autoscaler)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, r: registry.New(), offered: 500}
		w.apply(&registry.RegisterNode{Node: api.Node{ID: "n", Name: "n", Slots: 6, RPC: "127.0.0.1:1", Version: "1"}})
		w.submit(api.JobSpec{Name: "clicks", Parallelism: a.Min, Autoscale: &a})
		s := newAutoscaler(w.r, w, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { defer close(over); s.run(ctx) }()
		f(w, s)
		cancel()
		<-over
	})
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAutoscaleFollowsTheLoad(t *testing.T) {
	inWorld(t, api.Autoscale{Min: 1, Max: 8}, func(w *world, s *autoscaler) {
		pass(2 * time.Minute)
		if i := s.told(w.job()); i == nil || i.Decision != "stay at 1: it is what is needed" || len(i.Figures) != 2 {
			t.Errorf("told %+v", i)
		}
		w.offer(2500)
		pass(4 * time.Minute)
		if len(w.steps) == 0 || w.steps[len(w.steps)-1] != 4 || len(w.steps) > 2 {
			t.Errorf("with 2500/s it went %v, and 4 subtasks do that at 70 %%", w.steps)
		}
		if n := w.notes(); len(n) != len(w.steps) || !strings.Contains(n[0], "rescales from 1 to ") || !strings.Contains(n[0], "sum: 1000/s in, busy 100%") {
			t.Errorf("events: %q", n)
		}
		// No more than there are slots for.
		w.offer(20_000)
		pass(5 * time.Minute)
		if got := w.job().Spec().Parallelism; got != 8 {
			t.Errorf("with 20,000/s it has %d", got)
		}
		w.mu.Lock()
		w.offered, w.steps = 500, nil
		w.mu.Unlock()
		pass(20 * time.Minute)
		if !slices.Equal(w.steps, []int{1}) {
			t.Errorf("with 500/s again it went %v", w.steps)
		}
		before := len(w.steps)
		w.mu.Lock()
		w.offered, w.broken = 9000, errors.New("nobody answers")
		w.mu.Unlock()
		pass(5 * time.Minute)
		if i := s.told(w.job()); len(w.steps) != before || i == nil || !strings.Contains(i.Decision, "cannot be measured: nobody answers") {
			t.Errorf("told %+v, steps %v", i, w.steps)
		}
	})
}

func TestAutoscaleDryRun(t *testing.T) {
	inWorld(t, api.Autoscale{Min: 1, Max: 8, UpAfter: 2_000_000, Settle: 1_000_000, DryRun: true}, func(w *world, s *autoscaler) {
		w.offer(2500)
		pass(time.Minute)
		if n := w.notes(); len(w.steps) != 0 || len(n) != 1 || !strings.HasPrefix(n[0], "would rescale from 1 to 4: sum has wanted") {
			t.Errorf("went %v, events %q", w.steps, n)
		}
		if i := s.told(w.job()); i == nil || !strings.HasPrefix(i.Decision, "would go to 4") {
			t.Errorf("told %+v", i)
		}
		pass(15 * time.Minute)
		if n := w.notes(); len(n) != 2 {
			t.Errorf("it is said each ten minutes: %q", n)
		}
		// Somebody submits it without.
		w.submit(api.JobSpec{Name: "clicks", Parallelism: 1})
		pass(time.Minute)
		if i := s.told(w.job()); i != nil {
			t.Errorf("told %+v", i)
		}
	})
}

func TestAutoscaleWaitsForSlots(t *testing.T) {
	inWorld(t, api.Autoscale{Min: 1, Max: 8}, func(w *world, s *autoscaler) {
		place := api.Alloc{ID: "other-1", Job: "other", Node: "n", Version: 1, Slots: 6, Coordinator: true, Term: 1}
		w.apply(&registry.SubmitJob{Spec: api.JobSpec{Name: "other", Parallelism: 6}})
		w.apply(&registry.PutAllocs{Job: "other", At: w.r.Index(), Place: []api.Alloc{place}})
		w.offer(2500)
		pass(3 * time.Minute)
		if i := s.told(w.job()); len(w.steps) != 0 || i == nil || !strings.Contains(i.Decision, "there are slots for 1") {
			t.Errorf("went %v, told %+v", w.steps, i)
		}
		// Another server knows what the newest event says.
		w.apply(&registry.AddEvent{Job: "clicks", Kind: registry.EventScale, Text: "rescales"})
		if i := newAutoscaler(w.r, w, s.log).told(w.job()); i == nil || i.Decision != "rescales" {
			t.Errorf("another server tells %+v", i)
		}
	})
}

// answerOf is what the test's program answers as a part of a job of the model, at a rate that is
// in the file of its first argument.
func answerOf(c *api.ExecutorConfig, ask string) api.ExecutorEvent {
	var v any = counted(c.Job.Parallelism)
	if ask == api.AskStats {
		text, err := os.ReadFile(c.Job.Args[0])
		if err != nil {
			return api.ExecutorEvent{Error: err.Error()}
		}
		offered, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		if err != nil {
			return api.ExecutorEvent{Error: err.Error()}
		}
		v = model(offered, c.Alloc.Slots, c.Job.Parallelism)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return api.ExecutorEvent{Error: err.Error()}
	}
	return api.ExecutorEvent{Answer: string(b)}
}

// TestAutoscale has an agent change a job whose load changes, up and down.
func TestAutoscale(t *testing.T) {
	rate := filepath.Join(t.TempDir(), "rate")
	offer := func(r int) {
		if err := os.WriteFile(rate+".new", []byte(strconv.Itoa(r)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(rate+".new", rate); err != nil {
			t.Fatal(err)
		}
	}
	offer(500)
	a, stop := startAgent(t, "alone", func(c *config.Config) { c.Server.Enabled, c.Server.BootstrapExpect, c.Slots = true, 1, 6 })
	decide(t, &registry.SubmitJob{Spec: api.JobSpec{Name: "clicks", Parallelism: 1, Args: []string{rate}, Submitted: time.Now().UnixMicro(),
		Autoscale: &api.Autoscale{Min: 1, Max: 4, UpAfter: 600_000, DownAfter: 1_200_000, Settle: 1}}, Request: "1"}, a)
	await(t, a, "the job runs", func(v *registry.View) bool { return running(v, "clicks") })
	at := func(p int) func(v *registry.View) bool {
		return func(v *registry.View) bool {
			j := v.Job("clicks")
			return parallelism(j) == p && running(v, "clicks") && slices.ContainsFunc(j.Events, func(e registry.Event) bool {
				return e.Kind == registry.EventScale && e.By == byAutoscaler && strings.Contains(e.Text, fmt.Sprintf(" to %d: ", p))
			})
		}
	}
	offer(2400)
	await(t, a, "it has four subtasks", at(4))
	offer(500)
	await(t, a, "it has one subtask again", at(1))
	i, err := (&backend{a}).Job(t.Context(), "clicks")
	if err != nil || i.Autoscale == nil || i.Autoscale.Decision == "" {
		t.Errorf("the job's status: %+v %v", i.Autoscale, err)
	}
	stop()
}
