package worker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/runtime/task"
	"github.com/weirflow/weir/shuffle"
)

// builder makes the tasks of one deployment: first the consuming ends of all
// exchanges, then the tasks with their writers.
type builder struct {
	w        *Worker
	job      flow.JobID
	attempt  flow.Attempt
	restored flow.Epoch
	ends     map[endID]end
	tasks    []*task.Task
	remote   remote
	unit     *unit // that is built, in batch mode
}

// endID is the consuming end of an edge at one subtask.
type endID struct {
	edge    flow.EdgeID
	subtask int
}

// end is a gate with the senders that feed it: one for each producing subtask, or
// the one producer of a forward exchange.
type end struct {
	gate    shuffle.Gate
	senders []any
}

func (b *builder) build(d *api.Deploy) error {
	if n := len(d.Restore); n > 0 && n != len(d.Tasks) {
		return fmt.Errorf("%d tasks are to be restored from %d snapshots", len(d.Tasks), n)
	}
	b.remote.places(d)
	chains := make([]*graph.Chain, len(d.Tasks))
	for i, m := range d.Tasks {
		c := b.w.opt.Plan.Chain(flow.ChainID(m.Chain))
		if c == nil {
			return fmt.Errorf("the plan has no chain %q: was it built from another program?", m.Chain)
		}
		chains[i] = c
		for _, in := range c.Inputs {
			if err := b.end(in, m.Subtask, i); err != nil {
				return fmt.Errorf("task %s: %w", taskID(m), err)
			}
		}
	}
	for i, m := range d.Tasks {
		var r *checkpoint.TaskRestore
		if len(d.Restore) > 0 && d.Restore[i] != nil {
			var err error
			if r, err = checkpoint.DecodeTaskRestore(d.Restore[i]); err != nil {
				return fmt.Errorf("task %s: what it is to be restored from: %w", taskID(m), err)
			}
		}
		if err := b.task(chains[i], m.Subtask, i, r); err != nil {
			return err
		}
	}
	return nil
}

// edgeOf is the typed handle of an operator's output.
func (b *builder) edgeOf(from flow.OperatorID, out flow.Outlet) (operator.Edge, error) {
	o := b.w.opt.Plan.Graph.Operator(from)
	e, ok := o.Outputs[out].Impl.(operator.Edge)
	if !ok {
		return nil, fmt.Errorf("output %d of %s has no type here but %T", out, o, o.Outputs[out].Impl)
	}
	return e, nil
}

func (b *builder) end(in graph.ChainInput, subtask, n int) error {
	e, err := b.edgeOf(in.From, in.Output)
	if err != nil {
		return err
	}
	producers := b.w.opt.Plan.Chain(in.FromChain).Parallelism
	if in.Exchange.Kind == graph.Forward {
		producers = 1
	}
	opt := b.options(subtask)
	opt.Rand = b.w.rand(n)
	g, senders, err := e.NewGate(producers, opt)
	if err != nil {
		return err
	}
	b.ends[endID{in.Edge, subtask}] = end{g, senders}
	return b.attach(e, in, subtask, senders, opt)
}

func (b *builder) options(subtask int) operator.EdgeOptions {
	return operator.EdgeOptions{BatchSize: b.w.opt.BatchSize, Credit: b.w.opt.Credit,
		MaxParallelism: b.w.opt.Plan.MaxParallelism, Subtask: subtask, Hashes: b.w.opt.Hashes}
}

