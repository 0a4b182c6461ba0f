package checkpoint

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weirflow/weir/flow"
)

// ImbalanceError says that records were lost or doubled, where, and by which epoch.
type ImbalanceError struct {
	Epoch flow.Epoch
	// Where is the edge or the operator, by names.
	Where string
	// What are the two sides that should be equal.
	What string
}

// Error names epoch, place and both sides.
func (e *ImbalanceError) Error() string {
	return fmt.Sprintf("checkpoint: the books of epoch %d do not balance: %s: %s", e.Epoch, e.Where, e.What)
}

// tally is a count of records and, where they are hashed, the sum of the hashes.
type tally struct {
	records int64
	sum     Sum
}

func (t *tally) add(o tally) { t.records += o.records; t.sum.Add(o.sum) }

// edgeKey is an edge, or with Index -1 a port.
type edgeKey struct {
	to          string
	port, index int
}

// channelKey is a channel of an edge.
type channelKey struct{ producer, consumer int }

// channelTally is what the two ends of a channel say.
type channelTally struct{ sent, received, queued, saved tally }

type subtaskKey struct {
	operator string
	subtask  int
}

// balancer is the books of all tasks at one epoch, by what they are about.
type balancer struct {
	epoch flow.Epoch
	plan  Target
	edges map[edgeKey]map[channelKey]*channelTally
	in    map[subtaskKey]int64
	// taken is what a subtask has received or replayed, at all ports.
	taken map[subtaskKey]int64
	// replayed is by port, Index -1.
	replayed map[edgeKey]tally
	prepared map[subtaskKey]int64
	// commits are the operators that have prepared anything.
	commits map[string]bool
	names   map[flow.OperatorID]string
}

// Balance compares the books of all tasks at one epoch with each other: on each
// channel what was sent is what was received or is under way, what came to an
// operator went into it, what a sink was given it has prepared. The error, an
// [*ImbalanceError], is about the first place that does not balance, from the
// sources on.
func Balance(epoch flow.Epoch, tasks []TaskSnapshot, p Target) error {
	b, err := newBalancer(epoch, tasks, p)
	if err != nil {
		return err
	}
	return b.balance()
}

// newBalancer sorts the books; it is there with an error, too.
func newBalancer(epoch flow.Epoch, tasks []TaskSnapshot, p Target) (*balancer, error) {
	b := &balancer{
		epoch: epoch, plan: p, edges: map[edgeKey]map[channelKey]*channelTally{}, in: map[subtaskKey]int64{},
		taken: map[subtaskKey]int64{}, replayed: map[edgeKey]tally{}, prepared: map[subtaskKey]int64{},
		commits: map[string]bool{}, names: map[flow.OperatorID]string{},
	}
	for _, c := range p.Chains {
		for _, o := range c.Operators {
			b.names[o.ID] = cmp.Or(o.Name, string(o.ID))
		}
	}
	for i := range tasks {
		t := &tasks[i]
		for j := range t.Books {
			if e := &t.Books[j]; e.Records < 0 {
				return b, b.wrong(b.name(e.Operator), "task %s says %d records %s", t.Task(), e.Records, e.Account)
			} else {
				b.enter(e)
			}
		}
		for _, ch := range t.Channels {
			c := b.channel(edgeKey{ch.To, ch.Port, ch.Index}, channelKey{ch.Producer, t.Subtask})
			c.saved.records += ch.Records
		}
	}
	return b, nil
}

func (b *balancer) enter(e *Entry) {
	t := tally{e.Records, e.Sum}
	edge := edgeKey{e.Operator, e.Port, e.Index}
	at := channelKey{e.Producer, e.Consumer}
	subtask := subtaskKey{e.Operator, e.Consumer}
	switch e.Account {
	case AccountSent:
		b.channel(edge, at).sent.add(t)
	case AccountReceived:
		b.channel(edge, at).received.add(t)
		b.taken[subtask] += e.Records
	case AccountQueued:
		b.channel(edge, at).queued.add(t)
	case AccountReplayed:
		edge.index = -1
		sum := b.replayed[edge]
		sum.add(t)
		b.replayed[edge] = sum
		b.taken[subtask] += e.Records
	case AccountIn:
		b.in[subtask] += e.Records
	case AccountPrepared:
		b.prepared[subtask] += e.Records
		if e.Records > 0 {
			b.commits[e.Operator] = true
		}
	}
}

