package worker

import (
	"context"
	"fmt"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/runtime/task"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/local"
	"github.com/weirflow/weir/shuffle/spill"
)

// build makes the task with its ends of blocking exchanges.
func (u *unit) build() (*task.Task, error) {
	w := u.b.w
	c := w.opt.Plan.Chain(u.id.Chain)
	if c == nil {
		return nil, fmt.Errorf("the plan has no chain %q: was it built from another program?", u.id.Chain)
	}
	b := &builder{w: w, job: flow.JobID(u.m.Job), attempt: u.attempt, ends: map[endID]end{}, unit: u}
	u.at = map[spill.ID]feeding{}
	left := u.m.Inputs
	for _, in := range c.Inputs {
		producers := w.opt.Plan.Chain(in.FromChain).Parallelism
		if in.Exchange.Kind == graph.Forward {
			producers = 1
		}
		if len(left) < producers {
			return nil, fmt.Errorf("task %s: the deployment names too few outputs for the exchange %s", u.id, in.Edge)
		}
		if err := u.gate(b, in, producers, left[:producers]); err != nil {
			return nil, fmt.Errorf("task %s: %w", u.id, err)
		}
		left = left[producers:]
	}
	if err := b.task(c, u.id.Subtask, u.id.Subtask, nil); err != nil {
		return nil, err
	}
	return b.tasks[0], nil
}

// gate makes the consuming end of an exchange.
func (u *unit) gate(b *builder, in graph.ChainInput, producers int, from []api.Output) error {
	e, err := b.edgeOf(in.From, in.Output)
	if err != nil {
		return err
	}
	w := u.b.w
	ids := make([]spill.ID, producers)
	for i, o := range from {
		if o.Edge != apiEdge(in.Edge) {
			return fmt.Errorf("the deployment has an output of the exchange %v in place of one of %s", o.Edge, in.Edge)
		}
		ids[i] = spill.ID{Job: b.job, Exchange: in.Edge, Producer: o.Producer, Attempt: flow.Attempt(o.Attempt)}
		u.at[ids[i]] = feeding{w.opt.Outputs.Opener(o.Node), o}
	}
	opt := spill.ReaderOptions{Gate: local.Options{Credit: w.opt.Credit, BatchSize: w.opt.BatchSize, Hashes: w.opt.Hashes, Rand: w.rand(u.id.Subtask)}}
	feed, err := e.NewFeed(u, ids, u.part(in), opt)
	if err != nil {
		return err
	}
	u.feeds = append(u.feeds, feed)
	b.ends[endID{in.Edge, u.id.Subtask}] = end{gate: feed.Gate()}
	return nil
}

// finest is the largest number of sub-partitions that an output is given for consumers to
// come. With more key groups it has one for each consumer.
const finest = 256

// partitions is how many sub-partitions an output has.
func (b *builder) partitions(x graph.Exchange, consumers int) int {
	switch groups := b.w.opt.Plan.MaxParallelism; {
	case x.Kind == graph.Forward || x.Kind == graph.Broadcast:
		return 1
	case x.Kind == graph.Hash && groups <= finest:
		return groups
	default:
		return consumers
	}
}

// part is what the unit reads of the outputs of an exchange.
func (u *unit) part(in graph.ChainInput) spill.Range {
	p := u.b.w.opt.Plan
	s := u.id.Subtask
	switch kind := in.Exchange.Kind; {
	case kind == graph.Forward || kind == graph.Broadcast:
		return spill.Range{First: 0, End: 1}
	case kind == graph.Hash && p.MaxParallelism <= finest:
		r := flow.RangeOf(p.MaxParallelism, p.Chain(u.id.Chain).Parallelism, s)
		return spill.Range{First: int(r.First), End: int(r.End)}
	default:
		return spill.Range{First: s, End: s + 1}
	}
}

// writer makes the producing end of an exchange.
func (u *unit) writer(ctx context.Context, b *builder, out graph.ChainOutput) (shuffle.Writer, error) {
	e, err := b.edgeOf(out.From, out.Output)
	if err != nil {
		return nil, err
	}
	x := out.Exchange
	opt := b.w.opt.Outputs.Options
	opt.Partitions = b.partitions(x, b.w.opt.Plan.Chain(out.ToChain).Parallelism)
	id := spill.ID{Job: b.job, Exchange: out.Edge, Producer: u.id.Subtask, Attempt: u.attempt}
	o, err := e.NewSpilled(b.w.opt.Outputs.FS, b.w.opt.Outputs.Host, id, opt)
	if err != nil {
		return nil, err
	}
	u.outputs = append(u.outputs, output{out.Edge, o})
	if x.Kind == graph.Broadcast {
		x.Kind = graph.Forward // all consumers read the same
	}
	eo := b.options(u.id.Subtask)
	eo.BatchBytes = opt.BatchBytes()
	return e.NewWriter(ctx, x, o.Ends(), eo)
}

func apiEdge(e flow.EdgeID) api.Edge {
	return api.Edge{To: string(e.To), Port: int(e.Port), Index: e.Index}
}