func (b *builder) task(c *graph.Chain, subtask, n int, r *checkpoint.TaskRestore) error {
	w := b.w
	id := flow.TaskID{Chain: c.ID, Subtask: subtask}
	keyed := b.keyed(id, c, r)
	cfg := task.Config{
		Job: b.job, Attempt: b.attempt, ID: id, Chain: c, MaxParallelism: w.opt.Plan.MaxParallelism,
		BatchSize: w.opt.BatchSize, Credit: cmp.Or(w.opt.Credit, shuffle.DefaultCredit), State: keyed.open, Registry: w.opt.Registry, Log: w.opt.Log.With("task", id.String(), "attempt", uint64(b.attempt)), Now: w.opt.Now,
		Listener: w.listener(uint64(b.attempt), id), Rand: w.rand(n), Restored: b.restored, Restore: r,
		AlignTimeout: w.opt.AlignTimeout, Hashes: w.opt.Hashes, Batch: w.opt.Batch,
	}
	if b.unit != nil {
		cfg.Listener, cfg.Run = b.unit.listener(), b.attempt>>api.BatchAttemptBits
	} else if w.opt.Storage != nil {
		cfg.Files = w.opt.Storage.Files
		cfg.Snapshots = w.opt.Storage.Snapshots(id, b.attempt, keyed.base())
	}
	if w.opt.Staging != nil {
		cfg.Staging = w.opt.Staging(b.attempt)
	}
	groups := map[string]int{} // by what the producing chain hears of
	for _, in := range c.Inputs {
		heard := strings.Join(b.heard(in.FromChain), "\x00")
		if heard != "" && groups[heard] == 0 {
			groups[heard] = len(groups) + 1
		}
		kind := in.Exchange.Kind
		cfg.Inputs = append(cfg.Inputs, task.Input{Port: in.Port, Edge: in.Edge, Forward: kind == graph.Forward,
			Exchange: kind, InLine: kind == graph.Broadcast || kind == graph.Forward, Gate: b.ends[endID{in.Edge, subtask}].gate, Together: groups[heard]})
	}
	for _, out := range c.Outputs {
		cfg.Outputs = append(cfg.Outputs, task.Output{From: out.From, Outlet: out.Output, Edge: out.Edge, Forward: out.Exchange.Kind == graph.Forward,
			Open: func(ctx context.Context) (shuffle.Writer, error) {
				if b.unit != nil {
					return b.unit.writer(ctx, b, out)
				}
				return b.writer(ctx, out, subtask)
			}})
	}
	t, err := task.New(w.ctx, cfg)
	if err != nil {
		return err
	}
	b.tasks = append(b.tasks, t)
	return nil
}

// heard lists the sources that every subtask of a chain hears of: all of them fall
// idle and wake together, and so do all subtasks of other chains that hear of the same
// sources. It is empty where subtasks hear of different things: those of a source
// itself, and those that are joined to one by forward exchanges.
func (b *builder) heard(id flow.ChainID) []string {
	var sources []string
	for _, in := range b.w.opt.Plan.Chain(id).Inputs {
		of := b.heard(in.FromChain)
		switch {
		case len(of) > 0:
		case in.Exchange.Kind == graph.Forward:
			return nil
		default:
			of = b.behind(in.FromChain)
		}
		sources = append(sources, of...)
	}
	slices.Sort(sources)
	return slices.Compact(sources)
}

// behind lists the sources that a chain's records come from.
func (b *builder) behind(id flow.ChainID) []string {
	c := b.w.opt.Plan.Chain(id)
	if len(c.Inputs) == 0 {
		return []string{string(id)}
	}
	var sources []string
	for _, in := range c.Inputs {
		sources = append(sources, b.behind(in.FromChain)...)
	}
	return sources
}

func (b *builder) writer(ctx context.Context, out graph.ChainOutput, subtask int) (shuffle.Writer, error) {
	e, err := b.edgeOf(out.From, out.Output)
	if err != nil {
		return nil, err
	}
	first, after, producer := 0, b.w.opt.Plan.Chain(out.ToChain).Parallelism, subtask
	if out.Exchange.Kind == graph.Forward {
		first, after, producer = subtask, subtask+1, 0
	}
	var senders []any
	for s := first; s < after; s++ {
		to := flow.TaskID{Chain: out.ToChain, Subtask: s}
		if b.remote.here(to) {
			senders = append(senders, b.ends[endID{out.Edge, s}].senders[producer])
			continue
		}
		r, err := b.remoteSender(e, out, subtask, to)
		if err != nil {
			return nil, err
		}
		senders = append(senders, r)
	}
	return e.NewWriter(ctx, out.Exchange, senders, b.options(subtask))
}

// abandon frees what was made for a deployment that did not come about.
func (b *builder) abandon() {
	for _, t := range b.tasks {
		t.Cancel()
	}
	for _, e := range b.ends {
		e.gate.Close()
	}
	b.remote.end()
}
