//go:build integration

package kafka_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirflow/weir/connector/collect/sourcetest"
	"github.com/weirflow/weir/connector/kafka"
	"github.com/weirflow/weir/flow"
)

// realTopic takes the broker at WEIR_KAFKA and makes a topic of two
// partitions on it, which is removed at the end.
func realTopic(t *testing.T, configs map[string]string) (brokers []string, topic string) {
	t.Helper()
	addr := os.Getenv("WEIR_KAFKA")
	if addr == "" {
		t.Skip("WEIR_KAFKA is not set; start a broker by scripts/kafka/broker and set it to the address")
	}
	brokers = strings.Split(addr, ",")
	adm := kadm.NewClient(client(t, brokers))
	topic = fmt.Sprintf("weir-%s-%d", strings.ReplaceAll(t.Name(), "/", "-"), time.Now().UnixNano())
	values := map[string]*string{}
	for k, v := range configs {
		values[k] = &v
	}
	if _, err := adm.CreateTopic(t.Context(), 2, 1, values, topic); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's context has ended by now. A topic that stays does no harm.
		_, _ = adm.DeleteTopic(context.WithoutCancel(t.Context()), topic)
	})
	until(t, "the topic to have leaders", func() bool {
		offsets, err := adm.ListEndOffsets(t.Context(), topic)
		return err == nil && offsets.Error() == nil && len(offsets[topic]) == 2
	})
	return brokers, topic
}

