package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
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
	jobs := map[flow.JobID]bool{}
	for _, s := range store.Outputs("") {
		jobs[s.ID.Job] = true
	}
	for job := range jobs {
		if err := store.RemoveJob(job); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", net.JoinHostPort(c.Listen.Executors, "0"))
	if err != nil {
		return fmt.Errorf("listen.executors: %w", err)
	}
	o := &outputs{addr: a.advertised(l), listener: l, store: store}
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

var _ rpc.Outputs = node.Serve(nil)

// clearOutputs removes what jobs that are over have here.
func (a *Agent) clearOutputs(over func(job string) bool) (errs error) {
	seen := map[flow.JobID]bool{}
	for _, s := range a.outputs.store.Outputs("") {
		if job := s.ID.Job; !seen[job] && over(string(job)) {
			errs = errors.Join(errs, a.outputs.store.RemoveJob(job))
			seen[job] = true
		}
	}
	return errs
}
