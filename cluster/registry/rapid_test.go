package registry

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/api"
)

// TestReplicas applies random commands: what any two replicas come to is the same, also
// where one began with the snapshot of another; and the invariants of the package hold.
func TestReplicas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, two := New(), New()
		for index := uint64(1); index <= uint64(rapid.IntRange(1, 120).Draw(t, "entries")); index++ {
			data, err := Encode(drawCommand(t, one.View()), int64(index), "x")
			if err != nil {
				t.Fatal(err)
			}
			if rapid.IntRange(0, 30).Draw(t, "spoil") == 0 && len(data) > 0 {
				data[rapid.IntRange(0, len(data)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
			}
			before := one.Index()
			watch := one.Watch(before)
			got, want := one.Apply(index, data), two.Apply(index, data)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("entry %d: %+v on one replica, %+v on the other", index, got, want)
			}
			changed := got.Err() == nil && !got.Repeat
			if (one.Index() != before) != changed || isClosed(watch) != changed {
				t.Fatalf("entry %d: %+v: index %d after %d, watch closed: %t", index, got, one.Index(), before, isClosed(watch))
			}
			check(t, one)
			if one.Behind() == nil && rapid.IntRange(0, 20).Draw(t, "restore") == 0 {
				three := New()
				if err := three.Restore(bytes.NewReader(snapshotOf(t, one))); err != nil {
					t.Fatal(err)
				}
				check(t, three)
				two = three
			}
		}
		if one.Behind() == nil && !bytes.Equal(snapshotOf(t, one), snapshotOf(t, two)) {
			t.Fatalf("replicas differ:\n%s\n%s", describe(one.View(), ""), describe(two.View(), ""))
		}
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// check looks at what must hold in every state.
func check(t *rapid.T, r *Registry) {
	s := r.View().s
	live, specs := 0, 0
	for id, a := range s.allocs {
		j := s.jobs[a.Alloc.Job]
		if j == nil || !slices.Contains(j.Allocs, id) {
			t.Fatalf("allocation %s is not with its job", id)
		}
		if a.Live() {
			live++
			if n := s.nodes[a.Alloc.Node]; n == nil || !slices.Contains(n.Allocs, id) || n.Gone() {
				t.Fatalf("live allocation %s is not on its node", id)
			}
		}
		if a.Alloc.Term > j.Term {
			t.Fatalf("allocation %s has term %d, its job %d", id, a.Alloc.Term, j.Term)
		}
	}
	for _, n := range s.nodes {
		for _, id := range n.Allocs {
			if a := s.allocs[id]; a == nil || !a.Live() {
				t.Fatalf("node %s runs %s, which is not there", n.Info.ID, id)
			}
		}
		if !slices.IsSorted(n.Allocs) {
			t.Fatalf("node %s: %v", n.Info.ID, n.Allocs)
		}
	}
	for _, j := range s.jobs {
		ended := 0
		for _, id := range j.Allocs {
			if !s.allocs[id].Live() {
				ended++
			} else if j.Status.Ended() && !s.allocs[id].Alloc.Stop {
				t.Fatalf("job %s has ended, and %s is not told to", j.Name, id)
			}
		}
		bytes := 0
		for i := range j.Versions {
			n, _ := specSize(&j.Versions[i].Spec)
			bytes += n
		}
		specs += bytes
		if ended > MaxAllocsEnded || len(j.Versions) > MaxVersions || len(j.Events) > MaxJobEvents || j.bytes != bytes {
			t.Fatalf("job %s is above a bound: %d ended, %d versions, %d events, %d bytes of %d",
				j.Name, ended, len(j.Versions), len(j.Events), bytes, j.bytes)
		}
	}
	if live != s.live || specs != s.specs {
		t.Fatalf("%d live allocations and %d bytes are counted, %d and %d are there", s.live, s.specs, live, specs)
	}
}

var hashes = []string{"sha256:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("b", 64)}

// drawCommand makes one that has a fair chance to be taken.
func drawCommand(t *rapid.T, v *View) Command {
	pick := func(name string, n int) int { return rapid.IntRange(0, n-1).Draw(t, name) }
	node := api.NodeID(fmt.Sprint("n", pick("node", 3)))
	job := fmt.Sprint("j", pick("job", 3))
	at := v.Index() - uint64(pick("late", 12)/10)*min(3, v.Index())
	switch pick("kind", 16) {
	case 0, 1:
		return &RegisterNode{
			Node:  api.Node{ID: node, Name: string(node), Slots: 2 + pick("slots", 6), Tags: map[string]string{"b": "1", "a": "2"}},
			Fresh: pick("fresh", 3) == 0, Life: uint64(pick("life", 4)),
		}
	case 2:
		all := []api.NodeStatus{api.NodeReady, api.NodeDraining, api.NodeDrained, api.NodeLost, api.NodeLeft, "odd"}
		return &SetNodeStatus{Node: node, Status: all[pick("status", len(all))], At: at, Reason: "why"}
	case 3, 4:
		spec := api.JobSpec{Name: job, Parallelism: pick("parallelism", 4), Env: map[string]string{"y": "1", "x": "2"}}
		if pick("artifact", 2) == 0 {
			spec.Artifact = hashes[pick("hash", 2)]
		}
		return &SubmitJob{Spec: spec, Request: fmt.Sprint(pick("request", 5)), New: pick("new", 4) == 0, If: uint64(pick("if", 3) / 2)}
	case 5:
		all := []api.Wish{api.WishRun, api.WishRun, api.WishStop, api.WishSave, api.WishCancel, "odd"}
		return &SetWish{Job: job, Wish: all[pick("wish", len(all))], Save: pick("save", 3) == 0, Where: "s3://x"}
	case 6:
		return &SetScale{Job: job, Scale: Scale{Parallelism: pick("p", 5), Min: pick("min", 3), Max: pick("max", 5)}, At: at}
	case 7:
		return &AddSavepoint{Job: job, Savepoint: Savepoint{Where: fmt.Sprint("p", pick("where", 40))}, Request: v.Index(), Error: []string{"", "", "no"}[pick("e", 3)]}
	case 8:
		return &PutArtifact{Hash: hashes[pick("hash", 2)], Size: 7}
	case 9:
		return []Command{&DeleteArtifact{Hash: hashes[pick("hash", 2)]}, &ForgetJob{Job: job},
			&AddEvent{Job: job, Kind: "k", Text: "text"}, &DeleteSavepoint{Job: job, Where: "p1"}}[pick("rest", 4)]
	case 10, 11, 12:
		return drawPut(t, v, job, at, pick)
	}
	up := &UpdateAllocs{Node: node}
	for _, a := range v.AllocsOn(node) {
		if pick("tell", 2) == 0 {
			continue
		}
		s := api.AllocStatus{Alloc: a.Alloc.ID, State: []api.AllocState{api.AllocPending, api.AllocRunning, api.AllocRunning,
			api.AllocEnded, api.AllocFailed}[pick("state", 5)], Lines: make([]string, pick("lines", 30)), Control: []string{"", "c:1", "c:2"}[pick("control", 3)]}
		if pick("report", 2) == 0 {
			all := []api.JobStatus{api.JobRunning, api.JobRunning, api.JobRunning, api.JobStarting, api.JobFinished, api.JobFailed, "odd"}
			s.Job = &api.JobReport{Status: all[pick("status", len(all))], Epoch: v.Index()}
		}
		up.Statuses = append(up.Statuses, s)
	}
	return up
}

func drawPut(t *rapid.T, v *View, job string, at uint64, pick func(string, int) int) Command {
	put := &PutAllocs{Job: job, At: at, Reason: []string{"", "waits"}[pick("reason", 2)]}
	j := v.Job(job)
	if j == nil {
		return put
	}
	for _, id := range j.Allocs {
		if pick("stop", 4) == 0 {
			put.Stop = append(put.Stop, id)
		}
	}
	term := j.Term
	coordinator := pick("coordinator", 2) == 0 || term == 0
	if coordinator {
		term++
	}
	for i := range pick("place", 4) {
		put.Place = append(put.Place, api.Alloc{
			ID: api.AllocID(fmt.Sprintf("%s-%d-%d", job, v.Index(), i)), Job: job, Node: api.NodeID(fmt.Sprint("n", pick("on", 3))),
			Version: j.Spec().Version, Coordinator: coordinator && i == 0, Slots: 1 + pick("slots", 3), Term: term,
		})
	}
	all := []api.JobStatus{"", "", "", api.JobStarting, api.JobPending, api.JobCancelled}
	put.Status = all[pick("status", len(all))]
	return put
}
