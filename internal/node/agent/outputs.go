package agent

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/shuffle/spill"
)

// outputs is what executors have written to blocking exchanges: it lies in the agent's
// directory and is read from here, so that it outlives them.
type outputs struct {
	addr     string
	listener net.Listener
	server   *rpc.OutputServer
	store    *spill.Store
	once     sync.Once
}

// openOutputs listens at a port that the system chooses, beside those of executors. What an
// earlier agent has left is removed: it was at another address, where nobody finds it.
func (a *Agent) openOutputs() error {
	c := &a.o.Config
	store, err := spill.Open(vfs.Default, a.dir("outputs"), spill.StoreOptions{Budget: int64(c.Limits.Spill)})
	if err != nil {
		return err
	}
	a.onClose(store.Close)
	o := &outputs{store: store}
	o.clear(o.jobs(), a.log)
	l, err := a.o.Host.At(net.JoinHostPort(c.Listen.Executors, "0"))
	if err != nil {
		return fmt.Errorf("listen.executors: %w", err)
	}
	o.addr, o.listener = a.advertised(l), l
	o.server = rpc.NewOutputServer(node.Serve(store), a.serverTLS(certs.Executor), ofJob, rpc.Options{Log: a.log})
	a.outputs = o
	a.onClose(func() error {
		o.close()
		return nil
	})
	return nil
}

func (o *outputs) serve() error { return o.server.Serve(o.listener) }

func (o *outputs) close() {
	o.once.Do(func() {
		o.server.Close()
		_ = o.listener.Close() // the server has closed it, if it had begun
	})
}

// ofJob lets an executor touch what is its job's.
func ofJob(cs *tls.ConnectionState, job string) error {
	of, err := certs.JobOf(cs)
	if err == nil && (of == "" || of != job) {
		err = fmt.Errorf("an executor of the job %q has nothing to do with the outputs of %q", of, job)
	}
	return err
}

// jobs are those that have something here, in order.
func (o *outputs) jobs() (all []string) {
	for _, s := range o.store.Outputs("") {
		if name := string(s.ID.Job); len(all) == 0 || all[len(all)-1] != name {
			all = append(all, name)
		}
	}
	return all
}

// clear removes what jobs that are over have here.
func (o *outputs) clear(jobs []string, log *slog.Logger) {
	for _, job := range jobs {
		if err := o.store.RemoveJob(flow.JobID(job)); err != nil {
			log.Warn("removing the outputs of a job that is over", "job", job, "err", err)
		}
	}
}
