//go:build integration

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirflow/weir/examples/internal/exampletest"
	"github.com/weirflow/weir/sdk/run"
)

// realTopic makes a topic of two partitions on the broker at WEIR_KAFKA.
func realTopic(t *testing.T) (brokers, topic string) {
	t.Helper()
	brokers = os.Getenv("WEIR_KAFKA")
	if brokers == "" {
		t.Skip("WEIR_KAFKA is not set; start a broker by scripts/kafka/broker and set it to the address")
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	adm := kadm.NewClient(cl)
	topic = fmt.Sprintf("clicks-%d", time.Now().UnixNano())
	if _, err := adm.CreateTopic(t.Context(), 2, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's context has ended by now. A topic that stays does no harm.
		_, _ = adm.DeleteTopic(context.WithoutCancel(t.Context()), topic)
	})
	return brokers, topic
}

func TestRealBounded(t *testing.T) {
	brokers, topic := realTopic(t)
	produce(t, brokers, topic, shipped(t))
	bounded(t, brokers, topic)
}

func TestRealUnbounded(t *testing.T) { realUnbounded(t, func() {}) }

// TestRealRestart restarts the broker while the job reads from it.
func TestRealRestart(t *testing.T) {
	command := strings.Fields(os.Getenv("WEIR_KAFKA_RESTART"))
	if len(command) == 0 {
		t.Skip("WEIR_KAFKA_RESTART is not set; set it to a command that restarts the broker")
	}
	realUnbounded(t, func() {
		if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
}

func realUnbounded(t *testing.T, between func()) {
	for _, parallelism := range []int{1, 2} {
		t.Run(fmt.Sprintf("parallelism=%d", parallelism), func(t *testing.T) {
			brokers, topic := realTopic(t)
			clicks, dir := shipped(t), t.TempDir()
			half := len(clicks) / 2
			produce(t, brokers, topic, clicks[:half])
			o := run.Options{Parallelism: parallelism, Epoch: 100 * time.Millisecond}
			exampletest.UnboundedNow(t, o, job(config{brokers: brokers, topic: topic}, dir), pause,
				func() bool { return len(exampletest.Lines(t, filepath.Join(dir, "minutes"))) > 20 },
				func() bool {
					between()
					produce(t, brokers, topic, clicks[half:])
					finish(t, brokers, topic)
					return true
				},
				complete(t, dir),
			)
			same(t, dir)
		})
	}
}
