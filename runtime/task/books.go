package task

import (
	"slices"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/shuffle"
)

// books are the counts of the task from its start to the barrier that it has just sent
// on: what it has taken in by then it has also handled and sent.
func (t *Task) books() []checkpoint.Entry {
	all := slices.Clone(t.replayed)
	own := t.cfg.ID.Subtask
	for i, n := range t.nodes {
		e := checkpoint.Entry{Operator: string(n.spec.ID), Consumer: own}
		add := func(a checkpoint.Account, records int64) {
			e.Account, e.Records = a, records
			all = append(all, e)
		}
		if i == 0 && t.source != nil {
			add(checkpoint.AccountRead, n.ctx.Metrics.RecordsIn.Load())
		} else {
			add(checkpoint.AccountIn, n.ctx.Metrics.RecordsIn.Load())
		}
		if len(n.children)+len(n.writers) > 0 {
			add(checkpoint.AccountOut, n.ctx.Metrics.RecordsOut.Load())
		}
		if n.prepared > 0 {
			add(checkpoint.AccountPrepared, n.prepared)
		}
	}
	var counts []shuffle.Count
	for i := range t.gates {
		g := &t.gates[i]
		counts = g.Gate.Counts(counts[:0])
		for c, n := range counts {
			e := checkpoint.Entry{Account: checkpoint.AccountReceived, Operator: string(g.Edge.To), Port: int(g.Edge.Port), Index: g.Edge.Index,
				Producer: c, Consumer: own, Records: n.Records, Sum: checkpoint.Sum(n.Sum)}
			if g.Forward {
				e.Producer = own
			}
			all = append(all, e)
		}
	}
	for i, w := range t.writers {
		o := &t.cfg.Outputs[i]
		counts = w.Counts(counts[:0])
		for c, n := range counts {
			e := checkpoint.Entry{Account: checkpoint.AccountSent, Operator: string(o.Edge.To), Port: int(o.Edge.Port), Index: o.Edge.Index,
				Producer: own, Consumer: c, Records: n.Records, Sum: checkpoint.Sum(n.Sum)}
			if o.Forward {
				e.Consumer = own
			}
			all = append(all, e)
		}
	}
	return all
}
