package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/registry"
)

// TestLife: an agent that was started again has lost what it ran, though its first report came
// to nobody who leads.
func TestLife(t *testing.T) {
	g := newRig(t)
	g.start("a")
	g.until("the agent is here", func(v *registry.View) bool { return v.Node("a") != nil })
	g.apply(&registry.SubmitJob{Spec: api.JobSpec{Name: "clicks", Parallelism: 1}, Request: "1"})
	v := g.until("the job runs", func(v *registry.View) bool { return running(v, "clicks") })
	first := v.AllocsOf("clicks")[0].Alloc
	node := v.Node("a").Info
	g.stop("a")
	report := func(life, seq uint64) error {
		_, err := g.lead.Report(context.Background(), &api.Report{Seq: seq, Life: life, Node: node})
		return err
	}
	if err := report(2, 7); err != nil {
		t.Fatal(err)
	}
	g.until("what ran is lost", func(v *registry.View) bool { return v.Alloc(first.ID).Status.State == api.AllocLost })
	if err := report(1, 99); err == nil {
		t.Error("what an earlier start told was taken")
	}
	if n := g.raft.Registry().View().Node("a"); n.Life != 2 {
		t.Errorf("start %d is known", n.Life)
	}
}

// TestNextLife: each start has a number of its own, and no broken file passes for a first one.
func TestNextLife(t *testing.T) {
	file := filepath.Join(t.TempDir(), "life")
	for want := uint64(1); want < 4; want++ {
		if got, err := nextLife(file); err != nil || got != want {
			t.Fatal(got, err)
		}
	}
	if err := os.WriteFile(file, []byte("many\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := nextLife(file); err == nil {
		t.Error("a broken file was taken for a number")
	}
}

// TestLeave: an agent that leaves starts nothing in the place of what it has ended.
func TestLeave(t *testing.T) {
	g := newRig(t)
	a := g.start("a")
	g.until("the agent is here", func(v *registry.View) bool { return v.Node("a") != nil })
	g.apply(&registry.SubmitJob{Spec: api.JobSpec{Name: "clicks", Parallelism: 1}, Request: "1"})
	v := g.until("the job runs", func(v *registry.View) bool { return running(v, "clicks") })
	first := v.AllocsOf("clicks")[0].Alloc.ID
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	a.link.obeyNoMore(ctx)
	if err := a.runs.Kill(ctx, "test"); err != nil {
		t.Fatal(err)
	}
	a.link.news()
	g.until("another is placed", func(v *registry.View) bool {
		return slices.ContainsFunc(v.AllocsOf("clicks"), func(x *registry.Alloc) bool { return x.Alloc.ID != first && x.Live() })
	})
	a.link.leave(ctx)
	g.until("it has left", func(v *registry.View) bool { return v.Node("a").Status == api.NodeLeft })
	for _, s := range a.runs.Statuses() {
		if s.Alloc != first {
			t.Errorf("%s was started while the agent left", s.Alloc)
		}
	}
}
