package graph

import "fmt"

// Mode is how the exchanges of a plan hand records over.
type Mode uint8

const (
	// Streaming: all exchanges are pipelined. All tasks run at the same time, and what
	// one sends the next reads at once. This is the zero value.
	Streaming Mode = iota
	// Batch: all exchanges are blocking. A task writes all that it sends to disk, and
	// those that read it start when it has ended. Only for input that ends.
	Batch
)

// String is "streaming" or "batch".
func (m Mode) String() string {
	switch m {
	case Streaming:
		return "streaming"
	case Batch:
		return "batch"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// batch refuses what cannot be run in batch mode: input that has no end. That the
// graph has no cycle was checked before.
func (v *validator) batch() {
	for _, o := range v.g.Operators {
		if o != nil && o.Unbounded {
			v.operator(o, "its input has no end, and in batch mode a consumer starts when its producers have ended",
				"run the job in streaming mode, or give the source an end")
		}
	}
}
