package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirflow/weir/connector/collect/sinktest"
	"github.com/weirflow/weir/connector/collect/sourcetest"
	"github.com/weirflow/weir/connector/kafka"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// committed reads the committed records of topics.
func committed(t *testing.T, brokers []string, topics ...string) []string {
	t.Helper()
	j := sourcetest.Start(t, source(brokers, topics, kafka.EndLatest()), real(), nil)
	j.ReadAll()
	j.Close()
	all := j.Values()
	slices.Sort(all)
	return all
}

func newJob(name string) *sinktest.Job[string] {
	return &sinktest.Job[string]{Name: flow.JobID(name), Staging: &sinktest.Staging{}, Subtasks: 2}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// epoch writes and commits an epoch, which must succeed.
func epoch(t *testing.T, j *sinktest.Job[string], values ...string) {
	t.Helper()
	must(t, j.Write(values...))
	_, err := j.End(t.Context())
	must(t, err)
}

func wantRecords(t *testing.T, brokers []string, topic string, want []string) {
	t.Helper()
	want = slices.Sorted(slices.Values(want))
	if got := committed(t, brokers, topic); !slices.Equal(got, want) {
		t.Fatalf("read %q, want %q", got, want)
	}
}

func testExactlyOnce(t *testing.T, b []string, topic string) {
	sink := kafka.Sink(b, topic, kafka.ToString())
	if g := sink.Info().Guarantee; g != graph.ExactlyOnce {
		t.Error(g)
	}
	j := newJob(topic)
	must(t, j.Start(t.Context(), sink))
	must(t, j.Write(numbers(0, 100)...))
	wantRecords(t, b, topic, nil)
	_, err := j.End(t.Context())
	must(t, err)
	wantRecords(t, b, topic, numbers(0, 100))
	for range 3 { // repeats
		must(t, j.Committer.Commit(t.Context(), j.Epoch, j.Prepared))
	}
	if n, err := j.Committer.(operator.Auditor).Records(j.Prepared); n != 100 || err != nil {
		t.Error(n, err)
	}
	epoch(t, j) // without records
	epoch(t, j, numbers(100, 200)...)
	for range 3 { // attempts that only repeat
		must(t, j.Start(t.Context(), sink))
	}
	epoch(t, j, numbers(200, 210)...)
	wantRecords(t, b, topic, numbers(0, 210))
	j.Stop()

	// A run that begins anew, with attempts and epochs that have been before.
	k := newJob(topic)
	must(t, k.Start(t.Context(), sink))
	epoch(t, k, numbers(210, 220)...)
	wantRecords(t, b, topic, numbers(0, 220))
	// Back to an older checkpoint, by a person: what is written again comes again.
	k.Attempt, k.Epoch, k.Prepared = 7, 0, nil
	must(t, k.Start(t.Context(), sink))
	epoch(t, k, numbers(220, 230)...)
	wantRecords(t, b, topic, numbers(0, 230))
	k.Stop()
}

func TestExactlyOnce(t *testing.T) {
	t.Parallel()
	testExactlyOnce(t, cluster(t, "out"), "out")
}

var steps = []string{"connected", "initialised", "read", "claimed", "begun", "file", "flushed", "marked", "ended"}

// testKills kills the process between any two steps, over and over, and goes on.
func testKills(t *testing.T, b []string, topic string, seeds uint64) {
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 3))
		name := fmt.Sprintf("%s-%d", topic, seed)
		adm := kadm.NewClient(client(t, b))
		if _, err := adm.CreateTopic(t.Context(), 2, 1, nil, name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = adm.DeleteTopic(context.WithoutCancel(t.Context()), name) })
		left := 8 // kills
		kill := func(string) error {
			if left > 0 && rng.IntN(10) == 0 {
				left--
				return kafka.ErrKilled
			}
			return nil
		}
		sink := kafka.Sink(b, name, kafka.ToString(), kafka.Step(kill))
		j := newJob(name)
		j.BeforeManifest = func() error { return kill("manifest") }
		var want []string
		running := false
		for n := 0; n < 8; {
			var err error
			if !running {
				if err = j.Start(t.Context(), sink); err == nil {
					running = true
				}
			} else {
				values := numbers(10*n, 10*n+1+rng.IntN(9))
				must(t, j.Write(values...))
				var in bool
				if in, err = j.End(t.Context()); in {
					want = append(want, values...)
					n++
				}
			}
			if err != nil {
				if !errors.Is(err, kafka.ErrKilled) {
					t.Fatalf("seed %d: %v", seed, err)
				}
				running = false
			}
		}
		if !running {
			must(t, j.Start(t.Context(), sink))
		}
		j.Stop()
		wantRecords(t, b, name, want)
	}
}

