// Package webtest is a cluster in memory for tests of the HTTP API and of what speaks to it.
//
// A [Cluster] does what it is told at once: a job that was submitted runs, one that is
// stopped has stopped. Tests change what it shows by Update. Its methods may be called from any
// goroutine; it starts none.
package webtest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/web"
)

// State is what a cluster shows. Its fields may be changed in Update.
type State struct {
	Self    api.LeaderInfo
	Leads   bool // somebody does
	Status  string
	Jobs    map[string]*Job
	Nodes   map[api.NodeID]*api.NodeInfo
	Members []api.Member
	// Artifacts are programs by hash.
	Artifacts map[string][]byte
	// Audit is the audit log.
	Audit []api.AuditEntry
	// Keys are names of keys of gossip, which all agents have; the first is in use.
	Keys []string
	// Time is what the cluster's clock shows, in microseconds.
	Time int64
}

// Job is one with all that can be asked about it.
type Job struct {
	Info                    api.JobInfo
	Graph                   api.JobGraph
	Stats                   api.JobStats
	Events                  []api.JobEvent
	Logs                    []api.LogLine
	Checkpoints, Savepoints []api.CheckpointInfo
}

// Cluster is a web.Backend.
type Cluster struct {
	mu struct {
		sync.Mutex
		State
		index   uint64
		changed chan struct{} // closed at the next change
	}
}

var _ web.Backend = (*Cluster)(nil)

// New is a cluster of two agents, of which n1 is the server that leads.
func New() *Cluster {
	c := &Cluster{}
	c.mu.index, c.mu.changed = 1, make(chan struct{})
	c.mu.State = State{
		Self: api.LeaderInfo{ID: "n1", HTTP: "http://127.0.0.1:7470", Self: true}, Leads: true, Status: "ok", Time: 1_767_323_045_000_000,
		Jobs: map[string]*Job{}, Nodes: map[api.NodeID]*api.NodeInfo{}, Artifacts: map[string][]byte{},
	}
	for i, id := range []api.NodeID{"n1", "n2"} {
		n := api.Node{ID: id, Name: "host" + strconv.Itoa(i+1), Zone: "a", Server: i == 0, Slots: 4, RPC: fmt.Sprintf("10.0.0.%d:7472", i+1), Version: "v0.5.0"}
		c.mu.Nodes[id] = &api.NodeInfo{Node: n, Status: api.NodeReady, Leader: i == 0, Seen: c.mu.Time, Index: 1}
		c.mu.Members = append(c.mu.Members, api.Member{ID: id, Name: n.Name, Address: fmt.Sprintf("10.0.0.%d:7471", i+1), Status: "alive",
			Server: i == 0, Leader: i == 0, Version: n.Version, Zone: "a"})
	}
	return c
}

// Update changes what the cluster shows, and wakes those who wait. The function gets the index
// of the change.
func (c *Cluster) Update(do func(s *State, index uint64)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.index++
	do(&c.mu.State, c.mu.index)
	close(c.mu.changed)
	c.mu.changed = make(chan struct{})
}

// Health is the Status.
func (c *Cluster) Health() api.Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	return api.Health{Status: c.mu.Status, Version: "v0.5.0"}
}

// Leader is Self, or what is set there.
func (c *Cluster) Leader() (api.LeaderInfo, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.Self, c.mu.Leads
}

// Index counts changes.
func (c *Cluster) Index() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.index
}

