package flow

import (
	"fmt"
	"strconv"
)

// JobID names one run of a pipeline, from submission to its end.
type JobID string

// OperatorID names an operator of a graph. It is stable: state is found by it
// when a changed program is started from an older checkpoint.
type OperatorID string

// ChainID names a chain of a plan: the id of its first operator.
type ChainID string

// Epoch numbers the checkpoints of one job, from 1. Epoch 0 is the time before
// the first barrier.
type Epoch uint64

// Attempt numbers the runs of a job, or of a region of it, from 1. Whatever
// carries an older attempt than the current one is refused.
type Attempt uint64

// TaskID is one subtask of a chain.
type TaskID struct {
	Chain   ChainID
	Subtask int // 0 to parallelism-1
}

// String is "chain/subtask".
func (t TaskID) String() string { return string(t.Chain) + "/" + strconv.Itoa(t.Subtask) }

// Port numbers an operator's inputs, from 0.
type Port int

// Outlet numbers an operator's outputs, from 0; 0 is the main output, others are
// side outputs.
type Outlet int

// EdgeID names one edge of a graph: an operator's input port and the position of
// the edge among those that end there.
type EdgeID struct {
	To    OperatorID
	Port  Port
	Index int
}

// String is "operator:port.index".
func (e EdgeID) String() string { return fmt.Sprintf("%s:%d.%d", e.To, e.Port, e.Index) }