func TestKilledBetweenSteps(t *testing.T) {
	t.Parallel()
	testKills(t, cluster(t), "k", 25)
}

// Each step once, by name: what the next attempt makes of it, and that it was there.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	b := cluster(t, steps...)
	for _, step := range steps {
		armed, killed := false, false
		sink := kafka.Sink(b, step, kafka.ToString(), kafka.Step(func(s string) error {
			if armed && s == step {
				armed, killed = false, true
				return kafka.ErrKilled
			}
			return nil
		}))
		j := newJob(step)
		must(t, j.Start(t.Context(), sink))
		epoch(t, j, "1", "2")
		j.Stop()
		armed = true
		if err := j.Start(t.Context(), sink); err != nil {
			must(t, j.Start(t.Context(), sink))
		}
		must(t, j.Write("3", "4"))
		if _, err := j.End(t.Context()); err != nil {
			must(t, j.Start(t.Context(), sink))
		}
		j.Stop()
		if !killed {
			t.Errorf("%s: it was never come to", step)
		}
		wantRecords(t, b, step, numbers(1, 5))
	}
}

// testZombie lets an attempt that was replaced go on.
func testZombie(t *testing.T, b []string, topic string) {
	var old *sinktest.Job[string]
	var next *sinktest.Job[string]
	armed := false
	plain := kafka.Sink(b, topic, kafka.ToString())
	sink := kafka.Sink(b, topic, kafka.ToString(), kafka.Step(func(s string) error {
		if !armed || s != "marked" {
			return nil
		}
		// The epoch is in the manifest and its transaction is open: the host stands
		// still, a new attempt begins and goes on; then the host wakes up.
		armed = false
		next = &sinktest.Job[string]{Name: old.Name, Staging: old.Staging, Attempt: old.Attempt, Epoch: old.Epoch, Prepared: old.Prepared}
		must(t, next.Start(t.Context(), plain))
		epoch(t, next, "next")
		return nil
	}))
	old = newJob(topic)
	must(t, old.Start(t.Context(), sink))
	epoch(t, old, "1")
	armed = true
	must(t, old.Write("2"))
	if _, err := old.End(t.Context()); !errors.Is(err, kafka.ErrReplaced) || flow.FailureOf(err).Retryable {
		t.Fatalf("the zombie: %v", err)
	}
	// It does not give up.
	for e := range flow.Epoch(4) {
		if err := old.Committer.Commit(t.Context(), old.Epoch+e, old.Prepared); !errors.Is(err, kafka.ErrReplaced) {
			t.Fatalf("the zombie, again: %v", err)
		}
	}
	epoch(t, next, "last")
	wantRecords(t, b, topic, []string{"1", "2", "next", "last"})
	next.Stop()
	old.Stop()
}

func TestZombie(t *testing.T) {
	t.Parallel()
	testZombie(t, cluster(t, "out"), "out")
}

// A job that is started from another's savepoint commits what that one had prepared,
// which may have been done, under that one's mark.
func TestStartedFromAnothersSavepoint(t *testing.T) {
	t.Parallel()
	b := cluster(t, "out")
	sink := kafka.Sink(b, "out", kafka.ToString())
	a := newJob("a")
	must(t, a.Start(t.Context(), sink))
	epoch(t, a, "1")
	c := &sinktest.Job[string]{Name: "c", Staging: a.Staging, Epoch: a.Epoch, Prepared: a.Prepared}
	must(t, c.Start(t.Context(), sink))
	epoch(t, c, "c")
	epoch(t, a, "2") // the first one goes on, not fenced off
	must(t, c.Start(t.Context(), sink))
	wantRecords(t, b, "out", []string{"1", "2", "c"})
	a.Stop()
	c.Stop()
}

