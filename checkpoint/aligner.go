package checkpoint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirflow/weir/flow"
)

// Verdict is what an [Aligner] says about a barrier.
type Verdict uint8

const (
	// Ignored: the barrier is late, doubled, or of an epoch that was aborted. It
	// is thrown away and its channel is read on.
	Ignored Verdict = iota
	// Wait: other channels have not reached the barrier. Its channel is blocked:
	// nothing more may be read from it until a Decision says Unblock.
	Wait
	// Aligned: all channels have reached the barrier.
	Aligned
	// Overtake: not all channels have reached the barrier, and the epoch does not wait
	// any longer. Only [Aligner.Tick] says so.
	Overtake
)

// String is "ignored", "wait", "aligned" or "overtake".
func (v Verdict) String() string {
	switch v {
	case Ignored:
		return "ignored"
	case Wait:
		return "wait"
	case Aligned:
		return "aligned"
	case Overtake:
		return "overtake"
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// Decision is what a task does next. The parts are to be done in the order of
// the fields.
type Decision struct {
	// Aborted, if not 0, is an epoch that can no longer be aligned here. The task
	// tells the coordinator, which declines it.
	Aborted flow.Epoch
	// Dropped, if not 0, is an epoch that has overtaken records of which some can no
	// longer be had. The task forgets what it has logged of them and tells the
	// coordinator, as for Aborted.
	Dropped flow.Epoch
	// Unblock says that all channels blocked until now are read again.
	Unblock bool
	// Verdict is about the barrier that was given. If it is Wait, the channel it
	// came on is blocked; if it is Aligned or Overtake, the task snapshots, prepares,
	// and sends Barrier on to all its outputs.
	Verdict Verdict
	// Barrier is the one that the verdict is about.
	Barrier flow.Barrier
	// Log are the channels on which the epoch has overtaken records: from now on what
	// is read from them is put into the snapshot too, before it is handled.
	Log []int
	// Take are channels whose log ends: what is queued on them before the barrier of
	// Taken is put into the snapshot, and stays queued.
	Take  []int
	Taken flow.Epoch
	// Complete says that Taken's snapshot has all the records that it has overtaken,
	// and can be acknowledged.
	Complete bool
}

// String is for scripts and logs.
func (d Decision) String() string {
	var parts []string
	if d.Aborted != 0 {
		parts = append(parts, fmt.Sprintf("abort %d", d.Aborted))
	}
	if d.Unblock {
		parts = append(parts, "unblock")
	}
	if d.Dropped != 0 {
		parts = append(parts, fmt.Sprintf("drop %d", d.Dropped))
	}
	v := d.Verdict.String()
	if d.Verdict != Ignored {
		v += " " + d.Barrier.String()
	}
	if parts = append(parts, v); len(d.Log) > 0 {
		parts = append(parts, fmt.Sprintf("log %v", d.Log))
	}
	if len(d.Take) > 0 {
		parts = append(parts, fmt.Sprintf("take %v", d.Take))
	}
	if d.Complete {
		parts = append(parts, fmt.Sprintf("complete %d", d.Taken))
	}
	return strings.Join(parts, ", ")
}

// Aligner aligns the barriers that arrive on the input channels of one task.
//
// Channels are in order, so of two epochs the older one's barrier comes first, or
// never. From that follow the rules:
//
//   - A barrier newer than the one being aligned, on a channel that has not
//     delivered that one, says that it was aborted upstream and will never come:
//     the older epoch is aborted here as well and the newer one begins ("overtaken").
//   - A barrier not newer than the last one that ended here, aligned or aborted,
//     is ignored, and so is a second one of the epoch being aligned: a transport that repeats a
//     message does no harm.
//   - A blocked channel should not deliver anything. A newer barrier on one is
//     treated as overtaking, which is the only reading that can't commit too much.
//
// Where epochs may overtake, see [Aligner.OvertakeAfter], the task also tells of
// barriers that are queued and not yet read.
//
// A source has no inputs; its aligner has one channel, on which the coordinator's
// barriers arrive.
type Aligner struct {
	current flow.Barrier // being aligned; Epoch 0 if none
	last    flow.Epoch   // the newest that ended here, aligned or aborted
	missing int          // channels that have not delivered current
	inputs  []alignerInput
	// aborted are epochs newer than last that the coordinator gave up before they
	// ended here; sorted.
	aborted []flow.Epoch
	overtaking
}

type alignerInput struct {
	blocked, ended bool
	inLine         bool // is never overtaken
	open           bool // the barrier of the epoch that overtook is still to come
}

// NewAligner makes an aligner of n input channels; n is 1 at least.
func NewAligner(n int) *Aligner {
	if n < 1 {
		panic(fmt.Sprintf("checkpoint: an aligner of %d channels; a source's has 1", n))
	}
	return &Aligner{inputs: make([]alignerInput, n)}
}

// Barrier notes that b was read from channel and says what to do.
func (a *Aligner) Barrier(channel int, b flow.Barrier) Decision {
	d := a.overtook(channel, b)
	if b.Epoch <= a.last || b.Epoch < a.current.Epoch {
		return d
	}
	aligning := a.current.Epoch != 0
	if aligning && b.Epoch == a.current.Epoch && a.inputs[channel].blocked {
		return d
	}
	if aligning && b.Epoch > a.current.Epoch {
		d.Aborted = a.current.Epoch
		d.Unblock = a.release(d.Aborted)
		aligning = false
	}
	if slices.Contains(a.aborted, b.Epoch) {
		return d
	}
	if !aligning {
		a.current, a.missing = b, len(a.inputs)
		a.forget(b.Epoch - 1)
	}
	// Whoever is behind has what this one had before the barrier, and more.
	a.current.Unaligned = a.current.Unaligned || b.Unaligned
	d.Barrier = a.current
	a.missing--
	if a.missing > 0 {
		a.inputs[channel].blocked = true
		d.Verdict = Wait
		return d
	}
	d.Verdict = Aligned
	d.Unblock = a.release(b.Epoch) || d.Unblock
	return d
}

// Abort notes that the coordinator gave up epoch. Its barriers are ignored from
// now on; if it was being aligned its channels are unblocked; if it has overtaken
// records, what was logged of them is to be forgotten. The decision's Aborted and
// Dropped are not set: the coordinator knows already.
func (a *Aligner) Abort(epoch flow.Epoch) Decision {
	switch {
	case epoch <= a.last:
		if epoch == a.capturing.Epoch {
			a.closeAll()
		}
	case epoch == a.current.Epoch:
		return Decision{Unblock: a.release(epoch)}
	default:
		if i, found := slices.BinarySearch(a.aborted, epoch); !found {
			a.aborted = slices.Insert(a.aborted, i, epoch)
		}
		a.heard = slices.DeleteFunc(a.heard, func(h heard) bool { return h.barrier.Epoch == epoch })
	}
	return Decision{}
}

// release ends epoch here and unblocks all channels. It reports whether any was
// blocked.
func (a *Aligner) release(epoch flow.Epoch) bool {
	a.current, a.missing, a.last = flow.Barrier{}, 0, epoch
	n := 0
	for n < len(a.aborted) && a.aborted[n] <= epoch {
		n++
	}
	a.aborted = slices.Delete(a.aborted, 0, n)
	a.forget(epoch)
	unblock := false
	for i := range a.inputs {
		unblock = unblock || a.inputs[i].blocked
		a.inputs[i].blocked = false
	}
	return unblock
}

// End notes that channel has seen the end of input. Barriers still come on it, so
// that nothing changes for alignment; it is for Describe.
func (a *Aligner) End(channel int) { a.inputs[channel].ended = true }

// Blocked reports whether channel must not be read.
func (a *Aligner) Blocked(channel int) bool { return a.inputs[channel].blocked }

// Aligning is the barrier that some channels have delivered and others have not;
// false if there is none.
func (a *Aligner) Aligning() (flow.Barrier, bool) { return a.current, a.current.Epoch != 0 }

// Last is the newest epoch that ended here, aligned or aborted.
func (a *Aligner) Last() flow.Epoch { return a.last }

// Describe prints the aligner for scripts: a field a channel, "." if it is read,
// "#" if it is blocked and "~" if it is logged, "e" behind it if it has ended.
func (a *Aligner) Describe() string {
	var b strings.Builder
	if a.current.Epoch != 0 {
		fmt.Fprintf(&b, "aligning %s, ", a.current)
	}
	fmt.Fprintf(&b, "last=%d [", a.last)
	for i, in := range a.inputs {
		if i > 0 {
			b.WriteByte(' ')
		}
		switch {
		case in.blocked:
			b.WriteByte('#')
		case in.open:
			b.WriteByte('~')
		default:
			b.WriteByte('.')
		}
		if in.ended {
			b.WriteByte('e')
		}
	}
	b.WriteByte(']')
	if len(a.aborted) > 0 {
		fmt.Fprintf(&b, " aborted=%v", a.aborted)
	}
	a.describe(&b)
	return b.String()
}
