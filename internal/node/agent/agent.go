package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/cluster/gossip"
	"github.com/weirflow/weir/cluster/raft"
	"github.com/weirflow/weir/cluster/registry"
	"github.com/weirflow/weir/internal/node/config"
	"github.com/weirflow/weir/internal/obs/traces"
	"github.com/weirflow/weir/runtime/artifact"
	"github.com/weirflow/weir/runtime/executor"
	"github.com/weirflow/weir/runtime/lease"
	"github.com/weirflow/weir/scheduler/control"
)

// Options are those of an agent.
type Options struct {
	// Config is what it is told. It has been checked.
	Config config.Config
	// Version is the release, "0.2.0".
	Version string
	// Program is the path of weir, for jobs that name no program of their own.
	Program string
	Log     *slog.Logger // default: nothing is logged
	// Audit gets a line for each request that changes something, beside the audit log in the data
	// directory. Default: nobody.
	Audit *slog.Logger
	// Host is what is around the agent. Default: this machine.
	Host Host
}

// Agent is the daemon in this process. Its methods may be called from any goroutine.
type Agent struct {
	o    Options
	log  *slog.Logger
	node api.Node
	life uint64          // counts starts with this directory
	id   *certs.Identity // nil: no TLS

	artifacts *artifact.Store
	executors *executor.Manager
	outputs   *outputs
	gossip    atomic.Pointer[gossip.Gossip] // nil until it is open
	raft      *raft.Node                    // nil: no server
	leader    *leader                       // nil: no server
	scaler    *autoscaler                   // nil: no server
	link      *link
	rpc       *rpc.NodeServer
	listener  net.Listener
	http      net.Listener // nil: an agent that is no server found its address taken
	audit     *auditLog    // nil where http is
	asked     asked
	scrapes   *scrapes
	traces    *traces.Tracer // nil: nobody wants them

	side  sync.WaitGroup
	ended []func() error // what Close does, the last first
}

// Open starts to listen, and takes the data directory. Run follows, or Close.
func Open(o Options) (_ *Agent, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &Agent{o: o, log: o.Log}
	a.scrapes = newScrapes(a)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	for _, step := range []func() error{a.openTraces, a.openIdentity, a.openListener, a.openHTTP, a.openOutputs, a.openExecutors, a.openRaft, a.openGossip, a.openLink} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("agent: %w", err)
		}
	}
	return a, nil
}

// Node is what the agent tells of itself.
func (a *Agent) Node() api.Node { return a.node }

// Registry is what was decided, as far as this server knows; nil on an agent that is none.
func (a *Agent) Registry() *registry.Registry {
	if a.raft == nil {
		return nil
	}
	return a.raft.Registry()
}

// Decide puts a command into the log, by whom it may say. Only the leader can.
func (a *Agent) Decide(ctx context.Context, c registry.Command, by string) (registry.Result, error) {
	if a.raft == nil {
		return registry.Result{}, errors.New("agent: this one is no server")
	}
	return a.raft.Apply(ctx, c, by)
}

// Leads reports whether this server decides, as far as it knows.
func (a *Agent) Leads() bool {
	if a.raft == nil {
		return false
	}
	_, ok := a.raft.Leading()
	return ok
}

// Programs are those that this agent has.
func (a *Agent) Programs() *artifact.Store { return a.artifacts }

func (a *Agent) onClose(f func() error) { a.ended = append(a.ended, f) }

// Close ends what Open has started, in an order in which nothing misses the other.
func (a *Agent) Close() error {
	var errs []error
	for i := len(a.ended) - 1; i >= 0; i-- {
		errs = append(errs, a.ended[i]())
	}
	a.ended = nil
	return errors.Join(errs...)
}

func (a *Agent) dir(name string) string { return filepath.Join(a.o.Config.DataDir, name) }

// openIdentity finds who the agent is: for others by its certificate, in the cluster by a
// number that its directory keeps.
func (a *Agent) openIdentity() error {
	c := &a.o.Config
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return err
	}
	id, err := nodeID(a.dir("node-id"), c.Name)
	if err != nil {
		return err
	}
	a.node = api.Node{ID: id, Name: c.Name, Zone: c.Zone, Server: c.Server.Enabled, Slots: c.Slots, Version: a.o.Version, Tags: c.Tags}
	if f := c.TLS.Files(); f.Given() {
		if a.id, err = certs.Load(f, certs.Options{Reloaded: func(err error) {
			if err != nil {
				a.log.Error("certificates were changed, and are of no use", "err", err)
			}
		}}); err != nil {
			return err
		}
	}
	return nil
}

