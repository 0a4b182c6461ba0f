package flow

import "fmt"

// ControlKind says which control record a [Control] is.
type ControlKind uint8

const (
	// ControlWatermark promises that no record with an event time before or at
	// Control.Time follows on this input, but for late ones.
	ControlWatermark ControlKind = iota + 1
	// ControlBarrier separates the records of one epoch from those of the next.
	ControlBarrier
	// ControlIdle takes the input out of the watermark's minimum until its next
	// batch or watermark.
	ControlIdle
	// ControlEnd is the end of input: no batch and no watermark follows, only the
	// barriers of later epochs.
	ControlEnd
)

// BarrierKind says what an epoch is for.
type BarrierKind uint8

const (
	// BarrierCheckpoint is an ordinary, periodic epoch.
	BarrierCheckpoint BarrierKind = iota
	// BarrierSavepoint is an epoch that the user asked for and owns.
	BarrierSavepoint
	// BarrierFinal is a job's last epoch: when it is committed the tasks end.
	BarrierFinal
)

// String is "checkpoint", "savepoint" or "final".
func (k BarrierKind) String() string {
	switch k {
	case BarrierCheckpoint:
		return "checkpoint"
	case BarrierSavepoint:
		return "savepoint"
	case BarrierFinal:
		return "final"
	}
	return fmt.Sprintf("barrier(%d)", uint8(k))
}

// Barrier travels in line with the records and carries its epoch's number.
type Barrier struct {
	Epoch Epoch
	Kind  BarrierKind
	// Unaligned says that the epoch has overtaken records, and overtakes at once what
	// is before the barrier wherever it comes.
	Unaligned bool
}

// String is "kind epoch", and "unaligned" behind it.
func (b Barrier) String() string {
	s := fmt.Sprintf("%s %d", b.Kind, b.Epoch)
	if b.Unaligned {
		s += " unaligned"
	}
	return s
}

// Control is one control record. It is a small value and is copied.
type Control struct {
	Kind    ControlKind
	Time    Time    // for ControlWatermark
	Barrier Barrier // for ControlBarrier
}

// Watermark makes a watermark record.
func Watermark(t Time) Control { return Control{Kind: ControlWatermark, Time: t} }

// BarrierControl makes a barrier record.
func BarrierControl(b Barrier) Control { return Control{Kind: ControlBarrier, Barrier: b} }

// String is for scripts and logs.
func (c Control) String() string {
	switch c.Kind {
	case ControlWatermark:
		return "watermark " + c.Time.String()
	case ControlBarrier:
		return c.Barrier.String()
	case ControlIdle:
		return "idle"
	case ControlEnd:
		return "end"
	}
	return fmt.Sprintf("control(%d)", uint8(c.Kind))
}
