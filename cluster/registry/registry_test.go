package registry

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/weirflow/weir/api"
)

func putSum(to, body []byte) { binary.LittleEndian.PutUint32(to, crc32.Checksum(body, castagnoli)) }

// do applies a command that must be taken.
func do(t *testing.T, r *Registry, c Command) Result {
	t.Helper()
	result := try(t, r, c)
	if err := result.Err(); err != nil {
		t.Fatalf("%s: %v", c.kind(), err)
	}
	return result
}

func try(t *testing.T, r *Registry, c Command) Result {
	t.Helper()
	data, err := Encode(c, int64(r.Applied()), "ann")
	if err != nil {
		t.Fatal(err)
	}
	return r.Apply(r.Applied()+1, data)
}

// TestNewer: a server of an older release meets a command that it does not know.
func TestNewer(t *testing.T) {
	r := New()
	for _, e := range []entry{
		{Level: Level, Kind: "sing", Body: []byte{0x80}},
		{Level: Level + 1, Kind: "add_event", Body: []byte{0x80}},
	} {
		data, err := marshal(&e)
		if err != nil {
			t.Fatal(err)
		}
		result := r.Apply(r.Applied()+1, data)
		if err := result.Err(); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "upgrade") {
			t.Fatal(err)
		}
	}
	if err := r.Behind(); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "entry 1") {
		t.Fatal(err)
	}
	if _, err := r.Snapshot(); !errors.Is(err, ErrNewer) {
		t.Fatalf("a replica that lacks a decision writes a snapshot: %v", err)
	}
	if err := r.Restore(bytes.NewReader(snapshotOf(t, New()))); err != nil || r.Behind() != nil {
		t.Fatal(err, r.Behind())
	}
}

// TestUnknownField: a newer release of the same level has added a field.
func TestUnknownField(t *testing.T) {
	body, err := marshal(map[string]any{"kind": "k", "text": "t", "colour": map[string]any{"deep": []int{1, 2}}})
	if err != nil {
		t.Fatal(err)
	}
	data, err := marshal(map[string]any{"level": 1, "kind": "add_event", "time": 5, "body": body, "more": 3.5})
	if err != nil {
		t.Fatal(err)
	}
	r := New()
	if result := r.Apply(1, data); result.Err() == nil {
		t.Fatal("a body that is bytes, not a map, was taken")
	}
	data, err = marshal(map[string]any{"level": 1, "kind": "add_event", "time": 5, "more": 3.5,
		"body": map[string]any{"kind": "k", "text": "t", "colour": map[string]any{"deep": []int{1, 2}}}})
	if err != nil {
		t.Fatal(err)
	}
	if result := r.Apply(2, data); result.Err() != nil || len(r.View().Events()) != 1 {
		t.Fatal(result)
	}
}

func TestBounds(t *testing.T) {
	r := New()
	long := strings.Repeat("ö", 5000)
	for i := range MaxEvents + 10 {
		do(t, r, &AddEvent{Kind: "k", Text: fmt.Sprint(i, long)})
	}
	events := r.View().Events()
	if len(events) != MaxEvents || !strings.HasPrefix(events[MaxEvents-1].Text, fmt.Sprint(MaxEvents+9)) || len(events[0].Text) > MaxText {
		t.Fatal(len(events), events[len(events)-1].Text)
	}
	for i := range MaxEnded + 20 {
		name := fmt.Sprint("j", i)
		do(t, r, &SubmitJob{Spec: api.JobSpec{Name: name, Parallelism: 1}})
		do(t, r, &PutAllocs{Job: name, At: r.Index(), Status: api.JobCancelled})
	}
	jobs := r.View().Jobs()
	if len(jobs) != MaxEnded || r.View().Job("j0") != nil || r.View().Job(fmt.Sprint("j", MaxEnded+19)) == nil {
		t.Fatal(len(jobs))
	}
	big := api.JobSpec{Name: "big", Parallelism: 1, Args: []string{strings.Repeat("x", MaxSpec)}}
	if result := try(t, r, &SubmitJob{Spec: big}); !errors.Is(result.Err(), ErrLimit) {
		t.Fatal(result)
	}
	for i := range MaxNodes + 5 {
		id := api.NodeID(fmt.Sprint("n", i))
		result := try(t, r, &RegisterNode{Node: api.Node{ID: id, Name: string(id)}})
		if (i >= MaxNodes) != errors.Is(result.Err(), ErrLimit) {
			t.Fatal(i, result.Err())
		}
	}
	do(t, r, &SetNodeStatus{Node: "n7", Status: api.NodeLeft})
	do(t, r, &RegisterNode{Node: api.Node{ID: "new", Name: "new"}})
	if r.View().Node("n7") != nil {
		t.Fatal("the node that left did not make place")
	}
	if _, err := Encode(&AddEvent{Text: strings.Repeat("x", MaxEntry)}, 0, ""); !errors.Is(err, ErrLimit) {
		t.Fatal(err)
	}
}

