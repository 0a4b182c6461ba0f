package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
	"github.com/weirflow/weir/cluster/registry"
	"github.com/weirflow/weir/scheduler/control"
	"github.com/weirflow/weir/web/token"
)

var scale = Case{
	Name: "scale",
	What: "1,000 simulated agents and 10,000 tasks: decisions in this process, then their reports to a real leader over loopback",
	run:  runScale,
}

// Scale is what the scale case measured. An event of the result is a report of an agent.
type Scale struct {
	Agents int `json:"agents"`
	Jobs   int `json:"jobs"`
	Tasks  int `json:"tasks"`
	// One decision of the leader, without raft: all jobs are new; nothing is to be done; ten agents
	// are lost at once and what they ran is placed anew.
	DecideNewMS  float64 `json:"decide_new_ms"`
	DecideIdleMS float64 `json:"decide_idle_ms"`
	DecideLostMS float64 `json:"decide_lost_ms"`
	// What is put into raft's log for an agent that comes, and in the life of a task up to where it
	// runs.
	LogBytesPerAgent float64 `json:"log_bytes_per_agent"`
	LogBytesPerTask  float64 `json:"log_bytes_per_task"`
	LogEntries       int     `json:"log_entries"`
	// The rest is of a real leader with raft on disk. Agents send reports over gRPC, on a
	// connection each.
	JoinS  float64 `json:"join_s"`  // until all agents were known
	StartS float64 `json:"start_s"` // from the first submission until the leader knew that all tasks run
	// While nothing happens: reports a second, the share of one CPU that the leader takes, and how
	// long an agent waits for an answer beyond what it lets the leader wait.
	HeartbeatsPerS float64 `json:"heartbeats_per_s"`
	LeaderCPU      float64 `json:"leader_cpu"`
	LeaderRSSMB    float64 `json:"leader_rss_mb"`
	LateP99MS      float64 `json:"late_p99_ms"`
}

// crowdJobs is in how many jobs the tasks are.
const crowdJobs = 100

func runScale(ctx context.Context, o Options) (r Result, err error) {
	s := &Scale{Agents: o.Agents, Jobs: crowdJobs, Tasks: o.Tasks}
	if s.Agents == 0 {
		s.Agents = 1000
	}
	if s.Tasks == 0 {
		s.Tasks = 10 * s.Agents
	}
	s.Jobs = min(s.Jobs, s.Tasks)
	s.Tasks -= s.Tasks % s.Jobs
	settle := o.Settle
	if settle == 0 {
		settle = 10 * time.Second
	}
	if err := s.decisions(); err != nil {
		return r, err
	}
	err = onCluster(ctx, rigged{weir: o.weir}, func(ctx context.Context, c *cluster) error {
		start := time.Now()
		r, err = s.reports(ctx, c, settle)
		r.WallS = time.Since(start).Seconds()
		return err
	})
	r.Scale = s
	return r, err
}

func (s *Scale) node(i int) api.Node {
	return api.Node{ID: api.NodeID(fmt.Sprintf("crowd-%04d", i)), Name: fmt.Sprintf("crowd-%04d", i), Zone: fmt.Sprint("z", i%3),
		Slots: (s.Tasks + s.Agents - 1) / s.Agents * 2, RPC: "127.0.0.1:1"}
}

func (s *Scale) job(i int) api.JobSpec {
	return api.JobSpec{Name: fmt.Sprintf("job-%03d", i), Parallelism: s.Tasks / s.Jobs, SlotsPerExecutor: 1}
}

// books is a registry, with what was put into its log.
type books struct {
	*registry.Registry
	index          uint64
	entries, bytes int
}

func (b *books) put(c registry.Command) error {
	data, err := registry.Encode(c, 1+int64(b.index), "")
	if err != nil {
		return err
	}
	b.index++
	b.entries++
	b.bytes += len(data)
	r := b.Apply(b.index, data)
	return r.Err()
}

// decide carries out one decision, and returns how long it took to come to it: the copy of the
// state that is looked at included.
func (b *books) decide(s *Scale, lost int) (time.Duration, error) {
	now := time.Hour.Microseconds()
	heard := map[api.NodeID]control.Heard{}
	for i := range s.Agents {
		heard[s.node(i).ID] = control.Heard{At: now, Dead: i < lost}
	}
	start := time.Now()
	v := b.View()
	d := control.Decide(control.From(v, heard, now, ""), control.Options{})
	took := time.Since(start)
	for _, c := range d.Commands(v.Index(), true) {
		if err := b.put(c); err != nil {
			return took, fmt.Errorf("carrying out a decision: %w", err)
		}
	}
	return took, nil
}

