package task

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
)

// flight is the records that an epoch has overtaken, on their way into its snapshot.
// The task fills it; when done is closed it belongs to the goroutine that writes.
type flight struct {
	epoch    flow.Epoch
	channels []checkpoint.Channel
	sections [][]byte // of the channels
	size     int
	books    []checkpoint.Entry
	pause    time.Duration // that it took to copy what was queued
	done     chan struct{}
}

// maxFlight bounds what one epoch may overtake, in bytes. One that would take more is
// given up: it would be the job's queues, many times over.
const maxFlight = 128 << 20

// errLost is why the snapshot of an epoch is given up of which a channel will not
// bring the barrier.
var errLost = errors.New("task: a newer barrier came where that of the epoch was missing")

// overtakes reports whether epochs may overtake here.
func (t *Task) overtakes() bool {
	return t.cfg.AlignTimeout > 0 && t.cfg.Snapshots != nil && len(t.gates) > 0
}

// setOvertaking tells the aligner of it.
func (t *Task) setOvertaking() {
	if !t.overtakes() {
		return
	}
	t.overtaking = true
	t.aligner.OvertakeAfter(t.cfg.AlignTimeout)
	for _, g := range t.gates {
		for c := range g.Gate.Channels() {
			if g.InLine {
				t.aligner.InLine(g.first + c)
			}
		}
	}
}

// hear tells the aligner of barriers that are queued, and lets an epoch overtake when
// it is time. It is done also when there is no credit and nothing can be read.
func (t *Task) hear() error {
	for i := range t.gates {
		g := &t.gates[i]
		if !g.Gate.HasBarriers() {
			continue
		}
		t.arrivals = g.Gate.Barriers(t.arrivals[:0])
		for _, a := range t.arrivals {
			c := g.first + a.Channel
			if err := t.decided(c, t.aligner.Announce(c, a.Barrier, t.cfg.Now())); err != nil {
				return err
			}
		}
	}
	if at, ok := t.aligner.Next(); ok {
		if now := t.cfg.Now(); at <= now {
			return t.decided(0, t.aligner.Tick(now))
		}
	}
	return nil
}

// heard reports whether hear has something to do, and when it will have if nothing
// happens: MaxTime if never.
func (t *Task) heard() (now bool, at flow.Time) {
	if !t.overtaking || len(t.replays) > 0 {
		return false, flow.MaxTime
	}
	for i := range t.gates {
		if t.gates[i].Gate.HasBarriers() {
			return true, 0
		}
	}
	if at, ok := t.aligner.Next(); ok {
		return false, at
	}
	return false, flow.MaxTime
}

// barrier tells the aligner of a barrier that was read.
func (t *Task) barrier(channel int, b flow.Barrier) error {
	if t.overtaking {
		if err := t.decided(channel, t.aligner.Announce(channel, b, t.cfg.Now())); err != nil {
			return err
		}
	}
	return t.decided(channel, t.aligner.Barrier(channel, b))
}

// decided does what the aligner has decided.
func (t *Task) decided(channel int, d checkpoint.Decision) error {
	for _, e := range []flow.Epoch{d.Aborted, d.Dropped} {
		if e != 0 {
			t.cfg.Listener.Decline(e, "a newer barrier overtook it")
		}
	}
	if d.Dropped != 0 {
		t.dropFlight(d.Dropped, errLost)
	}
	if d.Unblock {
		t.unblock()
	}
	switch d.Verdict {
	case checkpoint.Wait:
		t.block(channel, true)
	case checkpoint.Aligned:
		if err := t.epoch(d.Barrier, nil); err != nil {
			return err
		}
	case checkpoint.Overtake:
		t.flight = &flight{epoch: d.Barrier.Epoch, done: make(chan struct{})}
		if err := t.epoch(d.Barrier, t.flight); err != nil {
			return err
		}
	}
	return t.capture(d)
}

// capture logs and takes what the epoch has overtaken. Where that fails the epoch is
// given up, not the task.
func (t *Task) capture(d checkpoint.Decision) error {
	f := t.flight
	if f == nil || len(d.Log)+len(d.Take) == 0 {
		return nil
	}
	began := time.Now()
	for _, c := range d.Log {
		g := t.gateOf(c)
		if err := g.Gate.Log(c - g.first); err != nil {
			return t.failed(err)
		}
	}
	for _, c := range d.Take {
		if err := t.takeRecords(f, c); err != nil {
			t.giveUp(f.epoch, err)
			return nil
		}
	}
	f.pause += time.Since(began)
	if d.Complete {
		t.flight = nil
		close(f.done)
		return nil
	}
	t.boundFlight()
	return nil
}

// takeRecords puts the records of a channel into the flight.
func (t *Task) takeRecords(f *flight, channel int) error {
	g := t.gateOf(channel)
	c := channel - g.first
	in, err := g.Gate.Take(c, f.epoch)
	if err != nil {
		return fmt.Errorf("records that it overtook: %w", err)
	}
	if in.Records == 0 {
		return nil
	}
	producer := c
	if g.Forward {
		producer = t.cfg.ID.Subtask
	}
	f.channels = append(f.channels, checkpoint.Channel{To: string(g.Edge.To), Port: int(g.Edge.Port), Index: g.Edge.Index,
		Exchange: uint8(g.Exchange), Producer: producer, Records: in.Records, Offset: int64(f.size), Length: int64(len(in.Data))})
	f.sections = append(f.sections, in.Data)
	f.size += len(in.Data)
	f.books = append(f.books, checkpoint.Entry{Account: checkpoint.AccountQueued, Operator: string(g.Edge.To), Port: int(g.Edge.Port),
		Index: g.Edge.Index, Producer: producer, Consumer: t.cfg.ID.Subtask, Records: in.Records, Sum: checkpoint.Sum(in.Sum)})
	return nil
}

// boundFlight gives up the epoch whose records become too many.
func (t *Task) boundFlight() {
	n := t.flight.size
	for i := range t.gates {
		n += t.gates[i].Gate.Logged()
	}
	if n > maxFlight {
		t.giveUp(t.flight.epoch, fmt.Errorf("it has overtaken more than %d MB of records and goes on: "+
			"the task is far behind, or a barrier does not come", maxFlight>>20))
	}
}

// giveUp declines an epoch that has overtaken records and cannot be completed.
func (t *Task) giveUp(e flow.Epoch, why error) {
	t.aligner.Abort(e)
	t.dropFlight(e, why)
	t.cfg.Log.Warn("epoch is given up", "epoch", uint64(e), "err", why)
	t.cfg.Listener.Decline(e, fmt.Sprintf("task %s: %v", t.cfg.ID, why))
}

// dropFlight forgets what was logged for an epoch, and its snapshot.
func (t *Task) dropFlight(e flow.Epoch, why error) {
	if t.flight == nil || t.flight.epoch != e {
		return
	}
	t.flight = nil
	for i := range t.gates {
		t.gates[i].Gate.Unlog()
	}
	t.saves.drop(e, why)
}

// gateOf is the gate of one of the task's channels.
func (t *Task) gateOf(channel int) *gate {
	i, found := slices.BinarySearchFunc(t.gates, channel, func(g gate, c int) int { return g.first - c })
	if !found {
		i--
	}
	return &t.gates[i]
}
