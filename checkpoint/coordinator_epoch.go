package checkpoint

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weirflow/weir/flow"
)

// check refuses what is of another attempt, or about tasks and epochs that never were.
func (c *Coordinator) check(attempt flow.Attempt, task flow.TaskID, e flow.Epoch, what string) (int, error) {
	if attempt != c.attempt {
		return 0, fmt.Errorf("%w: %s of epoch %d by task %s is of attempt %d, this is attempt %d",
			ErrStaleAttempt, what, e, task, attempt, c.attempt)
	}
	i, ok := c.index[task]
	if !ok {
		return 0, fmt.Errorf("checkpoint: %s of epoch %d by task %s, which is not of this job", what, e, task)
	}
	if e >= c.next {
		return 0, fmt.Errorf("checkpoint: %s of epoch %d by task %s, but the next epoch is %d", what, e, task, c.next)
	}
	return i, nil
}

func (c *Coordinator) find(n flow.Epoch) *epoch {
	for _, e := range c.inFlight {
		if e.barrier.Epoch == n {
			return e
		}
	}
	return nil
}

func (c *Coordinator) committing(n flow.Epoch) (*epoch, error) {
	if e := c.find(n); e != nil && e.committing {
		return e, nil
	}
	return nil, fmt.Errorf("checkpoint: outcome of the commit of epoch %d, which is not committing", n)
}

func (c *Coordinator) missing(e *epoch) []flow.TaskID {
	var out []flow.TaskID
	for i, ok := range e.acked {
		if !ok {
			out = append(out, c.tasks[i])
		}
	}
	return out
}

// proceed does what the end of an epoch, or time, made possible.
func (c *Coordinator) proceed(now flow.Time, acts []Action) []Action {
	return c.startNext(now, c.commitNext(acts))
}

// commitNext commits the oldest epoch in flight once all have acknowledged it. A
// newer one may be complete before it, and waits: it is committed after the older
// one is committed or aborted.
func (c *Coordinator) commitNext(acts []Action) []Action {
	if c.closed || len(c.inFlight) == 0 {
		return acts
	}
	e := c.inFlight[0]
	if e.missing > 0 || e.committing {
		return acts
	}
	e.committing = true
	cs := slices.DeleteFunc(e.committables, func(m Committable) bool { return m.Epoch <= c.committed })
	e.committables = nil
	slices.SortStableFunc(cs, func(a, b Committable) int {
		return cmp.Or(cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Subtask, b.Subtask))
	})
	commit := Commit{Barrier: e.barrier, Snapshots: e.snapshots}
	e.snapshots = nil
	slices.SortFunc(commit.Snapshots, func(a, b TaskSnapshot) int {
		return cmp.Or(cmp.Compare(a.Chain, b.Chain), cmp.Compare(a.Subtask, b.Subtask))
	})
	for len(cs) > 0 {
		n := 1
		for n < len(cs) && cs[n].Operator == cs[0].Operator {
			n++
		}
		commit.Operators = append(commit.Operators, OperatorCommit{cs[0].Operator, cs[:n:n]})
		cs = cs[n:]
	}
	return append(acts, commit)
}

// rested is when MinPause since the end of the last epoch is over.
func (c *Coordinator) rested() flow.Time { return c.ended.Add(c.opts.MinPause) }

func (c *Coordinator) schedule(now flow.Time) {
	if c.opts.Interval > 0 {
		c.due = now.Add(c.opts.Interval)
	}
}

// startNext starts the epochs there is room for: first those that were asked for,
// the final one after all others.
func (c *Coordinator) startNext(now flow.Time, acts []Action) []Action {
	for c.started && !c.closed && !c.complete && len(c.inFlight) < c.opts.MaxConcurrent && !c.finalInFlight() {
		var kind flow.BarrierKind
		switch {
		case c.want[flow.BarrierSavepoint]:
			kind = flow.BarrierSavepoint
		case c.want[flow.BarrierCheckpoint]:
			kind = flow.BarrierCheckpoint
		case c.want[flow.BarrierFinal]:
			if len(c.inFlight) > 0 || c.finalRetry && now < c.rested() {
				return acts
			}
			kind = flow.BarrierFinal
		case now >= c.due && now >= c.rested():
			kind = flow.BarrierCheckpoint
		default:
			return acts
		}
		c.want[kind] = false
		e := &epoch{
			barrier:  flow.Barrier{Epoch: c.next, Kind: kind},
			deadline: now.Add(c.opts.Timeout),
			acked:    make([]bool, len(c.tasks)),
			missing:  len(c.tasks),
		}
		c.next++
		c.inFlight = append(c.inFlight, e)
		c.schedule(now)
		acts = append(acts, InjectBarrier{e.barrier, c.sources})
	}
	return acts
}

func (c *Coordinator) remove(e *epoch, now flow.Time) {
	c.inFlight = slices.DeleteFunc(c.inFlight, func(x *epoch) bool { return x == e })
	c.ended = now
}

// abort gives up one epoch, and the attempt if that was one too many.
func (c *Coordinator) abort(e *epoch, now flow.Time, reason string, acts []Action) []Action {
	c.remove(e, now)
	acts = append(acts, Abort{e.barrier, reason})
	if e.barrier.Kind == flow.BarrierSavepoint {
		return acts
	}
	c.aborts++
	if tolerated := max(0, c.opts.TolerableFailures); c.aborts > tolerated {
		f := &flow.Failure{Domain: flow.DomainInternal, Retryable: true, Message: fmt.Sprintf(
			"checkpoint: %s was aborted, number %d in a row and %d are tolerated: %s",
			e.barrier, c.aborts, tolerated, reason)}
		return append(c.close(now, "the attempt failed", acts), Fail{e.barrier.Epoch, f})
	}
	if e.barrier.Kind == flow.BarrierFinal {
		c.want[flow.BarrierFinal], c.finalRetry = true, true
	}
	return acts
}

// close aborts all epochs but one that is committing, and starts no more.
func (c *Coordinator) close(now flow.Time, reason string, acts []Action) []Action {
	c.closed = true
	for _, e := range slices.Clone(c.inFlight) {
		if !e.committing {
			c.remove(e, now)
			acts = append(acts, Abort{e.barrier, reason})
		}
	}
	return acts
}
