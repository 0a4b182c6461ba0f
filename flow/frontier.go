package flow

import (
	"fmt"
	"strings"
)

// Frontier merges the watermarks of several inputs: the combined watermark is
// the least of those that are neither idle nor ended. It never goes back.
//
// While all live inputs are idle the frontier is idle as a whole and keeps its
// time: an idle input says nothing about time. To go on to the greatest of their
// times, as Flink does, loses records of the others, which are about to wake as often
// as not. Once all inputs have ended it is MaxTime if the end of each was announced
// by MaxTime.
//
// MaxTime is an announcement and no time: the end of one input says nothing about
// those that are idle and may go on. Whether an input fell idle just before or just
// after another one's end makes no difference.
type Frontier struct {
	inputs []frontierInput
	groups []bool // of each group, whether a member is active
	time   Time
	idle   bool
}

type frontierInput struct {
	time        Time
	idle, ended bool
	group       int // 0 if in none
}

// over reports whether nothing more is expected of the input.
func (in *frontierInput) over() bool { return in.ended || in.time == MaxTime }

// NewFrontier makes a frontier of n inputs, all active at MinTime.
func NewFrontier(n int) *Frontier {
	f := &Frontier{inputs: make([]frontierInput, n), time: MinTime}
	for i := range f.inputs {
		f.inputs[i].time = MinTime
	}
	return f
}

// Together says that inputs [from, to) belong to a group, numbered from 1, whose
// members fall idle and wake together: they come from tasks that all hear the same
// of the same sources. One of them that is idle while another is active is about to
// wake too, and may have older records before it: it is not left out until all are
// idle.
func (f *Frontier) Together(group, from, to int) {
	for len(f.groups) < group {
		f.groups = append(f.groups, false)
	}
	for i := from; i < to; i++ {
		f.inputs[i].group = group
	}
}

// Time is the combined watermark.
func (f *Frontier) Time() Time { return f.time }

// Idle reports whether no input is active: all are idle or at their end, and one at
// least is idle.
func (f *Frontier) Idle() bool { return f.idle }

// Ended reports whether all inputs have ended.
func (f *Frontier) Ended() bool {
	for i := range f.inputs {
		if !f.inputs[i].ended {
			return false
		}
	}
	return true
}

// Watermark notes the watermark t of input i and makes it active. It reports
// whether the combined watermark advanced. A watermark that goes back is ignored.
func (f *Frontier) Watermark(i int, t Time) bool {
	in := &f.inputs[i]
	in.idle = false
	if t > in.time {
		in.time = t
	}
	return f.update()
}

// SetIdle notes that input i has nothing to say for now. The combined watermark
// may advance because of it.
func (f *Frontier) SetIdle(i int) bool {
	f.inputs[i].idle = true
	return f.update()
}

// SetActive notes that input i has records again. Its watermark counts again; the
// combined one does not go back. It may advance: if all were idle, and this input
// was not the one that held the others back.
func (f *Frontier) SetActive(i int) bool {
	if !f.inputs[i].idle {
		return false
	}
	f.inputs[i].idle = false
	return f.update()
}

// End notes the end of input i: it no longer holds the others back.
func (f *Frontier) End(i int) bool {
	f.inputs[i].ended = true
	return f.update()
}

// InputEnded reports whether input i has ended.
func (f *Frontier) InputEnded(i int) bool { return f.inputs[i].ended }

func (f *Frontier) update() bool {
	least, active, idle := MaxTime, false, false
	ended := MaxTime
	clear(f.groups)
	for i := range f.inputs {
		if in := &f.inputs[i]; in.group > 0 && !in.idle && !in.over() {
			f.groups[in.group-1] = true
		}
	}
	for i := range f.inputs {
		in := &f.inputs[i]
		switch {
		case in.over():
			ended = min(ended, in.time)
		case in.idle && (in.group == 0 || !f.groups[in.group-1]):
			idle = true
		default:
			active = true
			least = min(least, in.time)
		}
	}
	f.idle = !active && idle
	switch {
	case active:
	case idle:
		return false
	default:
		least = ended
	}
	if least > f.time {
		f.time = least
		return true
	}
	return false
}

// Describe prints the frontier for scripts: one field an input.
func (f *Frontier) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "time=%s idle=%t [", f.time, f.idle)
	for i, in := range f.inputs {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(in.time.String())
		if in.idle {
			b.WriteString("(idle)")
		}
		if in.ended {
			b.WriteString("(ended)")
		}
	}
	b.WriteByte(']')
	return b.String()
}
