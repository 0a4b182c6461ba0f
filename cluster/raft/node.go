package raft

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"

	"github.com/weirflow/weir/cluster/registry"
)

// rpcTime bounds a call to another server; for snapshots it grows with their size.
const rpcTime = 2 * time.Second

// Node is a server that takes part.
type Node struct {
	o       Options
	raft    *hraft.Raft
	stream  *stream
	network *hraft.NetworkTransport
	storage *storage

	// room bounds the calls under way.
	room chan struct{}
	// closing is closed first.
	closing chan struct{}
	wg      sync.WaitGroup

	mu struct {
		sync.Mutex
		closed  bool
		leading uint64 // term in which Lead runs, 0 while it does not
	}
	closeOnce sync.Once
	closeErr  error
}

// Open starts a server with what its directory holds. Close ends it. The listener is closed
// with it, and where Open returns an error.
func Open(o Options) (_ *Node, err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		if o.Listener != nil {
			_ = o.Listener.Close()
		}
		return nil, err
	}
	n := &Node{o: o, room: make(chan struct{}, 256), closing: make(chan struct{})}
	if n.storage, err = openStorage(&n.o); err != nil {
		return nil, errors.Join(err, o.Listener.Close())
	}
	n.stream = newStream(&n.o)
	n.network = hraft.NewNetworkTransportWithConfig(&hraft.NetworkTransportConfig{
		Stream: n.stream, MaxPool: 3, Timeout: rpcTime, Logger: newLogger(o.Logger), ServerAddressProvider: n.provider(),
	})
	n.raft, err = hraft.NewRaft(o.config(), fsm{o.Registry}, n.storage.logs, n.storage.stable, n.storage.snapshots, n.network)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("raft: start server %s: %w", o.ID, err), n.network.Close(), n.storage.close())
	}
	n.wg.Go(n.watchLeadership)
	return n, nil
}

// provider is nil where nobody knows addresses: raft looks for nil.
func (n *Node) provider() hraft.ServerAddressProvider {
	if n.o.Address == nil {
		return nil
	}
	return addresses(n.o.Address)
}

type addresses func(id string) (string, bool)

// ServerAddr finds a server's address.
func (a addresses) ServerAddr(id hraft.ServerID) (hraft.ServerAddress, error) {
	if hostPort, ok := a(string(id)); ok {
		return hraft.ServerAddress(hostPort), nil
	}
	return "", fmt.Errorf("raft: nobody knows where server %s is now", id)
}

// Close ends the server. It does not hand on leadership; see Leave. It returns the same
// each time.
func (n *Node) Close() error {
	n.closeOnce.Do(func() {
		n.mu.Lock()
		n.mu.closed = true
		n.mu.Unlock()
		close(n.closing)
		// The library waits for its goroutines before it closes connections, and some of them
		// wait for peers: so connections are closed in between.
		done := n.raft.Shutdown()
		_ = n.network.Close()
		n.storage.stable.giveUp()
		n.closeErr = done.Error()
		n.network.CloseStreams()
		n.wg.Wait()
		if err := n.storage.close(); err != nil && n.closeErr == nil {
			n.closeErr = fmt.Errorf("raft: close the storage of server %s: %w", n.o.ID, err)
		}
	})
	return n.closeErr
}

// Registry is what was decided, as far as this server knows.
func (n *Node) Registry() *registry.Registry { return n.o.Registry }

// ID is the server's own.
func (n *Node) ID() string { return n.o.ID }

// Addr is where others reach it.
func (n *Node) Addr() string { return n.o.Advertise }

// Leader is who leads, as far as this server knows; both are empty while nobody does.
func (n *Node) Leader() (id, addr string) {
	a, i := n.raft.LeaderWithID()
	return string(i), string(a)
}

// Leading is the term in which this server leads and has caught up.
func (n *Node) Leading() (term uint64, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.leading, n.mu.leading != 0
}

// watchLeadership calls Lead, one term after the other.
func (n *Node) watchLeadership() {
	stop := func() {}
	for {
		select {
		case leads := <-n.raft.LeaderCh():
			// Between two words of leading there may have been one of not, which was
			// overtaken: it is another term.
			stop()
			stop = func() {}
			if leads {
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan struct{})
				go func() {
					defer close(done)
					n.lead(ctx)
				}()
				stop = func() {
					cancel()
					<-done
				}
			}
		case <-n.closing:
			stop()
			return
		}
	}
}

// lead catches up and then leads until ctx ends.
func (n *Node) lead(ctx context.Context) {
	for n.raft.Barrier(rpcTime).Error() != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(n.o.Heartbeat / 10):
		}
	}
	if err := n.o.Registry.Behind(); err != nil {
		n.o.Logger.Error("raft: this server does not know what others have decided and hands leadership on", "error", err)
		if err := n.raft.LeadershipTransfer().Error(); err != nil {
			n.o.Logger.Error("raft: nobody takes leadership over: upgrade a server", "error", err)
		}
		return
	}
	term := n.raft.CurrentTerm()
	if ctx.Err() != nil {
		return
	}
	n.setLeading(term)
	defer n.setLeading(0)
	n.o.Lead(ctx, term)
}

func (n *Node) setLeading(term uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.leading = term
}

// Stats are figures for people.
type Stats struct {
	State   string `json:"state"`
	Term    uint64 `json:"term"`
	Last    uint64 `json:"last"`    // newest entry stored
	Commit  uint64 `json:"commit"`  // newest entry decided
	Applied uint64 `json:"applied"` // newest entry in the registry
	// Contact is when the leader was heard last, by a follower.
	Contact time.Time `json:"contact,omitzero"`
}

// Stats are those of this server.
func (n *Node) Stats() Stats {
	return Stats{
		State: n.raft.State().String(), Term: n.raft.CurrentTerm(), Last: n.raft.LastIndex(),
		Commit: n.raft.CommitIndex(), Applied: n.o.Registry.Applied(), Contact: n.raft.LastContact(),
	}
}
