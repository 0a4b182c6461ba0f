package control

import (
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/registry"
)

// leader drives a real registry.
type leader struct {
	t       *testing.T
	r       *registry.Registry
	index   uint64
	now     int64
	heard   map[api.NodeID]Heard
	attempt uint64
}

func (l *leader) apply(c registry.Command) {
	l.t.Helper()
	data, err := registry.Encode(c, l.now, "test")
	if err != nil {
		l.t.Fatal(err)
	}
	l.index++
	if r := l.r.Apply(l.index, data); r.Err() != nil {
		l.t.Fatalf("%T %+v: %v", c, c, r.Err())
	}
}

// decide decides and does until nothing is left, and none of it may be refused.
func (l *leader) decide() {
	l.t.Helper()
	for range 5 {
		v := l.r.View()
		d := Decide(From(v, l.heard, l.now, ""), Options{})
		cmds := d.Commands(v.Index(), true)
		if len(cmds) == 0 {
			return
		}
		for _, c := range cmds {
			l.apply(c)
		}
	}
	l.t.Fatal("it does not come to an end")
}

// up tells of all that was placed.
func (l *leader) up() {
	l.t.Helper()
	l.attempt++ // who was placed anew is there since then
	for _, a := range l.r.View().Allocs() {
		s := api.AllocStatus{Alloc: a.Alloc.ID, State: api.AllocRunning}
		switch {
		case a.Alloc.Stop:
			s.State = api.AllocEnded
		case a.Alloc.Coordinator:
			s.Job = &api.JobReport{Status: api.JobRunning, Slots: 4, Attempt: l.attempt}
		}
		if a.Live() {
			l.apply(&registry.UpdateAllocs{Node: a.Alloc.Node, Statuses: []api.AllocStatus{s}})
		}
	}
	l.decide()
}

func (l *leader) want(status api.JobStatus, live int, reason string) *registry.Job {
	l.t.Helper()
	v := l.r.View()
	n := 0
	for _, a := range v.AllocsOf("w") {
		if a.Live() {
			n++
		}
	}
	j := v.Job("w")
	if j.Status != status || n != live || !strings.Contains(j.Reason, reason) {
		l.t.Fatalf("job is %s (%s) with %d executors, wanted %s with %d", j.Status, j.Reason, n, status, live)
	}
	return j
}

// TestRegistry: a registry does what is decided, and what is decided on it comes to an end.
func TestRegistry(t *testing.T) {
	l := &leader{t: t, r: registry.New(), now: time.Hour.Microseconds(), heard: map[api.NodeID]Heard{}}
	for _, id := range []api.NodeID{"a", "b", "c"} {
		l.apply(&registry.RegisterNode{Node: api.Node{ID: id, Name: "node-" + string(id), Slots: 2, Version: "1.0.0"}})
		l.heard[id] = Heard{At: l.now}
	}
	l.apply(&registry.SubmitJob{Spec: api.JobSpec{Name: "w", Parallelism: 4}})
	l.decide()
	l.want(api.JobStarting, 3, "")
	l.up()
	l.want(api.JobRunning, 3, "")

	// The coordinator's node is gone.
	l.heard["a"] = Heard{At: l.now, Dead: true}
	l.decide()
	if j := l.want(api.JobStarting, 4, ""); j.Term != 2 {
		t.Errorf("term %d", j.Term)
	}
	l.up()
	l.want(api.JobRunning, 4, "")
	l.now += 4e6
	l.heard = map[api.NodeID]Heard{"b": {At: l.now}}
	l.decide()
	l.want(api.JobPending, 2, "wants 2 more slots (has 2 of 4), none is free; node-a is lost, node-c is lost")

	// They are back, one is drained, and the job is given fewer slots.
	for _, id := range []api.NodeID{"a", "c"} {
		l.apply(&registry.RegisterNode{Node: api.Node{ID: id, Name: "node-" + string(id), Slots: 2, Version: "1.0.0"}, Fresh: true})
		l.heard[id] = Heard{At: l.now}
	}
	l.apply(&registry.SetScale{Job: "w", Scale: registry.Scale{Parallelism: 3}})
	l.decide()
	l.up()
	l.want(api.JobRunning, len(l.r.View().AllocsOn("a"))+len(l.r.View().AllocsOn("b"))+len(l.r.View().AllocsOn("c")), "")
	l.apply(&registry.SetNodeStatus{Node: "b", Status: api.NodeDraining})
	for range 4 {
		l.decide()
		l.up()
	}
	if n := l.r.View().Node("b"); n.Status != api.NodeDrained {
		t.Errorf("b is %s: %v", n.Status, n.Allocs)
	}

	// An executor fails, a new version comes, and it is cancelled in the end.
	a := l.r.View().AllocsOn("a")[0]
	l.apply(&registry.UpdateAllocs{Node: "a", Statuses: []api.AllocStatus{{Alloc: a.Alloc.ID, State: api.AllocFailed, ExitCode: 2, Exit: "exit code 2"}}})
	l.decide()
	l.up()
	l.apply(&registry.SubmitJob{Spec: api.JobSpec{Name: "w", Parallelism: 2}})
	l.decide()
	l.want(api.JobPending, len(l.r.View().AllocsOn("a"))+len(l.r.View().AllocsOn("c")), "version 2 waits for")
	l.up()
	l.up()
	l.want(api.JobRunning, 2, "")
	l.apply(&registry.SetWish{Job: "w", Wish: api.WishCancel})
	l.decide()
	l.want(api.JobRunning, 2, "")
	l.now += 11e6
	l.heard = map[api.NodeID]Heard{"a": {At: l.now}, "b": {At: l.now}, "c": {At: l.now}}
	l.decide()
	l.up()
	l.want(api.JobCancelled, 0, "")
}

// BenchmarkFrom copies a registry's view of 1,000 agents, 1,000 jobs and 10,000 executors.
func BenchmarkFrom(b *testing.B) {
	r := registry.New()
	index := uint64(0)
	apply := func(c registry.Command) {
		data, err := registry.Encode(c, 1, "")
		if err != nil {
			b.Fatal(err)
		}
		index++
		if res := r.Apply(index, data); res.Err() != nil {
			b.Fatal(res.Err())
		}
	}
	c := large(1000)
	for _, n := range c.Nodes {
		n.Name = string(n.ID)
		apply(&registry.RegisterNode{Node: n.Node})
	}
	for _, j := range c.Jobs {
		apply(&registry.SubmitJob{Spec: j.Spec})
	}
	heard := map[api.NodeID]Heard{}
	for _, n := range c.Nodes {
		heard[n.ID] = Heard{At: c.Now}
	}
	d := Decide(From(r.View(), heard, c.Now, ""), Options{})
	start := time.Now()
	for _, cmd := range d.Commands(r.Index(), true) {
		apply(cmd)
	}
	b.Logf("applying %d decisions: %s", len(d.Jobs), time.Since(start))
	b.ReportAllocs()
	for b.Loop() {
		if c := From(r.View(), heard, c.Now, ""); len(c.Allocs) != 10_000 {
			b.Fatal(len(c.Allocs))
		}
	}
}
