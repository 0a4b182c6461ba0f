package agent

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/cluster/gossip"
	"github.com/weirflow/weir/cluster/raft"
	"github.com/weirflow/weir/runtime/artifact"
	"github.com/weirflow/weir/runtime/executor"
)

// lookEvery is how often what gossip sees is compared with who takes part in raft.
const lookEvery = time.Second

// Run does an agent's work until ctx ends, and then leaves: executors are ended, others
// are told. It closes the agent.
func (a *Agent) Run(ctx context.Context) error {
	a.said()
	served := make(chan error, 3)
	a.side.Go(func() { served <- a.outputs.serve() })
	a.side.Go(func() { served <- a.rpc.Serve(a.listener) })
	answering, quiet := context.WithCancel(context.WithoutCancel(ctx))
	if a.http != nil {
		a.side.Go(func() { served <- a.serveHTTP(answering) })
	}
	linked, unlink := context.WithCancel(context.WithoutCancel(ctx))
	a.side.Go(func() { a.link.run(linked) })
	watching, stop := context.WithCancel(ctx)
	a.side.Go(func() { a.watch(watching) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	stop()
	quiet()
	a.leave(context.WithoutCancel(ctx))
	unlink()
	a.rpc.Close()
	a.outputs.close()
	a.side.Wait()
	return errors.Join(err, a.Close())
}

// leaveWithin is how long an agent takes to end its executors and to say goodbye.
const leaveWithin = 10 * time.Second

// leave ends executors in order, tells the leader that nothing is left, and others that this
// agent goes.
func (a *Agent) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	a.link.obeyNoMore(ctx)
	if err := a.executors.Kill(ctx, "the agent leaves"); err != nil {
		a.log.Error("executors do not end", "err", err)
	}
	a.link.leave(ctx)
	if a.raft != nil {
		if err := a.raft.Leave(ctx); err != nil {
			a.log.Warn("handing leadership on", "err", err)
		}
	}
	if err := a.gossip.Load().Leave(ctx); err != nil {
		a.log.Warn("saying goodbye", "err", err)
	}
}

// watch makes of what gossip sees what raft needs: a first configuration, and changes of it.
func (a *Agent) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	events := a.gossip.Load().Events()
	started := false
	for {
		if a.raft != nil {
			seen := a.seen()
			if err := a.raft.Bootstrap(ctx, seen); err != nil && ctx.Err() == nil {
				a.log.Warn("the cluster cannot begin", "err", err)
			}
			if _, leads := a.raft.Leading(); leads {
				if err := a.raft.Repair(ctx, seen); err != nil && ctx.Err() == nil {
					a.log.Warn("changing who takes part", "err", err)
				}
			}
			a.replicate(ctx)
			if now := a.raft.Started(); now != started {
				started = now
				a.tell(ctx)
			}
		}
		select {
		case <-tick.C:
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// replicate fetches programs that servers know of and this one does not have.
func (a *Agent) replicate(ctx context.Context) {
	var want []artifact.Hash
	for _, p := range a.raft.Registry().View().Artifacts() {
		h, err := artifact.ParseHash(p.Hash)
		if err != nil {
			continue
		}
		want = append(want, h)
		if a.artifacts.Has(h) {
			continue
		}
		if err := a.artifacts.Fetch(ctx, h, a.sources(api.JobSpec{})...); err != nil && ctx.Err() == nil {
			a.log.Debug("fetching a program", "hash", p.Hash, "err", err)
		}
	}
	a.artifacts.Want(want)
}

// tell has others know that this server is part of a cluster.
func (a *Agent) tell(ctx context.Context) {
	for _, m := range a.members() {
		if m.Node.ID == a.node.ID {
			m.Started = a.raft.Started()
			if err := a.gossip.Load().SetMeta(ctx, m.Meta); err != nil && ctx.Err() == nil {
				a.log.Debug("telling others", "err", err)
			}
		}
	}
}

// seen are the servers among the members.
func (a *Agent) seen() (all []raft.Seen) {
	for _, m := range a.members() {
		if !m.Node.Server {
			continue
		}
		s := raft.Seen{ID: string(m.Node.ID), Name: m.Node.Name, Addr: m.Raft, State: raft.Alive, Expect: m.Expect, Started: m.Started}
		switch m.Status {
		case gossip.Failed:
			s.State = raft.Failed
		case gossip.Left:
			s.State = raft.Left
		}
		all = append(all, s)
	}
	return all
}

// members are those that gossip knows; none while it is not open.
func (a *Agent) members() []gossip.Member {
	if g := a.gossip.Load(); g != nil {
		return g.Members()
	}
	return nil
}

// member finds an agent by its id.
func (a *Agent) member(id string) (gossip.Member, bool) {
	for _, m := range a.members() {
		if string(m.Node.ID) == id {
			return m, true
		}
	}
	return gossip.Member{}, false
}

// servers are where servers that are here may be asked, this one first.
func (a *Agent) servers() (all []string) {
	if a.raft != nil {
		all = append(all, a.node.RPC)
	}
	for _, m := range a.members() {
		if m.Node.Server && m.Status == gossip.Alive && m.Node.ID != a.node.ID {
			all = append(all, m.Node.RPC)
		}
	}
	return all
}

// read opens what another agent asks for.
func (a *Agent) read(ctx context.Context, q *rpc.Read) (io.ReadCloser, error) {
	if kind, over, ok := api.AsksProfile(q.Ask); ok {
		return a.profileOf(ctx, q.Of, kind, over)
	}
	switch {
	case q.Ask != "":
		_, text, err := a.ask(ctx, q.Of, q.Ask, askTimeout)
		return io.NopCloser(strings.NewReader(text)), err
	case q.Keys != nil:
		return a.changeKeys(q.Keys)
	case q.Audit > 0 && a.audit == nil:
		return nil, errors.New("nobody can ask this agent for anything")
	case q.Audit > 0:
		return a.audit.read(q.Audit)
	case q.Program == "":
		return a.executors.Logs(ctx, q.Log, executor.LogOptions{Tail: q.Tail, Follow: q.Follow})
	}
	h, err := artifact.ParseHash(q.Program)
	if err != nil {
		return nil, err
	}
	if q.Keep {
		return http.NoBody, a.keep(ctx, h)
	}
	return a.artifacts.Get(ctx, h)
}

// reader is what an agent answers that is no server.
type reader struct{ a *Agent }

func (reader) Report(context.Context, *api.Report) (*api.Orders, error) {
	return nil, errors.New("this agent is no server")
}

func (r reader) Open(ctx context.Context, q *rpc.Read) (io.ReadCloser, error) {
	return r.a.serve(ctx, q)
}

// serve is read for others.
func (a *Agent) serve(ctx context.Context, q *rpc.Read) (io.ReadCloser, error) {
	if q.Keys != nil || q.Audit != 0 {
		if err := a.fromServer(ctx); err != nil {
			return nil, err
		}
	}
	return a.read(ctx, q)
}

// elsewhere is another server as a source of programs.
type elsewhere struct {
	addr string
	tls  *tls.Config
	dial func(context.Context, string) (net.Conn, error)
}

func (e *elsewhere) Get(ctx context.Context, h artifact.Hash) (io.ReadCloser, error) {
	c, err := rpc.NewNodeClient(e.addr, e.tls, rpc.Options{Dial: e.dial})
	if err != nil {
		return nil, err
	}
	r, err := c.Open(ctx, &rpc.Read{Program: h.String()})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("fetch %s from %s: %w", h, e.addr, err), c.Close())
	}
	return &fetched{r, c}, nil
}

// fetched ends the connection with what is read over it.
type fetched struct {
	io.ReadCloser
	c *rpc.NodeClient
}

func (f *fetched) Close() error { return errors.Join(f.ReadCloser.Close(), f.c.Close()) }

// randomText is ten letters and digits that nobody else has.
func randomText() string { return strings.ToLower(rand.Text()[:10]) }
