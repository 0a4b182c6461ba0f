package task

import (
	"context"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// These methods are operator.Task: what a task offers to its operators.

// Context ends when the task is cancelled.
func (t *Task) Context() context.Context { return t.ctx }

// Now is the processing time.
func (t *Task) Now() flow.Time { return t.cfg.Now() }

// Mail runs f on the task's goroutine, soon.
func (t *Task) Mail(f func() error) bool {
	if !t.mail.put(f) {
		return false
	}
	t.signal()
	return true
}

// Wake makes the loop look at its inputs again. Gates and writers call it, and
// sources by their readers.
func (t *Task) Wake() {
	t.pull.woken.Store(true)
	t.signal()
}

// signal ends the task's sleep, if it sleeps. Whoever calls it has changed before
// what the loop looks at before it parks.
func (t *Task) signal() {
	if t.parked.CompareAndSwap(true, false) {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// WakeAt asks for a call of ProcessingTime.
func (t *Task) WakeAt(op operator.Operator, at flow.Time) {
	n := t.node(op)
	if at < n.wakeAt {
		n.wakeAt = at
		t.nextWake = min(t.nextWake, at)
	}
}

// Advance sends a watermark that op held back.
func (t *Task) Advance(op operator.Operator, at flow.Time) error { return t.advance(t.node(op), at) }

// Yield runs mail until done returns true.
func (t *Task) Yield(done func() bool) error {
	for !done() {
		if t.stopped.Load() {
			return context.Cause(t.ctx)
		}
		if t.mail.pending() {
			if err := t.run(&t.mail); err != nil {
				return err
			}
			continue
		}
		// What was emitted before must not wait for what is waited for here.
		if err := t.flush(); err != nil {
			return err
		}
		t.parked.Store(true)
		if t.mail.pending() || t.stopped.Load() {
			t.parked.Store(false)
			continue
		}
		<-t.wake
	}
	return nil
}

// RequestSplit asks for one more split.
func (t *Task) RequestSplit(op flow.OperatorID) { t.cfg.Listener.RequestSplit(op) }

// FinishedSplit tells that a split was read to its end.
func (t *Task) FinishedSplit(op flow.OperatorID, split string) {
	t.cfg.Listener.FinishedSplit(op, split)
}

// ReportWatermark tells how far a source in an alignment group has come.
func (t *Task) ReportWatermark(op flow.OperatorID, group string, at flow.Time) {
	t.cfg.Listener.SourceWatermark(op, group, at)
}

func (t *Task) node(op operator.Operator) *node {
	for _, n := range t.nodes {
		if n.op == op {
			return n
		}
	}
	panic("task: an operator of another chain")
}

// order is Mail for the worker. Orders are apart from mail because an operator that
// yields in the middle of a barrier must not be given the next barrier.
func (t *Task) order(f func() error) {
	if t.orders.put(f) {
		t.signal()
	}
}

// run runs what is in the box. It takes out one at a time: if it yields, what came
// behind it is run there, and may be what it waits for.
func (t *Task) run(m *mailbox) error {
	for f := m.take(); f != nil; f = m.take() {
		t.at = nil
		if err := f(); err != nil {
			return t.failed(err)
		}
	}
	return nil
}

// fireTimers calls the operators whose time has come. After the end of input
// nothing may come from them any more.
func (t *Task) fireTimers() error {
	if t.ended {
		t.nextWake = flow.MaxTime
		return nil
	}
	now := t.cfg.Now()
	if now < t.nextWake {
		return nil
	}
	for _, n := range t.nodes {
		if n.wakeAt <= now {
			n.wakeAt = flow.MaxTime
			t.at = n
			if err := n.op.ProcessingTime(now); err != nil {
				return t.failure(n, err)
			}
			// What it sent made the inputs behind active, which the task is not.
			t.untold = t.untold || t.idle
		}
	}
	t.nextWake = flow.MaxTime
	for _, n := range t.nodes {
		t.nextWake = min(t.nextWake, n.wakeAt)
	}
	return t.stateErr()
}

// park sleeps until something happens. Whatever happens between the look and the
// sleep is not missed: it finds parked set, and leaves a token in wake.
// stepped tells whether the task has looked at its inputs before.
func (t *Task) park(stepped bool) {
	t.parked.Store(true)
	if t.somethingToDo(stepped) {
		t.parked.Store(false)
		return
	}
	until := t.nextWake
	if t.source != nil && !t.ended && t.hold == 0 && t.pull.waiting && t.pull.until != 0 && t.writable() {
		until = min(until, t.pull.until)
	}
	_, at := t.heard()
	if until = min(until, at); until == flow.MaxTime {
		t.waits()
		<-t.wake
		t.works()
		return
	}
	now := t.cfg.Now()
	left := until - now
	if until <= now {
		t.parked.Store(false)
		return
	}
	t.waits()
	defer t.works()
	// Times far away do not fit into a Duration; it may well wake up in between.
	timer := time.NewTimer(time.Duration(min(left, flow.Span(longestSleep))) * time.Microsecond)
	select {
	case <-t.wake:
		timer.Stop()
	case <-timer.C:
		t.parked.Store(false)
	}
}

// waits and works are around each sleep of the loop, the only places where its time is
// measured. What an operator waits for in Yield, and a writer that runs out of credit in the
// middle of a batch, are part of the work on the records that want it.
func (t *Task) waits() { t.times.Wait(time.Now(), !t.writable()) }
func (t *Task) works() { t.times.Work(time.Now()) }

// longestSleep is after how long a task that waits for a time looks at the clock.
const longestSleep = 24 * time.Hour

func (t *Task) somethingToDo(stepped bool) bool {
	if t.stopped.Load() || t.mail.pending() || t.orders.pending() || t.finished || t.putOff.Load() {
		return true
	}
	if now, _ := t.heard(); now {
		return true
	}
	if !t.writable() {
		return false
	}
	if !stepped {
		// Credit came back in the meantime. A gate may look empty because it still
		// holds the credit of the batch that it gave last: its producer waits for the
		// next look at it.
		return true
	}
	if t.source != nil {
		return !t.ended && t.hold == 0 && (!t.pull.waiting || t.pull.woken.Load())
	}
	for i := range t.gates {
		if t.gates[i].Gate.Ready() {
			return true
		}
	}
	return false
}
