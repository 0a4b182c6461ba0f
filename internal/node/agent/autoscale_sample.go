package agent

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/registry"
	"github.com/weirflow/weir/scheduler/rescale"
)

// parallelism is what a job has been given.
func parallelism(j *registry.Job) int { return cmp.Or(j.Scale.Parallelism, j.Spec().Parallelism) }

// sampleOf makes a sample of what a job's executors have told. It is refused unless all subtasks
// are in it: what is not counted would look like a source that has less to read.
func sampleOf(parallelism int, now time.Time, g *api.JobGraph, stats *api.JobStats) (rescale.Sample, error) {
	of := make(map[string]*api.OperatorStats, len(stats.Operators))
	for i := range stats.Operators {
		of[stats.Operators[i].ID] = &stats.Operators[i]
	}
	s := rescale.Sample{At: now.UnixMicro(), Parallelism: parallelism}
	names := labels(g)
	for _, c := range upstreamFirst(g) {
		if len(c.Operators) == 0 {
			return s, fmt.Errorf("chain %s has no operators", c.ID)
		}
		first := of[c.Operators[0].ID]
		if first == nil || first.Parallelism < c.Parallelism {
			n := 0
			if first != nil {
				n = first.Parallelism
			}
			return s, fmt.Errorf("%d of %d subtasks of %s have told what they do", n, c.Parallelism, c.Operators[0].Name)
		}
		l := rescale.Load{ID: names[c.ID], Subtasks: first.Parallelism, In: first.RateIn,
			Busy: first.Busy, Busiest: first.Busiest, Backpressured: first.Backpressured}
		var from []string
		for _, x := range g.Exchanges {
			if in := names[x.FromChain]; x.ToChain == c.ID && !slices.Contains(l.Inputs, in) {
				l.Inputs = append(l.Inputs, in)
			}
			if x.FromChain == c.ID && !slices.Contains(from, x.From) {
				from = append(from, x.From)
				if o := of[x.From]; o != nil {
					l.Out += o.RateOut
				}
			}
		}
		s.Loads = append(s.Loads, l)
	}
	if len(s.Loads) == 0 {
		return s, errors.New("its graph is empty")
	}
	return s, nil
}

// labels are what people know chains by: the name of the first operator, with the id where that
// is another's too.
func labels(g *api.JobGraph) map[string]string {
	count := map[string]int{}
	for _, c := range g.Chains {
		if len(c.Operators) > 0 {
			count[c.Operators[0].Name]++
		}
	}
	all := make(map[string]string, len(g.Chains))
	for _, c := range g.Chains {
		switch {
		case len(c.Operators) == 0 || c.Operators[0].Name == "":
			all[c.ID] = c.ID
		case count[c.Operators[0].Name] > 1:
			all[c.ID] = c.Operators[0].Name + " (" + c.ID + ")"
		default:
			all[c.ID] = c.Operators[0].Name
		}
	}
	return all
}

// upstreamFirst are the chains of a graph, each behind those that feed it. A graph has no
// cycles; if one had, what is in it would come last.
func upstreamFirst(g *api.JobGraph) (all []*api.GraphChain) {
	done := make(map[string]bool, len(g.Chains))
	for len(all) < len(g.Chains) {
		before := len(all)
		for i := range g.Chains {
			c := &g.Chains[i]
			waits := slices.ContainsFunc(g.Exchanges, func(x api.GraphExchange) bool { return x.ToChain == c.ID && !done[x.FromChain] })
			if !done[c.ID] && !waits {
				done[c.ID] = true
				all = append(all, c)
			}
		}
		if len(all) == before {
			for i := range g.Chains {
				if c := &g.Chains[i]; !done[c.ID] {
					all = append(all, c)
				}
			}
			return all
		}
	}
	return all
}

// room is how many slots there are for more subtasks of a job.
func room(v *registry.View, j *registry.Job) (free int) {
	for _, n := range v.Nodes() {
		if zone := j.Spec().Zone; n.Usable() && (zone == "" || zone == n.Info.Zone) {
			free += max(0, n.Info.Slots-v.Used(n.Info.ID))
		}
	}
	return free
}

// bounded takes back of a decision what there are no slots for: a job that waited for them
// would do nothing at all.
func bounded(d *rescale.Decision, s *rescale.Sample, free int) {
	if d.Parallelism <= s.Parallelism+free {
		return
	}
	d.Reason += fmt.Sprintf("; there are slots for %d", s.Parallelism+free)
	d.Parallelism = s.Parallelism + free
	d.Change = free > 0
}
