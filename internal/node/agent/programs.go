package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/cluster/gossip"
	"github.com/weirflow/weir/runtime/artifact"
)

// spreadWithin is how long an upload waits for other servers to have the program. Those that are
// slower fetch it later, as those do that were not here.
const spreadWithin = 15 * time.Second

// spread has the other servers that are here fetch a program, so that it is not lost with this
// one.
func (a *Agent) spread(ctx context.Context, h artifact.Hash) {
	ctx, cancel := context.WithTimeout(ctx, spreadWithin)
	defer cancel()
	var all sync.WaitGroup
	for _, m := range a.members() {
		if !m.Node.Server || m.Status != gossip.Alive || m.Node.ID == a.node.ID {
			continue
		}
		all.Go(func() {
			e := &elsewhere{addr: m.Node.RPC, tls: a.clientTLS(certs.Server), dial: a.o.Host.Dial}
			if err := e.keep(ctx, h); err != nil {
				a.log.Warn("a server does not have a program yet", "server", m.Node.Name, "hash", h, "err", err)
			}
		})
	}
	all.Wait()
}

// keep asks the server to have a program.
func (e *elsewhere) keep(ctx context.Context, h artifact.Hash) (err error) {
	c, err := rpc.NewNodeClient(e.addr, e.tls, rpc.Options{Dial: e.dial})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	r, err := c.Open(ctx, &rpc.Read{Program: h.String(), Keep: true})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// keep fetches a program that servers know of, if it is not here.
func (a *Agent) keep(ctx context.Context, h artifact.Hash) error {
	switch {
	case a.raft == nil:
		return errors.New("this agent is no server")
	case a.artifacts.Has(h):
		return nil
	}
	// It may not be decided here yet that there is one: who asks has it, and may ask.
	if err := a.artifacts.Fetch(ctx, h, a.sources(api.JobSpec{})...); err != nil {
		return fmt.Errorf("fetching %s: %w", h, err)
	}
	return nil
}
