package webtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/web"
)

// Submit has the job run on the agent n2, with a graph of two chains. One with the argument
// --finish has finished at once, one with --fail has failed.
func (c *Cluster) Submit(ctx context.Context, spec *api.JobSpec, dry bool) (r api.Submitted, err error) {
	c.Update(func(s *State, index uint64) {
		if _, ok := s.Artifacts[spec.Artifact]; !ok && spec.Artifact != "" && !dry {
			err = api.Errorf(api.CodeConflict, "the program %s is not here", spec.Artifact).WithHint("upload it first")
			return
		}
		r = api.Submitted{Job: spec.Name, Version: 1, DryRun: dry, Index: index}
		if old := s.Jobs[spec.Name]; old != nil {
			r.Version = old.Info.Spec.Version + 1
			r.Notes = append(r.Notes, fmt.Sprintf("replaces version %d", old.Info.Spec.Version))
		}
		r.Notes = append(r.Notes, fmt.Sprintf("1 executor with %d slots on n2", spec.Parallelism))
		if dry {
			return
		}
		set := *spec
		set.Version = r.Version
		alloc := api.Alloc{ID: api.AllocID(spec.Name + "-" + strconv.FormatUint(index, 10)), Job: spec.Name, Node: "n2", Version: r.Version,
			Coordinator: true, Slots: spec.Parallelism, Term: 1}
		j := &Job{Info: api.JobInfo{Spec: set, Status: api.JobRunning, Wish: api.WishRun, Attempt: 1, Epoch: 3, Slots: spec.Parallelism,
			Changed: s.Time, Index: index,
			Allocs: []api.AllocInfo{{Alloc: alloc, NodeName: "host2", Created: s.Time,
				Status: api.AllocStatus{Alloc: alloc.ID, State: api.AllocRunning, PID: 4711, Data: "10.0.0.2:31000"}}}}}
		j.Graph = api.JobGraph{Job: spec.Name, MaxParallelism: 128, Tasks: 2 * spec.Parallelism, Regions: [][]string{{"source", "count"}},
			Chains: []api.GraphChain{
				{ID: "source", Parallelism: spec.Parallelism, Operators: []api.GraphOperator{{ID: "source", Name: "clicks", Kind: "source"}}},
				{ID: "count", Parallelism: spec.Parallelism, Operators: []api.GraphOperator{{ID: "count", Name: "count", Kind: "aggregate"}, {ID: "sink", Name: "print", Kind: "sink"}}}},
			Exchanges: []api.GraphExchange{{Edge: "count:0.0", Kind: "hash", Key: "string", FromChain: "source", From: "source", ToChain: "count", To: "count"}}}
		mark := s.Time - 1_500_000
		j.Stats = api.JobStats{Job: spec.Name, Time: s.Time, Attempt: 1, Epoch: 3, Operators: []api.OperatorStats{
			{ID: "source", Name: "clicks", Parallelism: spec.Parallelism, RecordsOut: 123_456, RateOut: 41_152, Busy: 0.25, Idle: 0.75, Watermark: &mark},
			{ID: "count", Name: "count", Parallelism: spec.Parallelism, RecordsIn: 123_456, RecordsOut: 99, RateIn: 41_152, RateOut: 33, Busy: 0.5, Idle: 0.5, Watermark: &mark, StateBytes: 4 << 20}}}
		j.Logs = []api.LogLine{{Alloc: alloc.ID, Stream: "stderr", Time: s.Time, Text: "job \"" + spec.Name + "\" running"},
			{Alloc: alloc.ID, Stream: "stdout", Time: s.Time, Text: "hello"}}
		j.Checkpoints = []api.CheckpointInfo{{Job: spec.Name, Epoch: 2, Kind: "checkpoint", Attempt: 1, Created: s.Time, Tasks: 2, Files: 4, Bytes: 4096, AddedBytes: 1024},
			{Job: spec.Name, Epoch: 3, Kind: "checkpoint", Attempt: 1, Created: s.Time, Tasks: 2, Files: 4, Bytes: 4096, AddedBytes: 512}}
		s.Jobs[spec.Name] = j
		by := web.Caller(ctx)
		j.event(s, api.JobEvent{Kind: "submitted", Message: fmt.Sprintf("version %d", r.Version), By: by})
		j.event(s, api.JobEvent{Kind: "placed", Message: fmt.Sprintf("%d slots on n2", spec.Parallelism), Alloc: alloc.ID, Node: "n2"})
		j.event(s, api.JobEvent{Kind: "started", Message: "all tasks run", Attempt: 1})
		if slices.Contains(spec.Args, "--finish") {
			j.end(s, api.WishRun, api.JobFinished, "")
		}
		if slices.Contains(spec.Args, "--fail") {
			j.Info.Reason = "it was told to"
			j.end(s, api.WishRun, api.JobFailed, "")
		}
	})
	return r, err
}

func (j *Job) event(s *State, e api.JobEvent) {
	e.Seq, e.Time = uint64(len(j.Events)+1), s.Time
	j.Events = append(j.Events, e)
}

