package checkpoint

import (
	"fmt"

	"github.com/weirflow/weir/flow"
)

// inFlight deals out the records that were under way.
func (r *resolver) inFlight() error {
	// next is whose turn it is where whole channels are dealt out.
	next := map[flow.OperatorID]int{}
	for _, t := range r.tasks {
		for _, ch := range t.Channels {
			if ch.Records == 0 && ch.Length == 0 {
				continue
			}
			if t.InFlight == nil {
				return r.inconsistent("task %s had records under way and no file with them", t.Task())
			}
			if ch.Exchange > uint8(ExchangeBroadcast) {
				return r.inconsistent("task %s: the edge %s is of exchange kind %d, which this version does not know",
					t.Task(), ch.Edge(), ch.Exchange)
			}
			if ch.Offset < 0 || ch.Length < 0 || ch.Length > t.InFlight.Size-ch.Offset {
				return r.inconsistent("task %s: records under way on %s are said to be behind the end of their file", t.Task(), ch.Edge())
			}
			if err := r.channel(t, ch, next); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *resolver) channel(t *TaskSnapshot, ch Channel, next map[flow.OperatorID]int) error {
	op := flow.OperatorID(ch.To)
	c, in := r.chains[op], r.input(&ch)
	if in == nil {
		r.drop(op, "records under way to port %d", ch.Port)
		return nil
	}
	if c.Operators[0].ID != op && in.Exchange == ExchangeHash {
		return fmt.Errorf("checkpoint: epoch %d holds records under way to %s, which the plan now fuses with %s; "+
			"start from a savepoint or an aligned epoch, or let the operator start a chain of its own as before",
			r.m.Epoch, r.name(op), r.name(c.Operators[0].ID))
	}
	give := func(subtask int, filter bool) {
		if !filter || subtask == flow.SubtaskOf(flow.KeyGroup(t.First), r.m.MaxParallelism, c.Parallelism) {
			r.replay(t, &ch) // where many take a part of it, that is one whole
		}
		to := r.task(c, subtask)
		to.Channels = append(to.Channels, InFlight{Channel: ch, File: *t.InFlight, Filter: filter})
	}
	same := t.Parallelism == c.Parallelism
	was, is := Exchange(ch.Exchange), in.Exchange
	if was == ExchangeBroadcast && !(is == ExchangeBroadcast && same) && t.Subtask > 0 {
		return nil // the first subtask's stand for all
	}
	switch {
	case is == ExchangeHash:
		first, last := 0, c.Parallelism-1
		if was == ExchangeHash {
			first = flow.SubtaskOf(flow.KeyGroup(t.First), r.m.MaxParallelism, c.Parallelism)
			last = flow.SubtaskOf(flow.KeyGroup(t.End-1), r.m.MaxParallelism, c.Parallelism)
		}
		for s := first; s <= last; s++ {
			give(s, first != last)
		}
	case is == ExchangeBroadcast && !(was == ExchangeBroadcast && same):
		for s := range c.Parallelism {
			give(s, false)
		}
	case same:
		give(t.Subtask, false)
	default:
		give(next[op]%c.Parallelism, false)
		next[op]++
	}
	return nil
}

// replay adds the records of a channel to what will be taken in.
func (r *resolver) replay(t *TaskSnapshot, ch *Channel) {
	var to *Entry
	for i := range r.out.Replay {
		if e := &r.out.Replay[i]; e.Operator == ch.To && e.Port == ch.Port {
			to = e
		}
	}
	if to == nil {
		r.out.Replay = append(r.out.Replay, Entry{Account: AccountReplayed, Operator: ch.To, Port: ch.Port})
		to = &r.out.Replay[len(r.out.Replay)-1]
	}
	to.Records += ch.Records
	for i := range t.Books {
		e := &t.Books[i]
		if e.Account == AccountQueued && e.Operator == ch.To && e.Port == ch.Port && e.Index == ch.Index &&
			e.Producer == ch.Producer && e.Consumer == t.Subtask {
			to.Sum.Add(e.Sum)
		}
	}
}

// input is the edge on which records of a channel would come now: the same one, or
// another at the same port, nil if there is none.
func (r *resolver) input(ch *Channel) *TargetInput {
	o := r.byID[flow.OperatorID(ch.To)]
	if o == nil {
		return nil
	}
	var other *TargetInput
	for i := range o.Inputs {
		in := &o.Inputs[i]
		switch {
		case in.Port != flow.Port(ch.Port):
		case in.Index == ch.Index:
			return in
		case other == nil:
			other = in
		}
	}
	return other
}

func (r *resolver) name(op flow.OperatorID) string {
	if o := r.byID[op]; o != nil && o.Name != "" {
		return o.Name
	}
	return string(op)
}
