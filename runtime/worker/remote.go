package worker

import (
	"fmt"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/shuffle/wire"
)

// remote is the part of an attempt's exchanges that has its other ends in other
// processes. The zero value is an attempt that runs here as a whole.
type remote struct {
	local map[flow.TaskID]bool   // nil: all
	at    map[flow.TaskID]string // the addresses of all tasks
	ends  []func()               // what is to be called when the attempt is over
}

// places takes in where the tasks of an attempt run. Those that are to be deployed here are
// here, whatever their address is.
func (r *remote) places(d *api.Deploy) {
	if len(d.Places) == 0 {
		return
	}
	r.local, r.at = map[flow.TaskID]bool{}, map[flow.TaskID]string{}
	for _, t := range d.Tasks {
		r.local[taskID(t)] = true
	}
	for _, p := range d.Places {
		r.at[taskID(p.Task)] = p.Data
	}
}

// here reports whether a task is one of this process.
func (r *remote) here(id flow.TaskID) bool { return r.local == nil || r.local[id] }

// end gives up all remote ends.
func (r *remote) end() {
	for _, f := range r.ends {
		f()
	}
	r.ends = nil
}

// endpoint is what remote partitions go over.
func (b *builder) endpoint() (*wire.Endpoint, error) {
	if e := b.w.opt.Endpoint; e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("tasks of the attempt run in other processes, and this one has no endpoint to exchange records with them")
}

func (b *builder) partition(edge flow.EdgeID, from, to int) wire.PartitionID {
	return wire.PartitionID{Job: string(b.job), Attempt: uint64(b.attempt), Edge: edge, From: from, To: to}
}

// attach makes a gate take what producers in other processes send. senders are what feeds
// it, one for each producer.
func (b *builder) attach(e operator.Edge, in graph.ChainInput, subtask int, senders []any, opt operator.EdgeOptions) error {
	for i, s := range senders {
		from := flow.TaskID{Chain: in.FromChain, Subtask: i}
		if in.Exchange.Kind == graph.Forward {
			from.Subtask = subtask
		}
		if b.remote.here(from) {
			continue
		}
		at, err := b.endpoint()
		if err != nil {
			return fmt.Errorf("what comes from task %s: %w", from, err)
		}
		detach, err := e.AttachRemote(at, b.partition(in.Edge, from.Subtask, subtask), s, opt)
		if err != nil {
			return fmt.Errorf("what comes from task %s: %w", from, err)
		}
		b.remote.ends = append(b.remote.ends, detach)
	}
	return nil
}

// remoteSender makes the sender of a local task for a consumer in another process.
func (b *builder) remoteSender(e operator.Edge, out graph.ChainOutput, subtask int, to flow.TaskID) (any, error) {
	at, err := b.endpoint()
	if err != nil {
		return nil, fmt.Errorf("what goes to task %s: %w", to, err)
	}
	peer := b.remote.at[to]
	if peer == "" {
		return nil, fmt.Errorf("what goes to task %s: the deployment does not say where it runs", to)
	}
	s, err := e.NewRemoteSender(at, peer, b.partition(out.Edge, subtask, to.Subtask), b.options(subtask))
	if err != nil {
		return nil, fmt.Errorf("what goes to task %s: %w", to, err)
	}
	b.remote.ends = append(b.remote.ends, s.Close)
	return s, nil
}
