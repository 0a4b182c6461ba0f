package registry

import (
	"bytes"
	"errors"
	"testing"

	"github.com/weirflow/weir/api"
)

func seeds(t testing.TB) (entries [][]byte, r *Registry) {
	r = New()
	for i, c := range []Command{
		&RegisterNode{Node: api.Node{ID: "n1", Name: "one", Slots: 4, Tags: map[string]string{"a": "b"}}},
		&PutArtifact{Hash: hashes[0], Size: 3},
		&SubmitJob{Spec: api.JobSpec{Name: "j", Parallelism: 2, Artifact: hashes[0], Args: []string{"-x"}}, Request: "r"},
		&PutAllocs{Job: "j", At: 3, Place: []api.Alloc{{ID: "a", Job: "j", Node: "n1", Version: 1, Coordinator: true, Slots: 2, Term: 1}}, Status: api.JobStarting},
		&UpdateAllocs{Node: "n1", Statuses: []api.AllocStatus{{Alloc: "a", State: api.AllocRunning, Lines: []string{"l"}, Job: &api.JobReport{Status: api.JobRunning}}}},
		&SetWish{Job: "j", Wish: api.WishRun, Save: true, Where: "w"},
		&AddSavepoint{Job: "j", Request: 6, Savepoint: Savepoint{Where: "w"}},
		&SetScale{Job: "j", Scale: Scale{Parallelism: 3, Min: 1, Max: 4}},
		&AddEvent{Kind: "k", Text: "t"},
		&SetNodeStatus{Node: "n1", Status: api.NodeLost},
	} {
		data, err := Encode(c, int64(i), "ann")
		if err != nil {
			t.Fatal(err)
		}
		if result := r.Apply(uint64(i+1), data); result.Err() != nil {
			t.Fatal(c.kind(), result.Err())
		}
		entries = append(entries, data)
	}
	return entries, r
}

func FuzzApply(f *testing.F) {
	entries, _ := seeds(f)
	for _, e := range entries {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, r := seeds(t)
		r.Apply(100, data)
		if r.Behind() != nil {
			return
		}
		two := New()
		if err := two.Restore(bytes.NewReader(snapshotOf(t, r))); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(snapshotOf(t, r), snapshotOf(t, two)) {
			t.Fatal("a snapshot of a restored snapshot is another")
		}
	})
}

func FuzzRestore(f *testing.F) {
	_, r := seeds(f)
	f.Add(snapshotOf(f, r))
	f.Add(snapshotOf(f, New()))
	f.Fuzz(func(t *testing.T, data []byte) {
		// The sums are put right, so that what is behind them is reached.
		for at := 8; at+8 <= len(data); {
			size := int(uint32(data[at]) | uint32(data[at+1])<<8 | uint32(data[at+2])<<16 | uint32(data[at+3])<<24)
			if size == 0 {
				size = 8
			}
			if size > len(data)-at-8 {
				break
			}
			putSum(data[at+4:], data[at+8:at+8+size])
			at += 8 + size
		}
		r := New()
		if err := r.Restore(bytes.NewReader(data)); err != nil {
			if !errors.Is(err, ErrForm) && !errors.Is(err, ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		for _, n := range r.View().Nodes() {
			c, err := Encode(&SetNodeStatus{Node: n.Info.ID, Status: api.NodeLost}, 0, "")
			if err != nil {
				t.Fatal(err)
			}
			r.Apply(r.Applied()+1, c)
		}
	})
}