// openTraces tells a collector what takes how long, where one is named.
func (a *Agent) openTraces() (err error) {
	c := &a.o.Config
	a.traces, err = traces.Open(context.Background(), traces.Options{Endpoint: c.Traces.Endpoint, Service: "weir-agent", Instance: c.Name,
		Lookup: os.LookupEnv, Log: a.log})
	a.onClose(func() error {
		if err := a.traces.Close(); err != nil {
			a.log.Warn("traces are lost", "err", err) // which is no failure of the agent
		}
		return nil
	})
	return err
}

// serverTLS and clientTLS are nil where there is no TLS.
func (a *Agent) serverTLS(allowed ...certs.Role) *tls.Config {
	if a.id == nil {
		return nil
	}
	return a.id.ServerConfig(allowed...)
}

func (a *Agent) clientTLS(allowed ...certs.Role) *tls.Config {
	if a.id == nil {
		return nil
	}
	return a.id.ClientConfig(allowed...)
}

// advertised is the address under which others reach a listener.
func (a *Agent) advertised(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	host, _, _ := net.SplitHostPort(l.Addr().String())
	return net.JoinHostPort(cmp.Or(a.o.Config.Advertise, host), port)
}

func (a *Agent) openListener() error {
	l, err := a.o.Host.At(a.o.Config.Listen.RPC)
	if err != nil {
		return fmt.Errorf("listen.rpc: %w", err)
	}
	a.listener = l
	a.onClose(func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	a.node.RPC = a.advertised(l)
	return nil
}

func (a *Agent) openExecutors() (err error) {
	c := &a.o.Config
	if a.artifacts, err = artifact.Open(artifact.Options{Dir: a.dir("programs"), Budget: int64(c.Limits.Artifacts), MaxSize: int64(c.Limits.Artifact)}); err != nil {
		return err
	}
	a.onClose(a.artifacts.Close)
	a.executors, err = executor.New(executor.Options{
		Dir: a.dir("executors"), Program: a.o.Program, Artifacts: a.artifacts, Secrets: c.SecretsDir, Log: a.log,
		Sources:   a.sources,
		Start:     a.o.Host.Start,
		Configure: a.configure,
		Report: func(x api.AllocStatus) {
			a.scrapes.told(x)
			a.link.news()
		},
		Answer: a.answer,
	})
	if err != nil {
		return err
	}
	a.onClose(a.executors.Close)
	a.life, err = nextLife(a.dir("life")) // the directory is ours
	return err
}

// configure completes what an executor is started with.
func (a *Agent) configure(x *api.ExecutorConfig) error {
	x.Node, x.Listen, x.Outputs = a.node, a.o.Config.Listen.Executors, a.outputs.addr
	x.Traces = a.o.Config.Traces.Endpoint
	if a.id == nil {
		return nil
	}
	ca, pair, err := a.id.Executor(x.Job.Name, string(x.Alloc.ID), executorCert)
	x.CA, x.Cert, x.Key = ca, pair.Cert, pair.Key
	return err
}

// executorCert is how long the certificate of an executor is good for.
const executorCert = 365 * 24 * time.Hour

// sources are where programs may be fetched from: all servers.
func (a *Agent) sources(api.JobSpec) (all []artifact.Source) {
	for _, addr := range a.servers() {
		if addr != a.node.RPC {
			all = append(all, &elsewhere{addr: addr, tls: a.clientTLS(certs.Server), dial: a.o.Host.Dial})
		}
	}
	return all
}

func (a *Agent) openRaft() error {
	c := &a.o.Config
	if !c.Server.Enabled {
		return nil
	}
	at, err := above(a.listener.Addr().String(), c.Listen.RPC)
	if err != nil {
		return err
	}
	l, err := a.o.Host.At(at)
	if err != nil {
		return fmt.Errorf("raft, one port above listen.rpc: %w", err)
	}
	ready := make(chan struct{})
	a.raft, err = raft.Open(raft.Options{
		ID: string(a.node.ID), Listener: l, Dial: a.o.Host.Dial, Advertise: a.advertised(l), Dir: a.dir("raft"),
		ServerTLS: a.serverTLS(certs.Server), ClientTLS: a.clientTLS(certs.Server), Expect: max(c.Server.BootstrapExpect, 1),
		Heartbeat: patience(c.Server.BootstrapExpect),
		Registry:  registry.New(), Logger: a.log,
		Address: func(id string) (string, bool) {
			m, ok := a.member(id)
			return m.Raft, ok && m.Raft != ""
		},
		Lead: func(ctx context.Context, term uint64) {
			<-ready
			a.lead(ctx, term)
		},
	})
	if err != nil {
		return err
	}
	a.onClose(a.raft.Close)
	a.leader = newLeader(a.raft, control.Options{Lease: time.Duration(c.Lease)})
	if a.o.Host.Dial != nil {
		a.leader.dial = a.o.Host.Dial
	}
	a.leader.log, a.leader.version, a.leader.open = a.log, a.o.Version, a.serve
	a.leader.rpc = func(id string) string {
		m, _ := a.member(id)
		return m.Node.RPC
	}
	a.scaler = newAutoscaler(a.raft.Registry(), &backend{a}, a.log)
	close(ready)
	return nil
}

// lead does what the leader does besides answering, until ctx ends.
func (a *Agent) lead(ctx context.Context, term uint64) {
	var side sync.WaitGroup
	defer side.Wait()
	side.Go(func() { a.scaler.run(ctx) })
	a.leader.lead(ctx, term)
}

// above is the address one port above that of a listener; any port where that was any.
func above(addr, asked string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	if _, p, err := net.SplitHostPort(asked); err == nil && p == "0" {
		return net.JoinHostPort(host, "0"), nil
	}
	n, err := strconv.Atoi(port)
	if err != nil || n >= 1<<16-1 {
		return "", fmt.Errorf("listen.rpc: there is no port above %s for raft", port)
	}
	return net.JoinHostPort(host, strconv.Itoa(n+1)), nil
}

func (a *Agent) openGossip() (err error) {
	c := &a.o.Config
	o := gossip.Options{Meta: gossip.Meta{Node: a.node}, Listen: c.Listen.Gossip, Seeds: c.Join, Transport: a.o.Host.Gossip, Logger: a.log}
	if a.raft != nil {
		o.Meta.Raft, o.Meta.Expect, o.Meta.Started = a.raft.Addr(), max(c.Server.BootstrapExpect, 1), a.raft.Started()
	}
	if c.Advertise != "" {
		if _, port, err := net.SplitHostPort(c.Listen.Gossip); err == nil {
			o.Advertise = net.JoinHostPort(c.Advertise, port)
		}
	}
	if c.Gossip.KeyFile != "" {
		if o.Keys, err = config.GossipKeys(c.Gossip.KeyFile); err != nil {
			return err
		}
	}
	g, err := gossip.Open(o)
	if err != nil {
		return err
	}
	a.gossip.Store(g)
	a.onClose(g.Close)
	return nil
}

func (a *Agent) openLink() (err error) {
	a.link, err = newLink(linkOptions{Node: a.node, Life: a.life, Runs: a.executors, Servers: a.servers, TLS: a.clientTLS(certs.Server), Dial: a.o.Host.Dial, Log: a.log,
		Clock:   a.o.Host.Clock,
		Lease:   lease.Options{Every: time.Duration(a.o.Config.Heartbeat)},
		Outputs: a.outputs.jobs, Wanted: a.wanted, Reported: a.scrapes.reported})
	if err != nil {
		return err
	}
	var answers rpc.Node = reader{a}
	if a.leader != nil {
		answers = a.leader
	}
	a.rpc = rpc.NewNodeServer(answers, a.serverTLS(certs.Server, certs.Agent), rpc.Options{})
	return nil
}

// wanted keeps the programs of all jobs that run here.
func (a *Agent) wanted(o *api.Orders) {
	if len(o.Clear) > 0 { // beside the link, which must not wait for a disk
		a.side.Go(func() { a.outputs.clear(o.Clear, a.log) })
	}
	if a.raft != nil {
		return // a server keeps all
	}
	var all []artifact.Hash
	for _, as := range o.Allocs {
		if h, err := artifact.ParseHash(as.Job.Artifact); err == nil {
			all = append(all, h)
		}
	}
	a.artifacts.Want(all)
}

// nodeID reads the agent's number, or makes it.
func nodeID(file, name string) (api.NodeID, error) {
	b, err := os.ReadFile(file)
	if err == nil && len(strings.TrimSpace(string(b))) > 0 {
		return api.NodeID(strings.TrimSpace(string(b))), nil
	}
	if err != nil && !os.IsNotExist(err) {
		return "", err
	}
	id := name + "-" + randomText()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = io.WriteString(f, id+"\n")
	return api.NodeID(id), errors.Join(err, f.Sync(), f.Close())
}

// nextLife counts a start of the agent, durably: the leader must know one from the other.
func nextLife(file string) (uint64, error) {
	var was uint64
	b, err := os.ReadFile(file)
	if err == nil {
		was, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	}
	if err != nil && !os.IsNotExist(err) {
		return 0, fmt.Errorf("reading how often this agent was started, which %s holds: %w; remove the agent's directory if it is broken", file, err)
	}
	f, err := os.OpenFile(file+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	_, err = fmt.Fprintln(f, was+1)
	if err := errors.Join(err, f.Sync(), f.Close(), os.Rename(file+".new", file)); err != nil {
		return 0, err
	}
	return was + 1, nil
}

// patience is for how long servers hear nothing before one of them wants to lead. A server
// that is alone waits for nobody.
func patience(servers int) time.Duration {
	if servers <= 1 {
		return 50 * time.Millisecond
	}
	return 500 * time.Millisecond
}
