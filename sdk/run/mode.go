package run

import (
	"fmt"

	"github.com/weirflow/weir/graph"
)

// Mode says how the tasks of a job run.
type Mode string

const (
	// ModeStreaming runs all tasks beside each other: what one sends, the next reads at once. It
	// is for input with an end or without, and gives results while there is input.
	ModeStreaming Mode = "streaming"
	// ModeBatch runs tasks one after the other, with what they send on disk in between. All
	// input must have an end. Each result is given once, as it is in the end; what is
	// sorted and grouped may be larger than memory, and a failure repeats only what
	// is lost.
	ModeBatch Mode = "batch"
	// ModeAuto is ModeBatch if all input has an end, otherwise ModeStreaming.
	ModeAuto Mode = "auto"
)

func (m Mode) validate() error {
	switch m {
	case "", ModeStreaming, ModeBatch, ModeAuto:
		return nil
	}
	return fmt.Errorf("mode %q: it must be streaming, batch or auto", string(m))
}

// Of is the mode in which a graph runs.
func (m Mode) Of(g *graph.Graph) graph.Mode {
	switch m {
	case ModeBatch:
		return graph.Batch
	case ModeAuto:
		for _, o := range g.Operators {
			if o.Unbounded {
				return graph.Streaming
			}
		}
		return graph.Batch
	}
	return graph.Streaming
}

// mode is the mode of a run. A savepoint has the state of operators, which those of batch
// mode do not have: auto is streaming then.
func (o *Options) mode(g *graph.Graph) (graph.Mode, error) {
	m := o.Mode.Of(g)
	if o.From == "" || m == graph.Streaming {
		return m, nil
	}
	if o.Mode == ModeAuto {
		return graph.Streaming, nil
	}
	return m, fmt.Errorf("a job cannot start from the savepoint %s in batch mode, which has no state to go on from: use --mode streaming", o.From)
}
