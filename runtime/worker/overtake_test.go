package worker

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// newBusy is newRestoring with a second exchange, behind which all counts of a key are
// added up, and a sink that is slower than everything before it: the queues are full.
func newBusy(t *testing.T, st store.Storage, seed uint64) *restoring {
	r := newRestoring(t, st)
	r.options = Options{AlignTimeout: 1, Credit: 10_000, Seed: seed}
	r.sink.slow = time.Millisecond
	key, err := operator.NewKey(func(c count) int64 { return c.Key })
	if err != nil {
		t.Fatal(err)
	}
	make := func(s *operator.Setup[int64]) operator.Processor[int64, count, count] {
		all := operator.ValueState[count](s, "all")
		return operator.Processor[int64, count, count]{Each: func(c *operator.Keyed[int64], v count, out *operator.Emitter[count]) {
			was, _ := all.Get()
			now := count{c.Key, was.N + 1, was.Sum + v.N}
			all.Set(now)
			out.Emit(now)
		}}
	}
	declared, err := operator.Declare(make)
	if err != nil {
		t.Fatal(err)
	}
	ops := r.graph.Operators
	sink := ops[2]
	sink.Inputs[0].Edges[0].From = "all"
	r.graph.Operators = append(ops[:2:2], &graph.Operator{ID: "all", Name: "all", Kind: "process",
		Inputs: []graph.Input{{Type: "count", Edges: []graph.Edge{{From: "count",
			Exchange: graph.Exchange{Kind: graph.Hash, Impl: key.Hash}}}}},
		Outputs: []graph.Output{{Type: "count", Impl: operator.EdgeOf[count]()}},
		Impl: &operator.Impl{New: func() operator.Operator {
			return operator.NewProcess(operator.ProcessConfig[int64, count, count]{Key: key, Make: make, Declared: declared})
		}}}, sink)
	return r
}

// busyEpoch takes a checkpoint while records are under way and commits it. It returns
// how many records it has overtaken, and how long it took.
func (r *restoring) busyEpoch(a *attempt, e uint64) (overtaken int64, took time.Duration) {
	a.Helper()
	a.InjectBarrier(&api.InjectBarrier{Attempt: a.number, Epoch: e, Tasks: a.tasks[:a.plan.Chains[0].Parallelism]})
	acked := func() int { a.mu.Lock(); defer a.mu.Unlock(); return len(a.acks[e]) }
	for synctest.Wait(); acked() < len(a.tasks); synctest.Wait() {
		if took > 20*time.Second {
			a.Fatalf("epoch %d: %d of %d tasks have acknowledged: %v", e, acked(), len(a.tasks), a.why)
		}
		time.Sleep(100 * time.Microsecond)
		took += 100 * time.Microsecond
	}
	m := &checkpoint.Manifest{Job: "job", Attempt: a.number, Epoch: e, MaxParallelism: a.plan.MaxParallelism,
		Sources: []checkpoint.SourceSnapshot{{Operator: "src", Done: true, Assigned: []string{"s0", "s1", "s2"}}}}
	for _, ack := range a.acks[e] {
		s, err := checkpoint.DecodeTaskSnapshot(ack.Snapshot)
		if err != nil {
			a.Fatal(err)
		}
		for _, c := range s.Channels {
			overtaken += c.Records
		}
		m.Tasks = append(m.Tasks, *s)
	}
	if err := checkpoint.Balance(flow.Epoch(e), m.Tasks, target(a.plan)); err != nil {
		a.Error(err)
	}
	if err := r.job.Commit(a.Context(), m); err != nil {
		a.Fatal(err)
	}
	a.Committed(&api.Committed{Attempt: a.number, Epoch: e})
	return overtaken, took
}

// TestJobThatIsBehindIsRestored: a job whose queues are full is killed at random
// moments and goes on, with more or fewer subtasks, from epochs that have overtaken
// what was in the queues. Each record counts once.
func TestJobThatIsBehindIsRestored(t *testing.T) {
	var overtaken int64
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 7))
				r := newBusy(t, store.NewMem(nil), seed+1)
				e := uint64(1)
				for range 5 {
					a := r.start(t, 1+rng.IntN(4))
					for i := range rng.IntN(4) {
						r.source.set(min(r.source.get()+int64(rng.IntN(200)), 900))
						time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
						n, took := r.busyEpoch(a, e)
						overtaken += n
						// After a restart what was under way comes before the barrier. Otherwise it
						// waits for the batch that the sink is at, and for no queue.
						if i > 0 && took > 10*time.Millisecond {
							t.Errorf("epoch %d took %v", e, took)
						}
						e++
					}
					time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
					a.kill()
				}
				a := r.start(t, 2)
				r.source.set(1000)
				time.Sleep(10 * time.Second)
				if n, _ := r.busyEpoch(a, e); n > 0 {
					t.Errorf("%d records are still under way", n)
				}
				for k := range int64(50) {
					if got, want := r.sink.of[k], (count{k, 60, 60 * 61 / 2}); got != want {
						t.Errorf("key %d: %+v, not %+v", k, got, want)
					}
				}
				a.kill()
			})
		})
	}
	if t.Logf("%d records were overtaken", overtaken); overtaken < 1000 {
		t.Error("too few records were overtaken; the test does not test much")
	}
}