// decisions measures what a leader thinks about.
func (s *Scale) decisions() error {
	b := &books{Registry: registry.New()}
	for i := range s.Agents {
		if err := b.put(&registry.RegisterNode{Node: s.node(i), Fresh: true}); err != nil {
			return fmt.Errorf("registering an agent: %w", err)
		}
	}
	s.LogBytesPerAgent = float64(b.bytes) / float64(s.Agents)
	b.bytes, b.entries = 0, 0
	for i := range s.Jobs {
		spec := s.job(i)
		spec.Submitted = int64(i + 1)
		if err := b.put(&registry.SubmitJob{Spec: spec}); err != nil {
			return fmt.Errorf("submitting a job: %w", err)
		}
	}
	took, err := b.decide(s, 0)
	if err != nil {
		return err
	}
	s.DecideNewMS = millis(took)
	v := b.View()
	if n := len(v.Allocs()); n != s.Tasks {
		return mismatch("number of executors", n, s.Tasks)
	}
	for i := range s.Agents {
		var all []api.AllocStatus
		for _, a := range v.AllocsOn(s.node(i).ID) {
			all = append(all, running(a.Alloc, s.Tasks/s.Jobs))
		}
		if err := b.put(&registry.UpdateAllocs{Node: s.node(i).ID, Statuses: all}); err != nil {
			return fmt.Errorf("telling that executors run: %w", err)
		}
	}
	s.LogBytesPerTask, s.LogEntries = float64(b.bytes)/float64(s.Tasks), b.entries
	if took, err = b.decide(s, 0); err != nil {
		return err
	}
	s.DecideIdleMS = millis(took)
	var lost time.Duration
	for range 2 { // that they are lost, then where their executors go
		if took, err = b.decide(s, min(10, s.Agents/2)); err != nil {
			return err
		}
		lost += took
	}
	s.DecideLostMS = millis(lost)
	return nil
}

func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// running is what an agent tells of an executor that runs.
func running(a api.Alloc, slots int) api.AllocStatus {
	s := api.AllocStatus{Alloc: a.ID, State: api.AllocRunning, PID: 1, Data: "127.0.0.1:1"}
	if a.Coordinator {
		s.Control = "127.0.0.1:2"
		s.Job = &api.JobReport{Status: api.JobRunning, Attempt: 1, Slots: slots}
	}
	return s
}

// reports has a crowd of agents report to a real leader, gives it jobs, and measures what it takes
// when all run.
func (s *Scale) reports(ctx context.Context, c *cluster, settle time.Duration) (r Result, err error) {
	server := c.Servers()[0]
	crowd := newCrowd(ctx, s, server.RPC)
	defer crowd.stop()
	cl := c.Client(token.Admin)
	start := time.Now()
	if err := until(ctx, func() (bool, error) {
		all, err := client.All(func(p client.Page) ([]api.NodeInfo, string, error) {
			l, err := cl.Nodes(ctx, p, client.Wait{})
			return l.Items, l.Next, err
		})
		return len(all) > s.Agents, err
	}); err != nil {
		return r, fmt.Errorf("waiting for %d agents: %w", s.Agents, err)
	}
	s.JoinS = time.Since(start).Seconds()
	start = time.Now()
	for i := range s.Jobs {
		if _, err := cl.Submit(ctx, s.job(i), false); err != nil {
			return r, err
		}
	}
	if err := until(ctx, func() (bool, error) {
		all, err := client.All(func(p client.Page) ([]api.JobInfo, string, error) {
			l, err := cl.Jobs(ctx, p, client.Wait{})
			return l.Items, l.Next, err
		})
		left := slices.ContainsFunc(all, func(j api.JobInfo) bool { return j.Status != api.JobRunning })
		return !left && len(all) == s.Jobs && crowd.tasks.Load() == int64(s.Tasks), err
	}); err != nil {
		return r, fmt.Errorf("waiting for %d tasks, of which %d run: %w", s.Tasks, crowd.tasks.Load(), err)
	}
	s.StartS = time.Since(start).Seconds()

	crowd.late.reset()
	reports, cpu := crowd.reports.Load(), cpuOf(server.PID())
	start = time.Now()
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return r, context.Cause(ctx)
	}
	wall := time.Since(start).Seconds()
	n := crowd.reports.Load() - reports
	s.HeartbeatsPerS = float64(n) / wall
	s.LeaderCPU = (cpuOf(server.PID()) - cpu).Seconds() / wall
	s.LeaderRSSMB = rssOf(server.PID())
	s.LateP99MS = crowd.late.quantile(0.99)
	r.Events, r.EventsPerS, r.CPUS, r.PeakRSSMB = n, s.HeartbeatsPerS, s.LeaderCPU*wall, s.LeaderRSSMB
	return r, crowd.failed()
}

// until asks until it is so.
func until(ctx context.Context, so func() (bool, error)) error {
	for {
		if ok, err := so(); ok || err != nil {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