// TestViewStays: a view is of one moment, and what it hands out is the caller's.
func TestViewStays(t *testing.T) {
	_, r := seeds(t)
	v := r.View()
	before := describe(v, "")
	do(t, r, &SetWish{Job: "j", Wish: api.WishCancel})
	j := v.Job("j")
	j.Versions[0].Spec.Args[0] = "changed"
	v.Node("n1").Info.Tags["a"] = "changed"
	v.Alloc("a").Status.Lines[0] = "changed"
	if describe(v, "") != before || v.Job("j").Spec().Args[0] != "-x" || r.View().Node("n1").Info.Tags["a"] != "b" || r.View().Alloc("a").Status.Lines[0] != "l" {
		t.Fatal("a view has changed")
	}
	if later := r.View(); later != r.View() || later == v {
		t.Fatal("views are not shared, or for too long")
	}
}

func TestWatch(t *testing.T) {
	r := New()
	at := r.Watch(0)
	do(t, r, &AddEvent{Kind: "k"})
	if !isClosed(at) || !isClosed(r.Watch(0)) || isClosed(r.Watch(1)) {
		t.Fatal("watch")
	}
	at = r.Watch(99)
	if err := r.Restore(bytes.NewReader(snapshotOf(t, New()))); err != nil || !isClosed(at) {
		t.Fatal(err)
	}
}

