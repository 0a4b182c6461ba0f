package agent

import (
	"context"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/runtime/executor"
)

// Host is what an agent has around it. The zero value is the machine that it is on; a
// simulation has others.
type Host struct {
	node.Network
	// Gossip is there instead of the sockets at listen.gossip. It is the agent's.
	Gossip memberlist.Transport
	// Clock is that of leases. It never goes back.
	Clock func() time.Duration
	// Start starts executors.
	Start func(context.Context, executor.Command) (*executor.Child, error)
}
