//go:build integration

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// topics are those of one job.
type topics struct {
	brokers, in, out string
	client           *kgo.Client
}

func makeTopics(t *testing.T, brokers string) *topics {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	name := fmt.Sprintf("chaos-%d", time.Now().UnixNano())
	k := &topics{brokers: brokers, in: name + "-in", out: name + "-out", client: cl}
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopics(t.Context(), 3, 1, nil, k.in, k.out); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's context has ended by now. Topics that stay do no harm.
		_, _ = adm.DeleteTopics(context.WithoutCancel(t.Context()), k.in, k.out)
	})
	return k
}

func (k *topics) produce(t *testing.T, all []event) {
	t.Helper()
	var records []*kgo.Record
	for _, e := range all {
		value, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, &kgo.Record{Topic: k.in, Key: fmt.Append(nil, e.Key), Value: value})
	}
	if err := k.client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// committed reads what readers of committed records see now.
func (k *topics) committed(t *testing.T) results {
	t.Helper()
	ends, err := kadm.NewClient(k.client).ListCommittedOffsets(t.Context(), k.out)
	if err != nil || ends.Error() != nil {
		t.Fatal(err, ends.Error())
	}
	at, missing := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			at[o.Partition], missing[o.Partition] = kgo.NewOffset().At(0), o.Offset
		}
	})
	got := results{}
	if len(at) == 0 {
		return got
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(k.brokers, ",")...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{k.out: at}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(missing) > 0 {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("reading the results, with %v to come: %v", missing, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if end, ok := missing[r.Partition]; ok && r.Offset >= end-1 {
				delete(missing, r.Partition)
			}
			if !r.Attrs.IsControl() {
				got.add("counts", "%s", r.Value)
			}
		})
	}
	return got
}

// TestRealKills kills a job from Kafka to Kafka, and to files beside it.
func TestRealKills(t *testing.T) {
	brokers := os.Getenv("WEIR_KAFKA")
	if brokers == "" {
		t.Skip("WEIR_KAFKA is not set; start a broker by scripts/kafka/broker and set it to the address")
	}
	job, weir := program(t, "internal/testkit/chaos/job"), program(t, "cmd/weir")
	seeds := uint64(1)
	if whole() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			k, s := makeTopics(t, brokers), drawSchedule(seed)
			s.Parts = []string{"keyed", "timers"}
			s.Slow, s.Pace = 0, 2*time.Second*64/time.Duration(s.Events)
			all := makeEvents(rand.New(rand.NewPCG(seed, 1)), s.Events, s.Keys)
			k.produce(t, all)
			dir := t.TempDir()
			r := &run{schedule: s, t: t, job: job, weir: weir, dir: dir, want: oracle(s.Parts, all, nil),
				out: folder{root: filepath.Join(dir, "out")}, more: []string{"--kafka=" + k.brokers, "--in=" + k.in, "--out=" + k.out}}
			for i, l := range s.Lives {
				if err := r.live(l); err != nil {
					t.Fatalf("life %d: %v\n%s", i+1, err, s)
				}
				if extra := r.want.extra(k.committed(t)); extra != "" {
					t.Fatalf("after life %d a reader of committed records sees: %s\n%s", i+1, extra, s)
				}
			}
			got, err := r.out.look()
			if err != nil {
				t.Fatal(err)
			}
			got["written to Kafka"], r.want["written to Kafka"] = k.committed(t)["counts"], r.want["counts"]
			if d := r.want.differences(got); d != "" {
				t.Fatalf("after %d kills:\n%s\n%s", r.killed, d, s)
			}
			delete(r.want, "written to Kafka")
			if err := r.afterwards(); err != nil {
				t.Fatalf("%v\n%s", err, s)
			}
			t.Logf("%d kills, %d epochs", r.killed, r.newest)
		})
	}
}
