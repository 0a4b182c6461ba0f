package node_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A job that is stopped before its tasks run is never in the state Running. Its
// last epoch must start all the same.
func TestStopWhileDeploying(t *testing.T) {
	p := sdk.New("stopped")
	sdk.Write(sdk.Read(p, slice.Of(1, 2, 3).Unbounded()), collect.New[int]())
	g, err := p.Graph()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := graph.Build(g, graph.PlanOptions{Parallelism: 2})
	if err != nil {
		t.Fatal(err)
	}
	e, err := node.NewEmbedded(plan, node.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	e.Stop() // is heard when the first task is asked for, before any can run
	if err := e.Run(ctx); !errors.Is(err, scheduler.ErrStopped) {
		t.Fatal(err)
	}
}
