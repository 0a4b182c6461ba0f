package task

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// stepSource reads one batch from the source.
func (t *Task) stepSource() (bool, error) {
	if t.ended || t.hold != 0 {
		return false, nil
	}
	if t.pull.waiting && !t.pull.woken.Load() {
		if t.pull.until == 0 || t.cfg.Now() < t.pull.until {
			return false, nil
		}
	}
	t.pull.woken.Store(false)
	head := t.nodes[0]
	t.at = head
	p, err := t.source.Pull()
	if err != nil {
		return true, t.failure(head, err)
	}
	t.pull.waiting, t.pull.until = p.Wait, p.Until
	if p.Ended && p.Drained {
		p.Watermark = flow.MaxTime
	}
	moved := p.Watermark > head.out
	if err := t.advance(head, p.Watermark); err != nil {
		return true, err
	}
	if p.Ended {
		return true, t.end()
	}
	// A record or watermark makes an input behind active, so that idleness is told
	// behind them.
	if p.Idle && !t.idle || p.Idle && (moved || p.Worked) || !p.Idle && t.idle {
		if err := t.tellIdle(p.Idle); err != nil {
			return true, err
		}
	}
	return p.Worked || !p.Wait, t.stateErr()
}

// control handles a control record from a gate.
func (t *Task) control(g *gate, channel int, c flow.Control) error {
	i := g.first + channel
	switch c.Kind {
	case flow.ControlWatermark:
		t.frontier.Watermark(i, c.Time)
		return t.frontierMoved()
	case flow.ControlIdle:
		t.frontier.SetIdle(i)
		return t.frontierMoved()
	case flow.ControlBarrier:
		return t.barrier(i, c.Barrier)
	case flow.ControlEnd:
		t.aligner.End(i)
		t.frontier.End(i)
		if err := t.frontierMoved(); err != nil {
			return err
		}
		g.open--
		t.open--
		if g.open == 0 && t.portEnded(g.Port) {
			head := t.nodes[0]
			t.at = head
			if err := head.op.EndInput(g.Port); err != nil {
				return t.failure(head, err)
			}
		}
		if t.open == 0 {
			return t.end()
		}
	}
	return t.stateErr()
}

func (t *Task) portEnded(p flow.Port) bool {
	for i := range t.gates {
		if t.gates[i].Port == p && t.gates[i].open > 0 {
			return false
		}
	}
	return true
}

// frontierMoved hands the merged watermark, if it advanced, or the idleness, if it
// changed, along the chain.
func (t *Task) frontierMoved() error {
	head := t.nodes[0]
	if w := t.frontier.Time(); w > head.in {
		head.in = w
		head.ctx.Metrics.Watermark.Store(int64(w))
		t.at = head
		out, err := head.op.Watermark(w)
		if err != nil {
			return t.failure(head, err)
		}
		if err := t.advance(head, out); err != nil {
			return err
		}
	}
	if idle := t.frontier.Idle(); idle != t.idle {
		return t.tellIdle(idle)
	}
	return nil
}

// tellIdle tells all that is behind the task that it is idle, or active again. Its
// records do not tell that: they may have been filtered out, and of a hash exchange
// they reach some partitions only. Those that did not hear of it would go on without
// us in event time, and find our next records late.
//
// Idleness is put off while an operator holds records that will leave later.
func (t *Task) tellIdle(idle bool) error {
	t.idle = idle
	t.untold = idle && t.holding()
	if t.untold {
		return nil
	}
	if idle {
		return t.broadcast(flow.Control{Kind: flow.ControlIdle})
	}
	return t.broadcast(flow.Control{Kind: flow.ControlWatermark})
}

func (t *Task) holding() bool {
	for _, n := range t.nodes {
		if h, ok := n.op.(operator.Holder); ok && h.Holding() {
			return true
		}
	}
	return false
}

// advance sets n's output watermark and hands it to all that is behind n.
func (t *Task) advance(n *node, w flow.Time) error {
	if w <= n.out {
		return nil
	}
	n.out = w
	if len(t.gates) == 0 && n == t.nodes[0] {
		n.ctx.Metrics.Watermark.Store(int64(w))
	}
	for _, c := range n.children {
		c.in = w
		c.ctx.Metrics.Watermark.Store(int64(w))
		t.at = c
		out, err := c.op.Watermark(w)
		if err != nil {
			return t.failure(c, err)
		}
		if err := t.advance(c, out); err != nil {
			return err
		}
	}
	for _, wr := range n.writers {
		if err := wr.Control(flow.Watermark(w)); err != nil {
			return t.failed(err)
		}
	}
	return nil
}

// broadcast sends a control record on all writers; a watermark is that of the
// writer's own operator.
func (t *Task) broadcast(c flow.Control) error {
	for _, n := range t.nodes {
		for _, w := range n.writers {
			send := c
			if c.Kind == flow.ControlWatermark {
				send.Time = n.out
			}
			if err := w.Control(send); err != nil {
				return t.failed(err)
			}
		}
	}
	return nil
}

// end handles the end of all input: the operators behind the head learn of it in
// order, so that each sees what the ones before it emit at their end.
func (t *Task) end() error {
	for _, n := range t.nodes[1:] {
		t.at = n
		if err := n.op.EndInput(0); err != nil {
			return t.failure(n, err)
		}
	}
	t.ended = true
	if err := t.broadcast(flow.Control{Kind: flow.ControlEnd}); err != nil {
		return err
	}
	if err := t.stateErr(); err != nil {
		return err
	}
	t.cfg.Listener.Drained()
	return nil
}

// toSource runs f with the task's source, if op is it and it has not ended.
func (t *Task) toSource(f func(operator.SplitReceiver) error) {
	t.toSourceAlways(func(r operator.SplitReceiver) error {
		if t.ended {
			return nil
		}
		return f(r)
	})
}

func (t *Task) toSourceAlways(f func(operator.SplitReceiver) error) {
	t.order(func() error {
		if t.source == nil {
			return nil
		}
		t.pull.waiting = false
		t.at = t.nodes[0]
		if err := f(t.source); err != nil {
			return t.failure(t.nodes[0], err)
		}
		return nil
	})
}

// AddSplits gives the task's source splits; it reads nothing between two of them. A
// source that was stopped gets them too: it reads none, but they must not be missing
// from the epochs that are still to come.
func (t *Task) AddSplits(splits []operator.Split) {
	t.toSourceAlways(func(r operator.SplitReceiver) error {
		for _, s := range splits {
			if err := r.AddSplit(s); err != nil {
				return err
			}
		}
		return nil
	})
}

// NoMoreSplits tells the task's source that it gets no more splits.
func (t *Task) NoMoreSplits() { t.toSource(operator.SplitReceiver.NoMoreSplits) }

// NoSplitYet tells the task's source that there is no split for it now.
func (t *Task) NoSplitYet() { t.toSource(operator.SplitReceiver.NoSplitYet) }

// Align tells the task's source the least watermark of a group.
func (t *Task) Align(group string, at flow.Time) {
	t.toSource(func(r operator.SplitReceiver) error { return r.Align(group, at) })
}

// StopSource ends the task's source before its time.
func (t *Task) StopSource() { t.toSource(operator.SplitReceiver.Stop) }
