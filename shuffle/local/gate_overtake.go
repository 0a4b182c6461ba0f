package local

import (
	"slices"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
)

// arrivedLocked notes a barrier that was queued.
func (g *Gate[T]) arrivedLocked(channel int, b flow.Barrier) {
	g.mu.arrived = append(g.mu.arrived, shuffle.Arrival{Channel: channel, Barrier: b})
	g.arrived.Store(int32(len(g.mu.arrived)))
}

// readLocked notes a barrier that was taken off the queue: there is nothing to tell of
// it any more, so that the list is no longer than what is queued.
func (g *Gate[T]) readLocked(channel int, b flow.Barrier) {
	if at := slices.Index(g.mu.arrived, shuffle.Arrival{Channel: channel, Barrier: b}); at >= 0 {
		g.mu.arrived = slices.Delete(g.mu.arrived, at, at+1)
		g.arrived.Store(int32(len(g.mu.arrived)))
	}
}

// HasBarriers reports whether Barriers would find something.
func (g *Gate[T]) HasBarriers() bool { return g.arrived.Load() > 0 }

// Barriers appends the barriers that were queued since it was called last.
func (g *Gate[T]) Barriers(dst []shuffle.Arrival) []shuffle.Arrival {
	g.mu.Lock()
	defer g.mu.Unlock()
	dst = append(dst, g.mu.arrived...)
	g.mu.arrived = g.mu.arrived[:0]
	g.arrived.Store(0)
	return dst
}

// Log copies each batch of the channel before it is handed over.
func (g *Gate[T]) Log(channel int) (err error) {
	g.logs[channel], err = shuffle.NewRecorder[T](g.opt.Hashes)
	return err
}

// Take ends the log of a channel, with what is queued before the barrier of e.
func (g *Gate[T]) Take(channel int, e flow.Epoch) (shuffle.InFlight, error) {
	log := g.logs[channel]
	g.logs[channel] = nil
	// They are encoded without the lock. Nobody else takes them off the queue or
	// writes to them.
	for _, b := range g.before(channel, e) {
		log.Add(b)
	}
	return log.Finish()
}

// before is the batches that are queued before the barrier of e.
func (g *Gate[T]) before(channel int, e flow.Epoch) (batches []*flow.Batch[T]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := &g.channels[channel].queue
	for i := range q.len() {
		it := q.at(i)
		switch {
		case it.batch != nil:
			batches = append(batches, it.batch)
		case it.control.Kind == flow.ControlBarrier && it.control.Barrier.Epoch == e:
			return batches
		}
	}
	// It was read already, and all before it too.
	return nil
}

// Logged is the number of bytes in all logs.
func (g *Gate[T]) Logged() int {
	n := 0
	for _, log := range g.logs {
		if log != nil {
			n += log.Size()
		}
	}
	return n
}

// Unlog forgets all logs.
func (g *Gate[T]) Unlog() { clear(g.logs) }

// Replay prepares to hand over what was taken.
func (g *Gate[T]) Replay(data []byte, keep func(flow.Hash) bool) (shuffle.Replayer, error) {
	r, err := shuffle.NewReplay(data, g.receiver, keep, g.opt.Hashes)
	if err != nil {
		return nil, err
	}
	return r, nil
}