// Wait waits for a change.
func (c *Cluster) Wait(ctx context.Context, after uint64) error {
	for {
		c.mu.Lock()
		index, changed := c.mu.index, c.mu.changed
		c.mu.Unlock()
		if index > after {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Members are those of the state.
func (c *Cluster) Members(_ context.Context, p web.Page) (l api.MemberList, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.Items, l.Next = web.PageOf(c.mu.Members, func(m *api.Member) string { return m.Name }, p)
	return l, nil
}

// Jobs are by name, without executors.
func (c *Cluster) Jobs(_ context.Context, p web.Page) (l api.JobList, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []api.JobInfo
	for _, name := range slices.Sorted(maps.Keys(c.mu.State.Jobs)) {
		j := c.mu.State.Jobs[name].Info
		j.Allocs = nil
		l.Index = max(l.Index, j.Index)
		all = append(all, j)
	}
	l.Items, l.Next = web.PageOf(all, func(j *api.JobInfo) string { return j.Spec.Name }, p)
	return l, nil
}

func noJob(name string) *api.Error {
	return api.Errorf(api.CodeNotFound, "there is no job %q", name).WithHint("weir jobs lists them")
}

// ask reads of one job.
func ask[T any](c *Cluster, name string, read func(*Job) T) (v T, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.mu.State.Jobs[name]
	if j == nil {
		return v, noJob(name)
	}
	return read(j), nil
}

// Job is one of them.
func (c *Cluster) Job(_ context.Context, name string) (api.JobInfo, error) {
	return ask(c, name, func(j *Job) api.JobInfo {
		i := j.Info
		i.Allocs = slices.Clone(i.Allocs)
		return i
	})
}

// Graph is a job's.
func (c *Cluster) Graph(_ context.Context, name string) (api.JobGraph, error) {
	return ask(c, name, func(j *Job) api.JobGraph { return j.Graph })
}

// Stats are a job's.
func (c *Cluster) Stats(_ context.Context, name string) (api.JobStats, error) {
	return ask(c, name, func(j *Job) api.JobStats { return j.Stats })
}

// Events are a job's.
func (c *Cluster) Events(_ context.Context, name string, p web.Page) (api.JobEventList, error) {
	return ask(c, name, func(j *Job) (l api.JobEventList) {
		key := func(n uint64) string { return fmt.Sprintf("%020d", n) }
		if after, err := strconv.ParseUint(cmp.Or(p.Cursor, "0"), 10, 64); err == nil {
			p.Cursor = key(after)
		}
		l.Items, l.Next = web.PageOf(j.Events, func(e *api.JobEvent) string { return key(e.Seq) }, p)
		if l.Next != "" {
			l.Next = strconv.FormatUint(l.Items[len(l.Items)-1].Seq, 10)
		}
		return l
	})
}

// Profile is no profile, but the kind and the time that were asked for.
func (c *Cluster) Profile(_ context.Context, name string, q web.ProfileQuery) (io.ReadCloser, error) {
	if _, err := ask(c, name, func(j *Job) Job { return *j }); err != nil {
		return nil, err
	}
	return io.NopCloser(strings.NewReader(q.Kind + " over " + q.Over.String() + " of " + string(q.Alloc))), nil
}

// Logs gives the lines, and with Follow those that come until the job has ended.
func (c *Cluster) Logs(ctx context.Context, name string, q web.LogQuery, emit func(api.LogLine) error) error {
	read := -1
	for {
		at := c.Index()
		j, err := ask(c, name, func(j *Job) Job { return *j })
		if err != nil {
			return err
		}
		if read < 0 {
			read = 0
			if over := len(j.Logs) - q.Tail; over > 0 {
				read = over
			}
		}
		for _, l := range j.Logs[read:] {
			read++
			if q.Alloc != "" && l.Alloc != q.Alloc || q.Stream != "" && l.Stream != q.Stream {
				continue
			}
			if err := emit(l); err != nil {
				return err
			}
		}
		if !q.Follow || j.Info.Status.Ended() {
			return nil
		}
		if err := c.Wait(ctx, at); err != nil {
			return err
		}
	}
}

// Checkpoints are a job's.
func (c *Cluster) Checkpoints(_ context.Context, name string, p web.Page) (api.CheckpointList, error) {
	return ask(c, name, func(j *Job) (l api.CheckpointList) {
		l.Items, l.Next = web.PageOf(j.Checkpoints, epochKey, p)
		return l
	})
}

// Savepoints are a job's.
func (c *Cluster) Savepoints(_ context.Context, name string, p web.Page) (api.CheckpointList, error) {
	return ask(c, name, func(j *Job) (l api.CheckpointList) {
		l.Items, l.Next = web.PageOf(j.Savepoints, epochKey, p)
		return l
	})
}

func epochKey(i *api.CheckpointInfo) string { return fmt.Sprintf("%020d", i.Epoch) }

// Artifact looks for a program.
func (c *Cluster) Artifact(_ context.Context, hash string) (api.ArtifactInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.mu.Artifacts[hash]
	if !ok {
		return api.ArtifactInfo{}, api.Errorf(api.CodeNotFound, "there is no program %s", hash)
	}
	return api.ArtifactInfo{Hash: hash, Size: int64(len(a))}, nil
}

// PutArtifact keeps a program.
func (c *Cluster) PutArtifact(_ context.Context, hash string, size int64, r io.Reader) (api.ArtifactInfo, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return api.ArtifactInfo{}, err
	}
	c.Update(func(s *State, _ uint64) { s.Artifacts[hash] = data })
	return api.ArtifactInfo{Hash: hash, Size: size}, nil
}