// act changes a job that has not ended.
func (c *Cluster) act(ctx context.Context, name string, do func(s *State, j *Job, d *api.Done)) (d api.Done, err error) {
	c.Update(func(s *State, index uint64) {
		j := s.Jobs[name]
		switch {
		case j == nil:
			err = noJob(name)
			return
		case j.Info.Status.Ended():
			err = api.Errorf(api.CodeConflict, "job %q has ended: it is %s", name, j.Info.Status).WithHint("submit it again")
			return
		}
		j.Info.Index, j.Info.Changed, d.Index = index, s.Time, index
		do(s, j, &d)
	})
	return d, err
}

// end gives a job its last status.
func (j *Job) end(s *State, wish api.Wish, status api.JobStatus, by string) {
	j.Info.Wish, j.Info.Status = wish, status
	for i := range j.Info.Allocs {
		j.Info.Allocs[i].Status.State = api.AllocEnded
	}
	j.event(s, api.JobEvent{Kind: "ended", Message: string(status), By: by})
}

// Stop ends a job in order.
func (c *Cluster) Stop(ctx context.Context, name string) (api.Done, error) {
	return c.act(ctx, name, func(s *State, j *Job, d *api.Done) {
		d.Message = "its sources end"
		j.end(s, api.WishStop, api.JobStopped, web.Caller(ctx))
	})
}

// Cancel ends a job.
func (c *Cluster) Cancel(ctx context.Context, name string) (api.Done, error) {
	return c.act(ctx, name, func(s *State, j *Job, d *api.Done) {
		d.Message = "it ends as it is"
		j.end(s, api.WishCancel, api.JobCancelled, web.Caller(ctx))
	})
}

// Save takes a savepoint.
func (c *Cluster) Save(ctx context.Context, name string, r api.SaveRequest) (api.Done, error) {
	return c.act(ctx, name, func(s *State, j *Job, d *api.Done) {
		j.Info.Epoch++
		d.Message, d.Location = "saved", r.Location
		if r.Location == "" {
			d.Location = fmt.Sprintf("/state/%s/savepoints/%d", name, j.Info.Epoch)
		}
		j.Savepoints = append(j.Savepoints, api.CheckpointInfo{Job: name, Epoch: j.Info.Epoch, Kind: "savepoint", Attempt: j.Info.Attempt,
			Created: s.Time, Location: d.Location, Tasks: 2, Files: 5, Bytes: 5000})
		if r.Stop {
			j.end(s, api.WishSave, api.JobStopped, web.Caller(ctx))
		}
	})
}

// Restart counts up the attempt.
func (c *Cluster) Restart(ctx context.Context, name string) (api.Done, error) {
	return c.act(ctx, name, func(s *State, j *Job, d *api.Done) {
		j.Info.Attempt++
		d.Message = fmt.Sprintf("attempt %d begins with epoch %d", j.Info.Attempt, j.Info.Epoch)
		j.event(s, api.JobEvent{Kind: "restarted", Message: d.Message, Attempt: j.Info.Attempt, By: web.Caller(ctx)})
	})
}

// Rescale sets the parallelism.
func (c *Cluster) Rescale(ctx context.Context, name string, r api.RescaleRequest) (api.Done, error) {
	return c.act(ctx, name, func(s *State, j *Job, d *api.Done) {
		d.Message = fmt.Sprintf("from parallelism %d to %d", j.Info.Spec.Parallelism, r.Parallelism)
		if r.DryRun {
			return
		}
		j.Info.Spec.Parallelism, j.Info.Slots = r.Parallelism, r.Parallelism
		j.event(s, api.JobEvent{Kind: "rescaled", Message: d.Message, By: web.Caller(ctx)})
	})
}

// Nodes are by id.
func (c *Cluster) Nodes(_ context.Context, p web.Page) (l api.NodeList, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []api.NodeInfo
	for _, id := range slices.Sorted(maps.Keys(c.mu.State.Nodes)) {
		all = append(all, *c.mu.State.Nodes[id])
		l.Index = max(l.Index, c.mu.State.Nodes[id].Index)
	}
	l.Items, l.Next = web.PageOf(all, func(n *api.NodeInfo) string { return string(n.Node.ID) }, p)
	return l, nil
}

func noNode(id api.NodeID) *api.Error {
	return api.Errorf(api.CodeNotFound, "there is no node %q", id).WithHint("weir node list shows them")
}

// Node is one of them.
func (c *Cluster) Node(_ context.Context, id api.NodeID) (api.NodeInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.mu.State.Nodes[id]
	if n == nil {
		return api.NodeInfo{}, noNode(id)
	}
	return *n, nil
}

// Drain empties an agent at once.
func (c *Cluster) Drain(_ context.Context, id api.NodeID) (api.Done, error) {
	return c.mark(id, api.NodeDrained, "it takes nothing new")
}

// Undrain takes that back.
func (c *Cluster) Undrain(_ context.Context, id api.NodeID) (api.Done, error) {
	return c.mark(id, api.NodeReady, "it takes work again")
}

func (c *Cluster) mark(id api.NodeID, status api.NodeStatus, message string) (d api.Done, err error) {
	c.Update(func(s *State, index uint64) {
		n := s.Nodes[id]
		if n == nil {
			err = noNode(id)
			return
		}
		n.Status, n.Index = status, index
		d = api.Done{Message: message, Index: index}
	})
	return d, err
}
