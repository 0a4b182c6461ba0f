package control

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirflow/weir/api"
)

// large is a cluster of 1,000 agents with 10 slots each, and jobs that want all of them.
func large(jobs int) *Cluster {
	c := &Cluster{Now: time.Hour.Microseconds(), Version: "1.4.0"}
	for i := range 1000 {
		c.Nodes = append(c.Nodes, &Node{
			Node:   api.Node{ID: api.NodeID(fmt.Sprintf("n%04d", i)), Zone: fmt.Sprint("z", i%3), Slots: 10, Version: "1.4.0"},
			Status: api.NodeReady, Heard: c.Now,
		})
	}
	for i := range jobs {
		c.Jobs = append(c.Jobs, &Job{
			Spec: api.JobSpec{Name: fmt.Sprintf("j%04d", i), Version: 1, Parallelism: 10_000 / jobs, Submitted: int64(i)},
			Wish: api.WishRun, Status: api.JobPending,
		})
	}
	return c
}

// up is what becomes of it: all that was started runs.
func up(c *Cluster) {
	for _, a := range c.Allocs {
		if a.Status.State == api.AllocPending {
			a.Status.State = api.AllocRunning
		}
	}
	for _, j := range c.Jobs {
		if j.Status == api.JobStarting {
			j.Status = api.JobRunning
		}
	}
}

// BenchmarkDecide: all jobs are new; nothing is to be done; ten nodes are lost at once; all
// jobs wait and nothing fits.
func BenchmarkDecide(b *testing.B) {
	for _, jobs := range []int{1, 100, 1000} {
		fresh := large(jobs)
		running := clone(fresh)
		Decide(running, Options{})
		up(running)
		for i := range 10 { // and room for what is lost
			running.Nodes = append(running.Nodes, &Node{Node: api.Node{ID: api.NodeID(fmt.Sprint("spare", i)), Slots: 10}, Status: api.NodeReady, Heard: running.Now})
		}
		lost := clone(running)
		for i := range 10 {
			lost.Nodes[i*100].Heard = 1
		}
		full := clone(running)
		for i, j := range fresh.Jobs {
			w := *j
			w.Spec.Name, w.Spec.Submitted = "w"+w.Spec.Name, int64(10_000+i)
			w.Spec.Parallelism = 5_000
			full.Jobs = append(full.Jobs, &w)
		}
		for _, bench := range []struct {
			name string
			c    *Cluster
		}{{"fresh", fresh}, {"steady", running}, {"lost", lost}, {"full", full}} {
			b.Run(fmt.Sprintf("jobs=%d/%s", jobs, bench.name), func(b *testing.B) {
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					b.StopTimer()
					c := clone(bench.c)
					b.StartTimer()
					d := Decide(c, Options{})
					n = len(d.Nodes) + len(d.Jobs)
				}
				b.ReportMetric(float64(n), "changes")
			})
		}
	}
}

// TestLarge: a thousand agents and ten thousand slots. BenchmarkDecide says how long it takes.
func TestLarge(t *testing.T) {
	c := large(1000)
	d := Decide(c, Options{})
	if len(c.Allocs) != 10_000 || len(d.Jobs) != 1000 {
		t.Errorf("%d executors of %d jobs", len(c.Allocs), len(d.Jobs))
	}
	up(c)
	if d := Decide(c, Options{}); !d.Empty() {
		t.Errorf("is left: %.1000s", &d)
	}
	c.Nodes[7].Dead = true
	c.Nodes = append(c.Nodes, &Node{Node: api.Node{ID: "spare", Slots: 10}, Status: api.NodeReady, Heard: c.Now})
	if d := Decide(c, Options{}); len(d.Nodes) != 1 || len(d.Jobs) != 10 {
		t.Errorf("%.1000s", &d)
	}
}
