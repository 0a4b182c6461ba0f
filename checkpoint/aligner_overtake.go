package checkpoint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/flow"
)

// overtaking is the part of an [Aligner] for epochs that do not wait.
//
// An epoch that waits for its barriers waits for all that is queued before them, and
// where a job cannot keep up that is as much as fits into its queues, in front of
// every task on the way. So after a time the epoch overtakes: the task takes its
// snapshot at once, sends the barrier on, and adds to the snapshot the records that
// each channel brings before its barrier. A record before the barrier is thus either
// handled, and in the state, or in the snapshot as it is; never both, never neither.
//
//	channel 0  ... r r |            delivered its barrier: nothing is added
//	channel 1  ... r r ▲ r r r |    queued: the r between here and its barrier are
//	                   │            taken out of the queue's copy at once
//	channel 2  ... r r ▲ r r        its barrier is still to come: what is read from
//	                   │            now on is logged, and when the barrier comes the
//	            the task is here    rest that is before it is taken
//
// One epoch at a time is in this state: the next one overtakes when the last one has
// all its records. It need not wait long, since that takes no reading.
//
// Savepoints and final epochs are aligned always: a savepoint must fit another graph, in
// which the edge that the records were on may be no more.
type overtaking struct {
	timeout   time.Duration // 0: never, but for barriers that are unaligned already
	heard     []heard       // barriers that were announced and have not ended here, in the order of epochs
	capturing flow.Barrier  // has overtaken records that are still coming; Epoch 0 if none
	open      int           // channels on which its barrier is still to come
}

// heard is an epoch of which a barrier is queued.
type heard struct {
	barrier flow.Barrier
	since   flow.Time
	on      []bool // by channel: it is queued there
}

// OvertakeAfter makes epochs overtake when d has passed since the first of their
// barriers was announced. 0, as in a new aligner, is never.
func (a *Aligner) OvertakeAfter(d time.Duration) { a.timeout = d }

// InLine says that nothing is ever overtaken on channel: an epoch overtakes on the
// others when this one has brought its barrier.
func (a *Aligner) InLine(channel int) { a.inputs[channel].inLine = true }

// Announce notes that b is queued on channel, behind others perhaps. A barrier is
// announced once, before it is read, and those of one channel in their order. One that
// is not announced is aligned, and sets no clock.
func (a *Aligner) Announce(channel int, b flow.Barrier, now flow.Time) Decision {
	d := a.overtook(channel, b)
	if b.Epoch <= a.last || b.Epoch < a.current.Epoch {
		return d
	}
	// An older epoch that this channel has neither delivered nor announced will not
	// come here any more.
	if c := a.current.Epoch; c != 0 && c < b.Epoch && !a.inputs[channel].blocked && !a.isQueued(channel, c) {
		d.Aborted = c
		d.Unblock = a.release(c)
	}
	a.heard = slices.DeleteFunc(a.heard, func(h heard) bool {
		return h.barrier.Epoch < b.Epoch && h.barrier.Epoch != a.current.Epoch && !h.on[channel]
	})
	if slices.Contains(a.aborted, b.Epoch) {
		return d
	}
	i, found := a.find(b.Epoch)
	if !found {
		a.heard = slices.Insert(a.heard, i, heard{barrier: b, since: now, on: make([]bool, len(a.inputs))})
	}
	h := &a.heard[i]
	h.on[channel] = true
	h.barrier.Unaligned = h.barrier.Unaligned || b.Unaligned
	return d
}

func (a *Aligner) find(e flow.Epoch) (int, bool) {
	return slices.BinarySearchFunc(a.heard, e, func(h heard, e flow.Epoch) int { return int(h.barrier.Epoch) - int(e) })
}

func (a *Aligner) isQueued(channel int, e flow.Epoch) bool {
	i, found := a.find(e)
	return found && a.heard[i].on[channel]
}

// Next is when Tick has something to do, if nothing happens before; false if it has
// nothing. A time that has passed is now.
func (a *Aligner) Next() (flow.Time, bool) {
	if len(a.heard) == 0 || a.capturing.Epoch != 0 {
		return 0, false
	}
	h := &a.heard[0]
	switch {
	case h.barrier.Kind != flow.BarrierCheckpoint:
		return 0, false
	case a.current.Epoch != 0 && a.current.Epoch != h.barrier.Epoch:
		return 0, false
	}
	for i := range a.inputs {
		if a.inputs[i].inLine && !a.inputs[i].blocked {
			return 0, false
		}
	}
	switch {
	case h.barrier.Unaligned:
		return flow.MinTime, true
	case a.timeout > 0:
		return h.since.Add(a.timeout), true
	}
	return 0, false
}

// Tick notes how late it is. The verdict is Overtake or Ignored.
func (a *Aligner) Tick(now flow.Time) Decision {
	if at, ok := a.Next(); !ok || now < at {
		return Decision{}
	}
	h := a.heard[0]
	b := h.barrier
	b.Unaligned = true
	d := Decision{Verdict: Overtake, Barrier: b, Taken: b.Epoch}
	a.open = 0
	for i := range a.inputs {
		in := &a.inputs[i]
		if in.blocked {
			continue
		}
		d.Log = append(d.Log, i)
		if h.on[i] {
			d.Take = append(d.Take, i)
			continue
		}
		in.open = true
		a.open++
	}
	d.Unblock = a.release(b.Epoch)
	if d.Complete = a.open == 0; !d.Complete {
		a.capturing = b
	}
	return d
}

// overtook is what b, on channel, says about the epoch that has overtaken records.
func (a *Aligner) overtook(channel int, b flow.Barrier) (d Decision) {
	e, in := a.capturing.Epoch, &a.inputs[channel]
	switch {
	case e == 0 || !in.open || b.Epoch < e:
	case b.Epoch > e:
		d.Dropped = e
		a.closeAll()
	default:
		in.open = false
		a.open--
		d.Take, d.Taken = []int{channel}, e
		if a.open == 0 {
			d.Complete, a.capturing = true, flow.Barrier{}
		}
	}
	return d
}

// closeAll ends the epoch that has overtaken records.
func (a *Aligner) closeAll() {
	a.capturing, a.open = flow.Barrier{}, 0
	for i := range a.inputs {
		a.inputs[i].open = false
	}
}

// forget drops what was announced of epochs up to e.
func (a *Aligner) forget(e flow.Epoch) {
	a.heard = slices.DeleteFunc(a.heard, func(h heard) bool { return h.barrier.Epoch <= e })
}

// Capturing is the barrier of the epoch that has overtaken records which are still
// coming; false if there is none.
func (a *Aligner) Capturing() (flow.Barrier, bool) { return a.capturing, a.capturing.Epoch != 0 }

func (a *Aligner) describe(b *strings.Builder) {
	if a.capturing.Epoch != 0 {
		fmt.Fprintf(b, " capturing=%d", a.capturing.Epoch)
	}
	for _, h := range a.heard {
		fmt.Fprintf(b, " heard=%d:", h.barrier.Epoch)
		for i, on := range h.on {
			if on {
				fmt.Fprintf(b, "%d", i)
			}
		}
	}
	if at, ok := a.Next(); ok {
		if at == flow.MinTime {
			b.WriteString(" now")
		} else {
			fmt.Fprintf(b, " at=%s", time.Duration(at)*time.Microsecond)
		}
	}
}