// TestSpoiledSnapshot cuts and spoils one at every byte.
func TestSpoiledSnapshot(t *testing.T) {
	_, r := seeds(t)
	data := snapshotOf(t, r)
	before := describe(r.View(), "")
	for i := range data {
		if err := r.Restore(bytes.NewReader(data[:i])); !errors.Is(err, ErrForm) {
			t.Fatalf("cut off at byte %d: %v", i, err)
		}
		bad := bytes.Clone(data)
		bad[i] ^= 0x40
		if err := r.Restore(bytes.NewReader(bad)); !errors.Is(err, ErrForm) && !errors.Is(err, ErrNewer) {
			t.Fatalf("spoiled at byte %d: %v", i, err)
		}
	}
	if err := r.Restore(bytes.NewReader(append(bytes.Clone(data), 0))); !errors.Is(err, ErrForm) {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := r.Restore(io.MultiReader(bytes.NewReader(data[:50]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if describe(r.View(), "") != before {
		t.Fatal("a snapshot that was refused has changed the state")
	}
	s, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteTo(brokenWriter{broken}); !errors.Is(err, broken) {
		t.Fatal(err)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// TestResultCodes: an error that travels as text is told apart at the other end.
func TestResultCodes(t *testing.T) {
	for code, kind := range codes {
		var r Result
		r.refuse(fmt.Errorf("%w: because", kind))
		if r.Code != code || r.Message != "because" || !errors.Is(r.Err(), kind) {
			t.Errorf("%s: %+v, %v", code, r, r.Err())
		}
	}
	if err := (&Result{Code: "odd", Message: "m"}).Err(); err == nil {
		t.Error("an unknown code is no error")
	}
}

func BenchmarkApply(b *testing.B) {
	r := New()
	index := uint64(0)
	do := func(c Command) {
		data, err := Encode(c, 1, "")
		if err != nil {
			b.Fatal(err)
		}
		index++
		if result := r.Apply(index, data); result.Err() != nil {
			b.Fatal(result.Err())
		}
	}
	for i := range 1000 {
		id := fmt.Sprint("n", i)
		do(&RegisterNode{Node: api.Node{ID: api.NodeID(id), Name: id, Slots: 16}})
	}
	do(&SubmitJob{Spec: api.JobSpec{Name: "j", Parallelism: 1}})
	for i := range 1000 {
		do(&PutAllocs{Job: "j", At: index, Place: []api.Alloc{{ID: api.AllocID(fmt.Sprint("a", i)), Job: "j", Version: 1,
			Node: api.NodeID(fmt.Sprint("n", i)), Slots: 1, Term: uint64(i + 1), Coordinator: true}}})
	}
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		do(&UpdateAllocs{Node: "n7", Statuses: []api.AllocStatus{{Alloc: "a7", State: api.AllocRunning, PID: i + 1}}})
		r.View()
	}
}

// TestSizes logs what a job costs in the log and in a snapshot: docs/design/0009.
func TestSizes(t *testing.T) {
	r := New()
	count, bytes := 0, 0
	do := func(c Command) {
		t.Helper()
		data, err := Encode(c, 1_800_000_000_000_000, "ann")
		if err != nil {
			t.Fatal(err)
		}
		if result := r.Apply(r.Applied()+1, data); result.Err() != nil {
			t.Fatal(c.kind(), result.Err())
		}
		count, bytes = count+1, bytes+len(data)
		t.Logf("%-18s %4d bytes", c.kind(), len(data))
	}
	const executors = 4
	for i := range executors {
		id := fmt.Sprintf("0f3c9a4e%d", i)
		do(&RegisterNode{Node: api.Node{ID: api.NodeID(id), Name: "worker-" + id, Zone: "zone-a", Slots: 8, RPC: "10.0.0.17:7400", HTTP: "10.0.0.17:7403", Version: "0.5.0"}})
	}
	nodes := r.View().Nodes()
	count, bytes = 0, 0
	do(&PutArtifact{Hash: hashes[0], Size: 30 << 20})
	do(&SubmitJob{Request: "8e4e28a6b8d94cbb", Spec: api.JobSpec{Name: "clickstream", Artifact: hashes[0], Parallelism: 16,
		Args: []string{"--from", "kafka://broker-1:9092/clicks", "--window", "10s"}, State: "s3://bucket/clickstream"}})
	put := &PutAllocs{Job: "clickstream", At: r.Index(), Status: api.JobStarting}
	for i, n := range nodes {
		put.Place = append(put.Place, api.Alloc{ID: api.AllocID(fmt.Sprint("clickstream-1-", i)), Job: "clickstream", Node: n.Info.ID,
			Version: 1, Coordinator: i == 0, Slots: 4, Term: 1})
	}
	do(put)
	for i, n := range nodes {
		s := api.AllocStatus{Alloc: put.Place[i].ID, State: api.AllocRunning, PID: 4711, Data: "10.0.0.17:41234"}
		if i == 0 {
			s.Control, s.Job = "10.0.0.17:41235", &api.JobReport{Status: api.JobRunning, Attempt: 1, Slots: 16}
		}
		do(&UpdateAllocs{Node: n.Info.ID, Statuses: []api.AllocStatus{s}})
	}
	do(&SetWish{Job: "clickstream", Wish: api.WishCancel})
	for i, n := range nodes {
		s := api.AllocStatus{Alloc: put.Place[i].ID, State: api.AllocEnded}
		if i == 0 {
			s.Job = &api.JobReport{Status: api.JobCancelled, Attempt: 1, Epoch: 90, Slots: 16}
		}
		do(&UpdateAllocs{Node: n.Info.ID, Statuses: []api.AllocStatus{s}})
	}
	t.Logf("a job of %d executors: %d entries, %d bytes; snapshot of all: %d bytes", executors, count, bytes, len(snapshotOf(t, r)))
}
