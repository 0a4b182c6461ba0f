package node

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/runtime/worker"
	"github.com/weirflow/weir/shuffle/wire"
)

// exchange is where a process receives partitions of other processes of its job.
type exchange struct {
	*wire.Endpoint
	addr string
}

func newExchange(m *Member, log *slog.Logger) (*exchange, error) {
	l, err := m.listen()
	if err != nil {
		return nil, err
	}
	e := wire.New(wire.Options{
		Listener: l, Dial: m.Network.Dial, Job: m.Hello.Job, Name: "executor " + string(m.Hello.Alloc), ServerTLS: m.ServerTLS, ClientTLS: m.ClientTLS,
		Refused: func(peer string, err error) { log.Warn("a connection of partitions ended", "peer", peer, "why", err) },
	})
	return &exchange{e, l.Addr().String()}, nil
}

func (x *exchange) closeOr(log *slog.Logger) {
	if err := x.Close(); err != nil {
		log.Warn("closing the exchange of partitions", "err", err)
	}
}

// worker makes a worker whose tasks have their state in d and end with ctx.
func (x *exchange) worker(ctx context.Context, d *durable, plan *graph.Plan, s api.Scheduler, at *agents) waited {
	o := d.working(plan, s)
	if plan.Mode == graph.Batch {
		o.Outputs = &worker.Outputs{FS: vfs.Default, Host: at, Opener: at.opener, Options: outputOptions(d.opt, plan)}
		return worker.NewBatch(ctx, o)
	}
	o.Endpoint = x.Endpoint
	return worker.New(ctx, o)
}

// waited is a worker whose tasks can be waited for.
type waited interface {
	api.Worker
	Wait()
}

// workDirOf is where a member has the files of its tasks.
func workDirOf(m *Member) string { return filepath.Join(m.Dir, "work") }
