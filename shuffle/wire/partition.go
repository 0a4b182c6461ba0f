package wire

import (
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
)

// PartitionID names what one producing task offers to one consuming task, in one attempt.
type PartitionID struct {
	Job      string
	Attempt  uint64
	Edge     flow.EdgeID
	From, To int // subtasks
}

// String is `job "name" attempt 3, edge map:0.0 from 1 to 2`.
func (id PartitionID) String() string {
	return fmt.Sprintf("job %q attempt %d, edge %s from %d to %d", id.Job, id.Attempt, id.Edge, id.From, id.To)
}

// edgeOf is what attempts follow each other on.
type edgeOf struct {
	job  string
	edge flow.EdgeID
}

func (id PartitionID) edge() edgeOf { return edgeOf{id.Job, id.Edge} }

// opening is the body of a frame that opens a partition.
type opening struct {
	Job     string
	Attempt uint64
	To      string // the edge's
	Port    int
	Index   int
	Task    int // the producing subtask
	For     int // the consuming one
	// Schema is the fingerprint of the records' type.
	Schema uint64
}

func (id PartitionID) opening(schema uint64) opening {
	return opening{Job: id.Job, Attempt: id.Attempt, To: string(id.Edge.To), Port: int(id.Edge.Port), Index: id.Edge.Index,
		Task: id.From, For: id.To, Schema: schema}
}

func (o *opening) id() PartitionID {
	return PartitionID{Job: o.Job, Attempt: o.Attempt, Edge: flow.EdgeID{To: flow.OperatorID(o.To), Port: flow.Port(o.Port), Index: o.Index},
		From: o.Task, To: o.For}
}

// fingerprint is a hash of a type's schema: both ends of a partition must have the same,
// since records travel without the names of their fields.
func fingerprint(s codec.Schema) (uint64, error) {
	c, err := codec.For[codec.Schema]()
	if err != nil {
		return 0, fmt.Errorf("shuffle/wire: the schema of a partition: %w", err)
	}
	return xxh3.Hash(c.AppendNamed(nil, &s)), nil
}
