package metamorphic

import (
	"fmt"
	"strings"

	"github.com/weirflow/weir/flow"
)

// place names an input record.
type place struct{ origin, pos int32 }

// Compare says how the outcome differs from what the oracle wants, or returns "".
func (o *Outcome) Compare(p *Pipeline, want map[ref][]Record) string {
	var b strings.Builder
	for _, s := range o.watch.said {
		fmt.Fprintf(&b, "seen while running: %s\n", s)
	}
	epochs := map[place]flow.Epoch{}
	for _, r := range p.sinks() {
		chunks := o.sinks[r].results()
		name := fmt.Sprintf("n%d.%d (%s)", r.node, r.out, p.Nodes[r.node].op.name)
		if p.Nodes[r.node].op.net {
			chunks = settle(chunks)
		}
		difference(&b, name, chunks, want[r])
		disorder(&b, name, chunks, o.survived)
		if o.aborted > 0 || o.unaligned {
			continue // a task may not have seen a barrier that was aborted
		}
		for _, c := range chunks {
			for _, rec := range c.records {
				at := place{rec.Origin, rec.Pos}
				switch {
				case p.Nodes[r.node].op == sourceOp:
					epochs[at] = c.epoch
				case rec.Origin != merged && (epochs[at] > c.epoch || epochs[at] != c.epoch && !p.Waits()):
					fmt.Fprintf(&b, "%s: %v was written in epoch %d, and read in epoch %d\n", name, rec, c.epoch, epochs[at])
					return b.String()
				}
			}
		}
	}
	return b.String()
}

// retracted marks, in Ord, a record that takes back another.
const retracted = -1

// settle drops pairs of a record and the one that takes it back.
func settle(chunks []*chunk) []*chunk {
	counts := map[Record]int{}
	for _, c := range chunks {
		for _, r := range c.records {
			n := 1
			if r.Ord == retracted {
				r.Ord, n = 0, -1
			}
			counts[r] += n
		}
	}
	rest := &chunk{}
	for r, n := range counts {
		if n < 0 {
			r.Ord, n = retracted, -n // taken back and never given
		}
		for range n {
			rest.records = append(rest.records, r)
		}
	}
	return []*chunk{rest}
}

// difference compares multisets.
func difference(b *strings.Builder, name string, chunks []*chunk, want []Record) {
	counts := make(map[Record]int, len(want))
	for _, r := range want {
		counts[r]++
	}
	got := 0
	for _, c := range chunks {
		got += len(c.records)
		for _, r := range c.records {
			counts[r]--
		}
	}
	missing, extra, shown := 0, 0, 0
	var list strings.Builder
	for r, n := range counts {
		if n != 0 && shown < 6 {
			shown++
			fmt.Fprintf(&list, "    %+d %v\n", -n, r)
		}
		missing += max(n, 0)
		extra += max(-n, 0)
	}
	if missing+extra > 0 {
		fmt.Fprintf(b, "%s: %d records instead of %d; %d are missing, %d should not be there:\n%s", name, got, len(want), missing, extra, list.String())
	}
}

// disorder looks for records that stand before others of their lane.
// With another process the lane may be another subtask's.
func disorder(b *strings.Builder, name string, chunks []*chunk, moved bool) {
	type seen struct {
		Record
		subtask int
	}
	last := map[uint64]seen{}
	for _, c := range chunks {
		for _, r := range c.records {
			if r.Lane == 0 {
				continue
			}
			if before, ok := last[r.Lane]; ok && (before.Ord >= r.Ord || before.subtask != c.subtask && !moved) {
				fmt.Fprintf(b, "%s: order: %v of subtask %d came behind %v of subtask %d\n", name, r, c.subtask, before.Record, before.subtask)
				return
			}
			last[r.Lane] = seen{r, c.subtask}
		}
	}
}
