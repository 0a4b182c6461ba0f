package run

import (
	"encoding/json"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/internal/obs/metrics"
)

// askable is what an executor can be asked of its job. Its methods but report are called by
// the goroutine that hears the agent.
type askable struct {
	job  string
	plan atomic.Pointer[graph.Plan] // by which the job runs now
	// coordinator says that it speaks for the job, and knows report.
	coordinator bool
	report      atomic.Pointer[api.JobReport]
	figures     figures
	metrics     prometheus.Gatherer
}

func newAskable(job string, plan *graph.Plan, r *obs.Registry, coordinator bool) *askable {
	a := &askable{job: job, coordinator: coordinator, figures: figures{registry: r}, metrics: prometheus.Gatherers{}}
	a.plan.Store(plan)
	return a
}

// answer is the answer to a question, as JSON.
func (a *askable) answer(ask string, now time.Time) (string, error) {
	var v any
	switch {
	case ask == api.AskGraph && a.coordinator:
		v = jobGraph(a.job, a.plan.Load())
	case ask == api.AskGraph:
		return "", errNotCoordinator
	case ask == api.AskStats:
		v = a.stats(now)
	case ask == api.AskMetrics:
		return metrics.Pack(a.metrics)
	default:
		return "", fmt.Errorf("this program does not know what %.32q asks for: it is of an older release, or the question is wrong; it knows %s, %s, %s and %q",
			ask, api.AskGraph, api.AskStats, api.AskMetrics, api.AskProfile("KIND", time.Second))
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("the answer to %s: %w", ask, err)
	}
	return string(b), nil
}

// jobGraph is the plan as users are shown it.
func jobGraph(job string, p *graph.Plan) *api.JobGraph {
	g := &api.JobGraph{Job: job, MaxParallelism: p.MaxParallelism, Mode: p.Mode.String(), Tasks: p.Tasks(),
		Chains: []api.GraphChain{}, Exchanges: []api.GraphExchange{}, Regions: [][]string{}}
	for i := range p.Chains {
		c := &p.Chains[i]
		to := api.GraphChain{ID: string(c.ID), Parallelism: c.Parallelism, Region: c.Region}
		for _, o := range c.Operators {
			to.Operators = append(to.Operators, api.GraphOperator{ID: string(o.ID), Name: o.Name, Kind: o.Kind})
		}
		g.Chains = append(g.Chains, to)
		for _, x := range c.Outputs {
			g.Exchanges = append(g.Exchanges, api.GraphExchange{Edge: x.Edge.String(), Kind: x.Exchange.Kind.String(), Key: x.Exchange.Key,
				FromChain: string(c.ID), From: string(x.From), ToChain: string(x.ToChain), To: string(x.To), Blocking: x.Blocking})
		}
	}
	for _, r := range p.Regions {
		var ids []string
		for _, id := range r {
			ids = append(ids, string(id))
		}
		g.Regions = append(g.Regions, ids)
	}
	return g
}

// stats are the figures of the tasks that run here, of the newest attempt. A coordinator
// names all operators, those without a task here with a parallelism of 0.
func (a *askable) stats(now time.Time) *api.JobStats {
	s := &api.JobStats{Job: a.job, Time: now.UnixMicro(), Operators: []api.OperatorStats{}}
	if r := a.report.Load(); r != nil {
		s.Attempt, s.Epoch = r.Attempt, r.Epoch
	}
	var of map[string]*api.OperatorStats
	of, s.Attempt = a.figures.take(now, s.Attempt)
	plan := a.plan.Load()
	for i := range plan.Chains {
		for _, o := range plan.Chains[i].Operators {
			switch f := of[string(o.ID)]; {
			case f != nil:
				s.Operators = append(s.Operators, *f)
			case a.coordinator:
				s.Operators = append(s.Operators, api.OperatorStats{ID: string(o.ID), Name: o.Name})
			}
		}
	}
	return s
}

// figures makes rates and shares of counters. Users look from several places: what is asked
// again soon is of the same time as before, with what has been added.
type figures struct {
	registry *obs.Registry
	at       time.Time // of was
	was      map[*obs.Operator]figure
}

// figure is what an operator's subtask has counted by some time.
type figure struct {
	in, out int64
	times   obs.Times
}

// shortest is the time over which rates are taken at least, if the attempt is as old.
const shortest = time.Second / 2

// take reads all counters of the newest attempt, which is least or a later one, by operator.
func (f *figures) take(now time.Time, least uint64) (map[string]*api.OperatorStats, uint64) {
	all, least := f.registry.Newest(least) // others' subtasks run elsewhere, or nowhere, now
	of, is := map[string]*api.OperatorStats{}, map[*obs.Operator]figure{}
	for _, o := range all {
		n := figure{in: o.RecordsIn.Load(), out: o.RecordsOut.Load(), times: o.Task.Times(now)}
		is[o] = n
		s := of[o.ID]
		if s == nil {
			s = &api.OperatorStats{ID: o.ID, Name: o.Name}
			of[o.ID] = s
		}
		s.Parallelism++
		s.RecordsIn += n.in
		s.RecordsOut += n.out
		s.StateBytes += o.StateMemory.Load() + o.StateDisk.Load()
		was := f.was[o]
		if spent := n.times.Sub(was.times); spent.All() > 0 {
			t := spent.All().Seconds()
			s.RateIn += float64(n.in-was.in) / t
			s.RateOut += float64(n.out-was.out) / t
			s.Busy += spent.Busy.Seconds() / t
			s.Idle += spent.Idle.Seconds() / t
			s.Backpressured += spent.Backpressured.Seconds() / t
			s.Busiest = max(s.Busiest, spent.Busy.Seconds()/t)
		}
		switch w := o.Watermark.Load(); {
		case s.Parallelism == 1:
			s.Watermark = &w
		case w < *s.Watermark:
			*s.Watermark = w
		}
	}
	for _, s := range of {
		n := float64(s.Parallelism)
		s.Busy, s.Idle, s.Backpressured = s.Busy/n, s.Idle/n, s.Backpressured/n
		if *s.Watermark == math.MinInt64 {
			s.Watermark = nil
		}
	}
	if now.Sub(f.at) >= shortest {
		f.at, f.was = now, is
	}
	return of, least
}
