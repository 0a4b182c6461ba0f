package checkpoint

import (
	"fmt"
	"slices"

	"github.com/weirflow/weir/flow"
)

// Committable is something that a sink prepared for an epoch and that becomes
// visible when it is committed: files to rename, a transaction to end. Whoever
// made it can't change Data any more.
type Committable struct {
	Operator flow.OperatorID `msgpack:"operator" json:"operator"`
	Subtask  int             `msgpack:"subtask" json:"subtask"`
	// Epoch is the one it was prepared for. It is committed with that epoch or, if
	// that was aborted, with a later one.
	Epoch flow.Epoch `msgpack:"epoch" json:"epoch"`
	Data  []byte     `msgpack:"data" json:"-"`
	// Files are those in checkpoint storage that Data refers to.
	Files []File `msgpack:"files" json:"files,omitempty"`
	// Records is how many records the sink's subtask has made part of it.
	Records int64 `msgpack:"records" json:"records"`
}

// String is "operator/subtask@epoch(length)".
func (c Committable) String() string {
	return fmt.Sprintf("%s/%d@%d(%dB)", c.Operator, c.Subtask, c.Epoch, len(c.Data))
}

// Prepared holds what a task's sinks prepared and has not yet been committed. The
// zero value is ready.
//
// An acknowledgement of an epoch carries everything in here up to that epoch, not
// only what was prepared for it. The obvious way, to send each committable once,
// loses data: when epoch 5 is aborted after a sink has prepared and
// acknowledged it, the records of epoch 5 are in no other transaction, and the
// job goes on without a restart that would replay them. The coordinator could
// keep what it got for 5 and commit it with 6, but a new leader that takes over
// a running job would not have it. The task has it for as long as it lives, and
// if it dies its records are replayed. The coordinator drops what an earlier
// Commit had already, by [Committable.Epoch].
type Prepared struct {
	pending []Committable // in the order of epochs
}

// Add notes what was prepared for epoch c.Epoch. Epochs don't go back.
func (p *Prepared) Add(cs ...Committable) {
	for _, c := range cs {
		if n := len(p.pending); n > 0 && p.pending[n-1].Epoch > c.Epoch {
			panic(fmt.Sprintf("checkpoint: %s prepared after %s", c, p.pending[n-1]))
		}
		p.pending = append(p.pending, c)
	}
}

// For is what the acknowledgement of epoch carries. The slice is the caller's.
func (p *Prepared) For(epoch flow.Epoch) []Committable {
	return slices.Clone(p.pending[:p.upTo(epoch)])
}

// Committed forgets what was committed with epoch or before.
func (p *Prepared) Committed(epoch flow.Epoch) {
	p.pending = slices.Delete(p.pending, 0, p.upTo(epoch))
}

// Len is the number of committables that wait.
func (p *Prepared) Len() int { return len(p.pending) }

func (p *Prepared) upTo(epoch flow.Epoch) int {
	n := 0
	for n < len(p.pending) && p.pending[n].Epoch <= epoch {
		n++
	}
	return n
}