// Topics that only the messages name.
func TestExactlyOnceToManyTopics(t *testing.T) {
	t.Parallel()
	b := cluster(t, "x", "y", "z")
	sink := kafka.Sink(b, "", func(s string) (kafka.Message, error) {
		return kafka.Message{Topic: s[:1], Key: []byte(s), Value: []byte(s), Headers: []kafka.Header{{Key: "h"}, {Key: "i", Value: []byte(s)}}}, nil
	})
	j := newJob("many")
	must(t, j.Start(t.Context(), sink))
	must(t, j.Start(t.Context(), sink))
	epoch(t, j, "y1", "x1")
	must(t, j.Start(t.Context(), sink))
	epoch(t, j, "z1", "z2")
	must(t, j.Start(t.Context(), sink))
	j.Stop()
	if got := committed(t, b, "x", "y", "z"); !slices.Equal(got, []string{"x1", "y1", "z1", "z2"}) {
		t.Fatal(got)
	}
	r := sourcetest.Start(t, kafka.Source(b, []string{"x"}, kafka.Records(), kafka.EndLatest()), real(), nil)
	r.ReadAll()
	if m := r.Records[0].Value; string(m.Key) != "x1" || len(m.Headers) != 2 || m.Headers[0].Value != nil || string(m.Headers[1].Value) != "x1" {
		t.Errorf("%+v", m)
	}
}

func TestUnknownEpoch(t *testing.T) {
	t.Parallel()
	b := cluster(t, "out")
	adm := kadm.NewClient(client(t, b))
	j := newJob("job")
	must(t, j.Start(t.Context(), kafka.Sink(b, "out", kafka.ToString())))
	epoch(t, j, "1")
	j.Stop()
	for _, c := range []struct {
		opts []kafka.SinkOption
		want []string
	}{
		{nil, []string{"1"}},
		{[]kafka.SinkOption{kafka.IfUnknown(kafka.UnknownSkips)}, []string{"1"}},
		{[]kafka.SinkOption{kafka.IfUnknown(kafka.UnknownWrites)}, []string{"1", "1"}},
	} {
		if _, err := adm.DeleteGroup(t.Context(), "weir-job-out"); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			t.Fatal(err)
		}
		err := j.Start(t.Context(), kafka.Sink(b, "out", kafka.ToString(), c.opts...))
		if c.opts == nil {
			if !errors.Is(err, kafka.ErrUnknown) || flow.FailureOf(err).Retryable || !strings.Contains(err.Error(), "IfUnknown") {
				t.Fatal(err)
			}
		} else {
			must(t, err)
		}
		j.Stop()
		wantRecords(t, b, "out", c.want)
	}
}

func TestDamagedStagedFile(t *testing.T) {
	t.Parallel()
	b := cluster(t, "out")
	sink := kafka.Sink(b, "out", kafka.ToString())
	for name, damage := range map[string]func([]byte) []byte{
		"bit":   func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"magic": func(b []byte) []byte { b[0]++; return b },
		"torn":  func(b []byte) []byte { return b[:len(b)-3] },
		"short": func(b []byte) []byte { return b[:8] },
		"empty": func([]byte) []byte { return nil },
	} {
		j := newJob(name)
		j.Staging.Unchecked = true
		must(t, j.Start(t.Context(), sink))
		must(t, j.Write(numbers(0, 1000)...))
		j.Staging.Damage = damage
		if _, err := j.End(t.Context()); err == nil || !strings.Contains(err.Error(), "damaged") || flow.FailureOf(err).Retryable {
			t.Errorf("%s: %v", name, err)
		}
		j.Stop()
	}
	wantRecords(t, b, "out", nil)
}

func fake(t *testing.T, brokers int, topics ...string) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(brokers), kfake.SeedTopics(2, topics...))
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

