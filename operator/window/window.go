package window

import (
	"fmt"

	"github.com/weirflow/weir/flow"
)

// Window is the half-open span [Start, End) of time that a set of records of one
// key belongs to. Windows are compared with ==.
type Window struct {
	Start, End flow.Time
}

// All is the one window of [Global] and of count windows.
var All = Window{flow.MinTime, flow.MaxTime}

// Last is the last instant in the window. The window is complete as soon as the
// watermark is there, and its results carry this time.
func (w Window) Last() flow.Time { return w.End - 1 }

// Contains reports whether t is in the window.
func (w Window) Contains(t flow.Time) bool { return w.Start <= t && t < w.End }

// Overlaps reports whether the two have an instant in common.
func (w Window) Overlaps(o Window) bool { return w.Start < o.End && o.Start < w.End }

// String is "[start,end)", or "all".
func (w Window) String() string {
	if w == All {
		return "all"
	}
	return fmt.Sprintf("[%v,%v)", w.Start, w.End)
}

// expiry is the watermark at which nothing is kept of the window any more.
func (w Window) expiry(lateness flow.Time) flow.Time { return w.Last().Plus(lateness) }

// Timing says at what point of a window's life a result was made.
type Timing uint8

const (
	// Early results were made before the watermark had reached the window's last
	// instant.
	Early Timing = iota
	// OnTime is the result made when it got there.
	OnTime
	// Late results were made after that, because of late records.
	Late
)

// String is "early", "on time" or "late".
func (t Timing) String() string {
	switch t {
	case Early:
		return "early"
	case OnTime:
		return "on time"
	case Late:
		return "late"
	}
	return fmt.Sprintf("timing(%d)", uint8(t))
}

// Pane tells apart the results that one window gave, one after the other.
type Pane struct {
	// Index counts the results of the window, from 0. A session that grew out of
	// several goes on from the largest.
	Index int
	// Timing says when it was made.
	Timing Timing
	// Last is true if it is certain that the window will give no other result.
	Last bool
}

// Result is one result of a window.
type Result[K comparable, Out any] struct {
	Key    K
	Window Window
	Value  Out
	Pane   Pane
}

// Mode says what a result covers when a window gives several.
type Mode uint8

const (
	// Accumulating results each cover all records of the window so far.
	Accumulating Mode = iota
	// Discarding results each cover the records since the result before.
	Discarding
)

// String is "accumulating" or "discarding".
func (m Mode) String() string {
	if m == Discarding {
		return "discarding"
	}
	return "accumulating"
}
