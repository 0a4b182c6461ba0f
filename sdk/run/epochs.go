package run

import (
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/scheduler"
)

// EpochStats is what an epoch has cost.
type EpochStats struct {
	Epoch uint64
	// Took is from the barrier's start at the sources to the commit.
	Took time.Duration
	// Acknowledged is the part of it until all tasks had saved what they held.
	Acknowledged time.Duration
	// Pauses is for how long each task stood still for it.
	Pauses []time.Duration
	// Bytes were added to storage, but for the manifest.
	Bytes int64
}

// watchEpochs tells f of epochs. All calls of a listener come on one goroutine.
func watchEpochs(l *scheduler.Listener, f func(EpochStats)) {
	type epoch struct {
		began time.Time
		EpochStats
	}
	open := map[flow.Epoch]*epoch{}
	committed, aborted := l.Committed, l.Aborted
	l.Injected = func(b flow.Barrier) {
		open[b.Epoch] = &epoch{began: time.Now(), EpochStats: EpochStats{Epoch: uint64(b.Epoch)}}
	}
	l.Acknowledged = func(b flow.Barrier, tasks []checkpoint.TaskSnapshot) {
		e := open[b.Epoch]
		if e == nil {
			return
		}
		e.Acknowledged = time.Since(e.began)
		for i := range tasks {
			e.Bytes += tasks[i].Bytes
			e.Pauses = append(e.Pauses, time.Duration(tasks[i].Pause)*time.Microsecond)
		}
	}
	l.Committed = func(b flow.Barrier) {
		if e := open[b.Epoch]; e != nil {
			delete(open, b.Epoch)
			e.Took = time.Since(e.began)
			f(e.EpochStats)
		}
		if committed != nil {
			committed(b)
		}
	}
	l.Aborted = func(b flow.Barrier, reason string) {
		delete(open, b.Epoch)
		if aborted != nil {
			aborted(b, reason)
		}
	}
}
