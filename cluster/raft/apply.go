package raft

import (
	"context"
	"errors"
	"fmt"

	hraft "github.com/hashicorp/raft"

	"github.com/weirflow/weir/cluster/registry"
)

// Errors of calls. They are told apart by errors.Is, NotLeader by errors.As.
var (
	// ErrClosed: the server is closed.
	ErrClosed = errors.New("raft: the server is closed")
	// ErrUncertain: it may have been decided, now or later, or not. Look, or ask again with
	// a command that may be repeated.
	ErrUncertain = errors.New("raft: it is not known whether it was decided")
	// ErrBusy: nothing was done. Try again.
	ErrBusy = errors.New("raft: the server is busy")
)

// NotLeader is the error of a server that does not lead. Nothing was done.
type NotLeader struct {
	// ID and Addr are the leader's; empty if nobody leads.
	ID, Addr string
}

func (e *NotLeader) Error() string {
	if e.ID == "" {
		return "raft: no server leads now: try again"
	}
	return fmt.Sprintf("raft: this server does not lead: ask server %s at %s", e.ID, e.Addr)
}

// Apply decides a command. With an error of package registry it was looked at and refused; see
// the errors of this package for the rest.
func (n *Node) Apply(ctx context.Context, c registry.Command, by string) (registry.Result, error) {
	data, err := registry.Encode(c, n.o.Now().UnixMicro(), by)
	if err != nil {
		return registry.Result{}, err
	}
	return n.ApplyEntry(ctx, data)
}

// ApplyEntry is Apply of what another server has encoded.
func (n *Node) ApplyEntry(ctx context.Context, data []byte) (result registry.Result, err error) {
	if err := registry.Check(data); err != nil {
		return result, err
	}
	if err := n.o.Registry.Behind(); err != nil {
		return result, err
	}
	answer := make(chan registry.Result, 1)
	err = n.do(ctx, func() error {
		f := n.raft.Apply(data, rpcTime)
		if err := f.Error(); err != nil {
			return err
		}
		r, ok := f.Response().(registry.Result)
		if !ok {
			return fmt.Errorf("raft: an entry was answered with %T", f.Response())
		}
		answer <- r
		return nil
	})
	if err != nil {
		var notLeader *NotLeader
		if !errors.As(err, &notLeader) && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrUncertain) {
			err = fmt.Errorf("%w: %w", ErrUncertain, err) // of the disk: what it holds nobody knows
		}
		return result, err
	}
	result = <-answer
	return result, result.Err()
}

// Sync returns when this server leads and its registry has all that was decided before the call.
func (n *Node) Sync(ctx context.Context) error {
	return n.do(ctx, func() error { return n.raft.Barrier(rpcTime).Error() })
}

// Snapshot replaces the log by a snapshot now.
func (n *Node) Snapshot(ctx context.Context) error {
	if err := n.o.Registry.Behind(); err != nil {
		return err
	}
	err := n.do(ctx, func() error { return n.raft.Snapshot().Error() })
	if errors.Is(err, hraft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}

// Leave hands leadership on if this server leads, so that nobody has to wait for its end
// to be noticed. Alone it does nothing.
func (n *Node) Leave(ctx context.Context) error {
	if n.raft.State() != hraft.Leader || len(n.Servers()) < 2 {
		return nil
	}
	return n.do(ctx, func() error { return n.raft.LeadershipTransfer().Error() })
}

// do runs a call of the library, which knows no contexts, beside the caller. It ends by itself:
// when it is decided, when the server no longer leads, or when it is closed.
func (n *Node) do(ctx context.Context, call func() error) error {
	select {
	case n.room <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	case <-n.closing:
		return ErrClosed
	}
	done := make(chan error, 1)
	n.mu.Lock()
	if n.mu.closed {
		n.mu.Unlock()
		<-n.room
		return ErrClosed
	}
	n.wg.Go(func() {
		defer func() { <-n.room }()
		done <- n.explain(call())
	})
	n.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUncertain, context.Cause(ctx))
	}
}

// explain turns the library's errors into ours.
func (n *Node) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, hraft.ErrNotLeader):
		id, addr := n.Leader()
		if id == n.o.ID {
			id, addr = "", "" // it has only just lost it
		}
		return &NotLeader{ID: id, Addr: addr}
	case errors.Is(err, hraft.ErrRaftShutdown):
		// It may be among those that are stored already.
		return fmt.Errorf("%w: %w", ErrClosed, ErrUncertain)
	case errors.Is(err, hraft.ErrEnqueueTimeout), errors.Is(err, hraft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case errors.Is(err, hraft.ErrLeadershipLost), errors.Is(err, hraft.ErrAbortedByRestore):
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	return fmt.Errorf("raft: %w", err)
}
