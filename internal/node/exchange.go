package node

import (
	"context"
	"net"
	"path/filepath"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/runtime/worker"
)

// exchange is where a process receives partitions of other processes of its job.
type exchange struct {
	listener net.Listener
	addr     string
}

func newExchange(m *Member) (*exchange, error) {
	l, err := m.listen()
	if err != nil {
		return nil, err
	}
	return &exchange{l, l.Addr().String()}, nil
}

func (x *exchange) close() { x.listener.Close() }

// worker makes a worker whose tasks have their state in d and end with ctx.
func (x *exchange) worker(ctx context.Context, d *durable, plan *graph.Plan, s api.Scheduler) *worker.Worker {
	o := d.working(plan, s)
	return worker.New(ctx, o)
}

// workDirOf is where a member has the files of its tasks.
func workDirOf(m *Member) string { return filepath.Join(m.Dir, "work") }
