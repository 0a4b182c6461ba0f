package raft

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	hraft "github.com/hashicorp/raft"

	"github.com/weirflow/weir/cluster/registry"
)

// Options say how a server takes part.
type Options struct {
	// ID is the server's own, for as long as its directory lives.
	ID string
	// Listener is where other servers connect to. Open takes it over.
	Listener net.Listener
	// Advertise is the host:port under which others reach it; that of Listener if empty.
	Advertise string
	// Dial connects to another server. Default: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Dir holds log and snapshots. Empty: they are in memory, and gone with the process.
	Dir string
	// ServerTLS and ClientTLS are for connections from and to other servers. Both nil: plain.
	ServerTLS, ClientTLS *tls.Config

	// Expect is of how many servers the first configuration is made: 1, 3 or 5. Default: 1.
	Expect int
	// Heartbeat is how long a follower waits for the leader's word, up to twice that, before
	// it wants to lead; a leader without a majority gives up after four fifths of it.
	// Default: 500 ms.
	Heartbeat time.Duration
	// SnapshotEvery is after how many entries the log is replaced by a snapshot.
	// Default: 4096.
	SnapshotEvery uint64
	// SnapshotInterval is how often that is looked at. Default: 30 s.
	SnapshotInterval time.Duration

	// Registry is what entries are applied to. Default: a new one.
	Registry *registry.Registry
	// Lead is called, on a goroutine of its own, when this server leads and has caught up.
	// It returns when its context ends, at the latest. Default: nothing.
	Lead func(ctx context.Context, term uint64)
	// Address finds where a server is to be reached now, by what gossip says of it;
	// the one it joined with is used where it finds nothing. Default: none.
	Address func(id string) (hostPort string, ok bool)
	// Now is the time written into entries. Default: time.Now.
	Now func() time.Time
	// Logger is told what raft does. Default: none.
	Logger *slog.Logger

	testing struct {
		// logs and stable come between raft and the disk.
		logs   func(hraft.LogStore) hraft.LogStore
		stable func(hraft.StableStore) hraft.StableStore
		// wrap comes between a server and the network.
		wrap func(net.Conn) net.Conn
		// trailing is how many entries stay behind a snapshot.
		trailing uint64
	}
}

// EnsureDefaults fills in what is not set.
func (o *Options) EnsureDefaults() {
	if o.Expect == 0 {
		o.Expect = 1
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 500 * time.Millisecond
	}
	if o.SnapshotEvery == 0 {
		o.SnapshotEvery = 4096
	}
	if o.SnapshotInterval == 0 {
		o.SnapshotInterval = 30 * time.Second
	}
	if o.Registry == nil {
		o.Registry = registry.New()
	}
	if o.Lead == nil {
		o.Lead = func(ctx context.Context, _ uint64) { <-ctx.Done() }
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Advertise == "" && o.Listener != nil {
		o.Advertise = o.Listener.Addr().String()
	}
	if o.testing.trailing == 0 {
		o.testing.trailing = o.SnapshotEvery
	}
}

// Validate refuses what cannot work. It looks at options with their defaults.
func (o *Options) Validate() error {
	switch {
	case o.ID == "":
		return errors.New("raft: the server has no id")
	case o.Listener == nil:
		return errors.New("raft: the server has no listener")
	case o.Expect != 1 && o.Expect != 3 && o.Expect != 5:
		return fmt.Errorf("raft: %d servers are expected: 1, 3 and 5 are possible", o.Expect)
	case o.Heartbeat < 20*time.Millisecond || o.Heartbeat > time.Minute:
		return fmt.Errorf("raft: a heartbeat of %s is not between 20 ms and 1 min", o.Heartbeat)
	case o.SnapshotInterval < 5*time.Millisecond:
		return fmt.Errorf("raft: a snapshot interval of %s is below 5 ms", o.SnapshotInterval)
	case (o.ServerTLS == nil) != (o.ClientTLS == nil):
		return errors.New("raft: TLS is set for one direction only")
	}
	host, port, err := net.SplitHostPort(o.Advertise)
	if err != nil || port == "" || port == "0" {
		return fmt.Errorf("raft: %q cannot be advertised: it is no host:port", o.Advertise)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("raft: %q cannot be advertised: nobody can connect to it; set the address under which others reach this host", o.Advertise)
	}
	return nil
}

func (o *Options) config() *hraft.Config {
	c := hraft.DefaultConfig()
	c.LocalID = hraft.ServerID(o.ID)
	c.HeartbeatTimeout = o.Heartbeat
	c.ElectionTimeout = o.Heartbeat
	c.LeaderLeaseTimeout = o.Heartbeat * 4 / 5
	c.CommitTimeout = min(50*time.Millisecond, o.Heartbeat/4)
	c.MaxAppendEntries = 16 // of at most registry.MaxEntry each
	c.SnapshotInterval = o.SnapshotInterval
	c.SnapshotThreshold = o.SnapshotEvery
	c.TrailingLogs = o.testing.trailing
	c.ShutdownOnRemove = false // the agent decides what it does then
	c.Logger = newLogger(o.Logger)
	c.NoLegacyTelemetry = true
	return c
}
