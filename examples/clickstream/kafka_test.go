package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirflow/weir/examples/internal/exampletest"
	"github.com/weirflow/weir/sdk/run"
)

// shipped are the lines of the shipped files, in their order.
func shipped(t *testing.T) (lines []string) {
	t.Helper()
	files, err := filepath.Glob(input + "/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatal("no shipped clicks", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(strings.TrimSpace(string(data)), "\n")...)
	}
	return lines
}

// produce writes clicks to a topic: those of a user to one partition, in order.
func produce(t *testing.T, brokers, topic string, clicks []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var records []*kgo.Record
	for _, line := range clicks {
		var c Click
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		records = append(records, &kgo.Record{Key: []byte(c.User), Value: []byte(line), Timestamp: c.Time})
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// finish writes a click of the next day to each of the two partitions: windows
// wait for all partitions.
func finish(t *testing.T, brokers, topic string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	line, err := json.Marshal(later)
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(2) {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Partition: p, Value: line, Timestamp: later.Time}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// pause lets a broker and a job in other goroutines or processes get on.
func pause() { <-time.After(20 * time.Millisecond) }

// bounded reads what a topic holds. There must be nothing else in it than the
// shipped clicks.
func bounded(t *testing.T, brokers, topic string) {
	exampletest.EveryWay(t, func(t *testing.T, o run.Options) {
		dir := t.TempDir()
		exampletest.Bounded(t, o, job(config{brokers: brokers, topic: topic, until: "latest"}, dir))
		same(t, dir)
	})
}

func fakeTopic(t *testing.T) (brokers, topic string) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "clicks"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return strings.Join(c.ListenAddrs(), ","), "clicks"
}

func TestKafkaBounded(t *testing.T) {
	brokers, topic := fakeTopic(t)
	produce(t, brokers, topic, shipped(t))
	bounded(t, brokers, topic)
}

// TestKafkaUntil ends before the clicks of a time.
func TestKafkaUntil(t *testing.T) {
	brokers, topic := fakeTopic(t)
	produce(t, brokers, topic, shipped(t))
	finish(t, brokers, topic)
	dir := t.TempDir()
	exampletest.Bounded(t, run.Options{}, job(config{brokers: brokers, topic: topic, until: "2026-01-15T23:00:00Z"}, dir))
	same(t, dir)
}

func TestKafkaUnbounded(t *testing.T) {
	brokers, topic := fakeTopic(t)
	clicks := shipped(t)
	half := len(clicks) / 2
	produce(t, brokers, topic, clicks[:half])
	dir := t.TempDir()
	o := run.Options{Parallelism: 2, Epoch: 50 * time.Millisecond}
	exampletest.UnboundedNow(t, o, job(config{brokers: brokers, topic: topic}, dir), pause,
		func() bool { return len(exampletest.Lines(t, filepath.Join(dir, "minutes"))) > 20 },
		func() bool {
			produce(t, brokers, topic, clicks[half:])
			finish(t, brokers, topic)
			return true
		},
		complete(t, dir),
	)
	same(t, dir)
}
