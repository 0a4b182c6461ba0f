package task

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/local"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// choppy is a writer that has no credit when the task looks after a batch, and has
// some when it looks again.
type choppy struct {
	*shuffle.Router[int]
	spent bool
}

func (c *choppy) Receive(b *flow.Batch[int]) error { c.spent = true; return c.Router.Receive(b) }

func (c *choppy) Available() bool {
	was := c.spent
	c.spent = false
	return !was
}

// The credit of the batch that a gate gave last comes back with the next look at
// the gate. A task whose own credit comes back between its last step and its sleep
// must therefore look once more, though its gate seems to be empty: its producer
// waits for that credit, and would for ever.
func TestTaskGivesCreditBackBeforeItSleeps(t *testing.T) {
	in, senders := local.NewGate[int](1, local.Options{Credit: 1})
	out, outSenders := local.NewGate[int](1, local.Options{})
	defer out.Close()
	op := &graph.Operator{ID: "op", Name: "op", Impl: &operator.Impl{New: func() operator.Operator {
		return operator.NewMap(func(v int) int { return v })
	}}}
	task, err := New(t.Context(), Config{
		ID: flow.TaskID{Chain: "op"}, Chain: &graph.Chain{ID: "op", Parallelism: 1, Operators: []*graph.Operator{op}},
		MaxParallelism: 8, BatchSize: 8, Registry: &obs.Registry{},
		Log: slog.New(slog.DiscardHandler), Now: func() flow.Time { return 0 },
		State:  func(context.Context) (state.Store, error) { return memory.New(memory.Options{}), nil },
		Inputs: []Input{{Gate: in}},
		Outputs: []Output{{From: "op", Open: func(ctx context.Context) (shuffle.Writer, error) {
			return &choppy{Router: shuffle.NewForward(ctx, outSenders[0], shuffle.RouterOptions[int]{})}, nil
		}}},
		Listener: Listener{Running: func() {}, Drained: func() {}, Ack: func(flow.Epoch, []checkpoint.Committable, *checkpoint.TaskSnapshot) {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- task.Run() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for i := range 20 {
		b := senders[0].Buffer()
		b.Values = append(b.Values, i)
		if err := senders[0].Send(ctx, b, 1); err != nil {
			t.Fatalf("batch %d: %v: the task sleeps on the credit of the one before", i, err)
		}
	}
	task.Finish()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