// The answer to a request is lost, or is an error, once; the request is done or not.
func TestAnswersLost(t *testing.T) {
	t.Parallel()
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.EndTxn, kmsg.TxnOffsetCommit, kmsg.AddOffsetsToTxn, kmsg.InitProducerID, kmsg.OffsetFetch, kmsg.AddPartitionsToTxn} {
		t.Run(key.Name(), func(t *testing.T) {
			t.Parallel()
			c := fake(t, 2, "out")
			b := c.ListenAddrs()
			sink := kafka.Sink(b, "out", kafka.ToString())
			j := newJob("job")
			var want []string
			must(t, j.Start(t.Context(), sink))
			for n := range 4 {
				c.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
					return nil, errors.New("cut the connection"), true
				})
				values := numbers(10*n, 10*n+10)
				want = append(want, values...)
				must(t, j.Write(values...))
				if _, err := j.End(t.Context()); err != nil {
					t.Logf("epoch %d: %v", n, err)
					must(t, j.Start(t.Context(), sink))
				}
				c.RehashCoordinators()
				if n%2 == 1 {
					must(t, j.Start(t.Context(), sink))
				}
			}
			j.Stop()
			wantRecords(t, b, "out", want)
		})
	}
}

// EndTxn is carried out and its answer lost: it must be found out that it was.
func TestCommitAnswerLost(t *testing.T) {
	t.Parallel()
	c := fake(t, 1, "out")
	b := c.ListenAddrs()
	w := &wire{}
	lose := false
	sink := kafka.Sink(b, "out", kafka.ToString(), kafka.Dialer(w.dial), kafka.Step(func(s string) error {
		if s == "marked" && lose {
			lose = false
			var once sync.Once // a control stays until it has answered
			c.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
				once.Do(func() { w.set(false) }) // the request was taken, the way back is cut
				return nil, nil, false
			})
		}
		return nil
	}))
	j := newJob("job")
	must(t, j.Start(t.Context(), sink))
	epoch(t, j, "1", "2")
	lose = true
	epoch(t, j, "3", "4")
	if lose {
		t.Fatal("no answer was lost")
	}
	epoch(t, j, "5")
	j.Stop()
	wantRecords(t, b, "out", numbers(1, 6))
}

// The brokers abort a transaction that takes too long, or fence it off.
func TestTransactionFenced(t *testing.T) {
	t.Parallel()
	b := cluster(t, "out")
	times := 0
	sink := kafka.Sink(b, "out", kafka.ToString(), kafka.Step(func(s string) error {
		if s == "flushed" && times > 0 {
			times--
			other := client(t, b, kgo.TransactionalID("weir-job-out"))
			_, _, err := other.ProducerID(t.Context())
			must(t, err)
		}
		return nil
	}))
	j := newJob("job")
	must(t, j.Start(t.Context(), sink))
	times = 2
	epoch(t, j, "1", "2")
	times = 100
	must(t, j.Write("3"))
	_, err := j.End(t.Context())
	if f := flow.FailureOf(err); err == nil || !f.Retryable || !strings.Contains(err.Error(), "TransactionTimeout") {
		t.Fatal(err)
	}
	times = 0
	must(t, j.Start(t.Context(), sink))
	j.Stop()
	wantRecords(t, b, "out", numbers(1, 4))
}

func TestTopicGoneBeforeCommit(t *testing.T) {
	t.Parallel()
	b := cluster(t, "out")
	adm := kadm.NewClient(client(t, b))
	sink := kafka.Sink(b, "out", kafka.ToString())
	j := newJob("job")
	must(t, j.Start(t.Context(), sink))
	epoch(t, j, "1")
	must(t, j.Write("2"))
	if _, err := adm.DeleteTopic(t.Context(), "out"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := j.End(ctx)
	if err == nil || flow.FailureOf(err).Retryable || !errors.Is(err, kerr.UnknownTopicOrPartition) && !errors.Is(err, kafka.ErrUnknown) {
		t.Fatal(err)
	}
	j.Stop()
	if err := j.Start(t.Context(), sink); err == nil {
		t.Fatal("it started without its topic")
	}
	j.Stop()
}

func BenchmarkStaging(b *testing.B) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "a"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	sink := kafka.Sink(c.ListenAddrs(), "a", func(v []byte) (kafka.Message, error) { return kafka.Message{Value: v}, nil })
	j := &sinktest.Job[[]byte]{Name: "job", Staging: &sinktest.Staging{}}
	if err := j.Start(b.Context(), sink); err != nil {
		b.Fatal(err)
	}
	defer j.Stop()
	values := make([][]byte, 1024)
	for i := range values {
		values[i] = fmt.Appendf(nil, "%0100d", i)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := j.Write(values...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/record")
}