func TestRealSinkAndSource(t *testing.T) {
	b, topic := realTopic(t, nil)
	const n = 50_000
	w := newWriter(t, kafka.Sink(b, topic, kafka.ToString(), kafka.AtLeastOnce()))
	var batch flow.Batch[string]
	for i := range n {
		batch.Append(fmt.Sprint(i), flow.Time(i)*1000)
		if batch.Len() == 1000 {
			if err := w.Write(&batch); err != nil {
				t.Fatal(err)
			}
			batch.Reset()
		}
	}
	if _, err := w.Prepare(flow.Barrier{Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	src := source(b, []string{topic}, kafka.EndLatest())
	o := real()
	o.Max, o.Readers = 1024, 2
	j := sourcetest.Start(t, src, o, nil)
	j.Read(n / 3)
	state := j.Snapshot()
	j.Close()
	k := sourcetest.Start(t, src, o, state)
	k.ReadAll()
	all := append(j.Values(), k.Values()...)
	slices.Sort(all)
	if len(all) != n || len(slices.Compact(all)) != n {
		t.Fatalf("%d records of %d", len(all), n)
	}
}

func TestRealStartAndEnd(t *testing.T) {
	b, topic := realTopic(t, nil)
	produce(t, b, topic, 0, numbers(0, 6)...)
	expect(t, source(b, []string{topic}, kafka.StartAt(time.Unix(1001, 0)), kafka.EndAt(time.Unix(1004, 0))),
		map[string][]string{topic + "/0": {"1", "2", "3"}})
	expect(t, source(b, nil, kafka.Pattern(topic), kafka.EndLatest()), map[string][]string{topic + "/0": numbers(0, 6)})
	sourcetest.Resume(t, source(b, []string{topic}, kafka.EndLatest()), 7)
}

func TestRealTransactionMarkersAtTheEnd(t *testing.T) {
	b, topic := realTopic(t, nil)
	tx := client(t, b, kgo.TransactionalID(topic))
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		r := &kgo.Record{Topic: topic, Partition: 0, Value: fmt.Append(nil, i)}
		if err := tx.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := tx.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, source(b, []string{topic}, kafka.EndLatest()), map[string][]string{topic + "/0": {"0"}})
}

func TestRealExactlyOnce(t *testing.T) {
	b, topic := realTopic(t, nil)
	testExactlyOnce(t, b, topic)
}

func TestRealKills(t *testing.T) {
	b, topic := realTopic(t, nil)
	testKills(t, b, topic, 10)
}

func TestRealZombie(t *testing.T) {
	b, topic := realTopic(t, nil)
	testZombie(t, b, topic)
}

// A transaction that takes longer than the brokers wait is aborted by them, and the
// epoch is written again.
func TestRealTransactionTimeout(t *testing.T) {
	b, topic := realTopic(t, nil)
	slow := true
	sink := kafka.Sink(b, topic, kafka.ToString(), kafka.TransactionTimeout(time.Second), kafka.Step(func(s string) error {
		if s == "flushed" && slow {
			slow = false
			// The coordinator looks for transactions that are too old every 10 s.
			adm := kadm.NewClient(client(t, b))
			until(t, "the transaction to be aborted", func() bool {
				d, err := adm.DescribeTransactions(t.Context(), "weir-"+topic+"-out")
				return err == nil && d["weir-"+topic+"-out"].State == "CompleteAbort"
			})
		}
		return nil
	}))
	j := newJob(topic)
	must(t, j.Start(t.Context(), sink))
	epoch(t, j, numbers(0, 100)...)
	j.Stop()
	if slow {
		t.Fatal("no transaction was slow")
	}
	wantRecords(t, b, topic, numbers(0, 100))
}

// Readers of committed records, and other writers of the topic, go on while a job
// stands still in the middle of an epoch.
func TestRealReadersAreNotHeldUp(t *testing.T) {
	b, topic := realTopic(t, nil)
	j := newJob(topic)
	must(t, j.Start(t.Context(), kafka.Sink(b, topic, kafka.ToString())))
	epoch(t, j, "1")
	must(t, j.Write(numbers(1000, 2000)...))
	produce(t, b, topic, 0, "2")
	wantRecords(t, b, topic, []string{"1", "2"})
	j.Stop()
}

func TestRealOutage(t *testing.T) {
	b, topic := realTopic(t, nil)
	w := &wire{}
	j := sourcetest.Start(t, source(b, []string{topic}, kafka.Dialer(w.dial), kafka.Discover(0)), real(), nil)
	produce(t, b, topic, 0, numbers(0, 10)...)
	j.Read(10)
	for i := range 3 {
		w.set(true)
		produce(t, b, topic, 0, numbers(10+10*i, 20+10*i)...)
		w.set(false)
		j.Read(20 + 10*i)
	}
	if got := j.Values(); !slices.Equal(got, numbers(0, 40)) {
		t.Fatal(got)
	}
}

func TestRealRetentionIsAnError(t *testing.T) {
	b, topic := realTopic(t, nil)
	produce(t, b, topic, 0, numbers(0, 10)...)
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: 5, LeaderEpoch: -1})
	if _, err := kadm.NewClient(client(t, b)).DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	at := kafka.StartOffsets(map[kafka.Partition]int64{{Topic: topic, Partition: 0}: 2})
	err := sourcetest.Start(t, source(b, []string{topic}, at, kafka.EndLatest()), real(), nil).Fail()
	if err == nil || !strings.Contains(err.Error(), "retention") {
		t.Fatal(err)
	}
}

// WEIR_KAFKA_RESTART is a command that restarts the broker, such as
// "scripts/kafka/broker restart DIR".
func TestRealRestart(t *testing.T) {
	command := strings.Fields(os.Getenv("WEIR_KAFKA_RESTART"))
	if len(command) == 0 {
		t.Skip("WEIR_KAFKA_RESTART is not set; set it to a command that restarts the broker")
	}
	b, topic := realTopic(t, nil)
	l := &log{}
	o := real()
	o.Log = slog.New(l)
	j := sourcetest.Start(t, source(b, []string{topic}), o, nil)
	produce(t, b, topic, 0, numbers(0, 100)...)
	w := newWriter(t, kafka.Sink(b, topic, kafka.ToString(), kafka.AtLeastOnce(),
		kafka.Partitioner(func(string, []byte, []byte, int) int { return 0 })))
	j.Read(50)
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// The writer was connected before, and goes on too.
	if err := w.Write(&flow.Batch[string]{Values: numbers(100, 200)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Prepare(flow.Barrier{Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	j.Read(200)
	if got := j.Values(); !slices.Equal(got, numbers(0, 200)) {
		t.Fatal(got)
	}
	t.Log(l.lines)
}
