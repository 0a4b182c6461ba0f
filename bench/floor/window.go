package floor

import (
	"math"
	"slices"
)

// WindowSize is the length of a window in microseconds of event time.
const WindowSize = 10_000_000

const maxTime = math.MaxInt64

// Window adds up the values of each key in tumbling windows of 10 s of event time;
// a million events are one second. A window's sums are put out when
// the least of the generators' watermarks has passed its end.
//
// Results is the number of sums, one for each key and window, Max the largest,
// Check the sum of [CheckWindow] over all of them.
func Window(events, keys int64, parallelism int) Result {
	return window(events, keys, parallelism, WindowSize)
}

// window is Window with windows of any size.
func window(events, keys int64, parallelism int, size int64) Result {
	return timed(func() Result {
		r := twoStages(events, uint64(keys), parallelism, func(in <-chan *eventBatch, recycle func(*eventBatch)) Result {
			return sumByWindow(in, recycle, parallelism, size)
		})
		r.Events = events
		return r
	})
}

// CheckWindow is what a key's sum in the window from start adds to a check.
func CheckWindow(start int64, key uint64, sum int64) uint64 {
	return mix(mix(uint64(start))^key) * uint64(sum)
}

// pane is a window that has not ended yet.
type pane struct {
	start int64
	sums  map[uint64]int64
}

func sumByWindow(in <-chan *eventBatch, recycle func(*eventBatch), parallelism int, size int64) (r Result) {
	watermarks := make([]int64, max(1, parallelism))
	var panes []pane // by start; two at most while the generators keep step
	var spare map[uint64]int64
	out := make([]Event, 0, BatchSize)
	flush := func() {
		for _, e := range out {
			r.Check += CheckWindow(e.Time, e.Key, e.Value)
			r.Max = max(r.Max, e.Value)
		}
		r.Results += int64(len(out))
		out = out[:0]
	}
	var current pane
	for b := range in {
		for _, e := range b.events {
			if e.Time < current.start || e.Time >= current.start+size || current.sums == nil {
				start := e.Time - e.Time%size
				at, ok := slices.BinarySearchFunc(panes, start, func(p pane, t int64) int { return int(p.start - t) })
				if !ok {
					if spare == nil {
						spare = map[uint64]int64{}
					}
					panes = slices.Insert(panes, at, pane{start, spare})
					spare = nil
				}
				current = panes[at]
			}
			current.sums[e.Key] += e.Value
		}
		watermarks[b.from] = b.watermark
		recycle(b)
		passed := slices.Min(watermarks)
		for len(panes) > 0 && panes[0].start+size <= passed {
			for key, sum := range panes[0].sums {
				if out = append(out, Event{key, sum, panes[0].start}); len(out) == BatchSize {
					flush()
				}
			}
			spare, current = panes[0].sums, pane{}
			clear(spare)
			panes = slices.Delete(panes, 0, 1)
		}
	}
	flush()
	return r
}