func (b *balancer) channel(e edgeKey, at channelKey) *channelTally {
	of := b.edges[e]
	if of == nil {
		of = map[channelKey]*channelTally{}
		b.edges[e] = of
	}
	c := of[at]
	if c == nil {
		c = &channelTally{}
		of[at] = c
	}
	return c
}

func (b *balancer) wrong(where, format string, args ...any) error {
	return &ImbalanceError{b.epoch, where, fmt.Sprintf(format, args...)}
}

func (b *balancer) name(op string) string { return cmp.Or(b.names[flow.OperatorID(op)], op) }

func (b *balancer) balance() error {
	for i := range b.plan.Chains {
		c := &b.plan.Chains[i]
		for j := range c.Operators {
			o := &c.Operators[j]
			if j == 0 {
				for k := range o.Inputs {
					if err := b.edge(o, &o.Inputs[k]); err != nil {
						return err
					}
				}
			}
			for s := range c.Parallelism {
				if err := b.subtask(o, s, j == 0 && len(o.Inputs) > 0); err != nil {
					return err
				}
			}
		}
	}
	// What is left is about edges that the plan does not have.
	left := make([]edgeKey, 0, len(b.edges))
	for e := range b.edges {
		left = append(left, e)
	}
	if len(left) == 0 {
		return nil
	}
	e := slices.MinFunc(left, func(a, b edgeKey) int {
		return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.port, b.port), cmp.Compare(a.index, b.index))
	})
	return b.wrong(b.name(e.to), "records are counted on an edge %d at port %d, which the plan does not have", e.index, e.port)
}

// edge balances the channels of one edge.
func (b *balancer) edge(o *TargetOperator, in *TargetInput) error {
	key := edgeKey{string(o.ID), int(in.Port), in.Index}
	of := b.edges[key]
	delete(b.edges, key)
	channels := make([]channelKey, 0, len(of))
	hashed := false
	for at, c := range of {
		channels = append(channels, at)
		hashed = hashed || c.sent.sum != Sum{} || c.received.sum != Sum{} || c.queued.sum != Sum{}
	}
	slices.SortFunc(channels, func(a, b channelKey) int {
		return cmp.Or(cmp.Compare(a.producer, b.producer), cmp.Compare(a.consumer, b.consumer))
	})
	for _, at := range channels {
		c := of[at]
		where := fmt.Sprintf("%s, subtask %d to %d", b.edgeName(o, in), at.producer, at.consumer)
		if c.sent.records != c.received.records+c.queued.records {
			return b.wrong(where, "%d records sent, %d received and %d under way",
				c.sent.records, c.received.records, c.queued.records)
		}
		if c.queued.records != c.saved.records {
			return b.wrong(where, "%d records under way, %d of them saved", c.queued.records, c.saved.records)
		}
		got := c.received.sum
		got.Add(c.queued.sum)
		if hashed && c.sent.sum != got {
			return b.wrong(where, "%d records sent and as many received, but not the same ones: "+
				"the sums of their hashes are %s and %s", c.sent.records, c.sent.sum, got)
		}
	}
	return nil
}

// edgeName is "orders → sum", with the port where there are several inputs.
func (b *balancer) edgeName(o *TargetOperator, in *TargetInput) string {
	s := b.name(string(in.From)) + " → " + b.name(string(o.ID))
	if len(o.Inputs) > 1 {
		s += fmt.Sprintf(" (port %d)", in.Port)
	}
	return s
}

// subtask balances one subtask of an operator. taken says that what it is given
// comes from exchanges.
func (b *balancer) subtask(o *TargetOperator, subtask int, taken bool) error {
	key := subtaskKey{string(o.ID), subtask}
	where := fmt.Sprintf("%s, subtask %d", b.name(key.operator), subtask)
	given, known := b.in[key]
	if taken {
		if known && given != b.taken[key] {
			return b.wrong(where, "%d records came off its inputs, %d went into it", b.taken[key], given)
		}
		given, known = b.taken[key], true
	}
	if known && b.commits[key.operator] && given != b.prepared[key] {
		return b.wrong(where, "%d records were given to the sink, it has prepared %d", given, b.prepared[key])
	}
	return nil
}
