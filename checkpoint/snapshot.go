package checkpoint

import "github.com/weirflow/weir/flow"

// File is a stored file of a checkpoint. Blob is its key in storage, unique for
// its content; CRC is the CRC-32C of its bytes.
type File struct {
	Name string `msgpack:"name" json:"name"`
	Blob string `msgpack:"blob" json:"blob"`
	Size int64  `msgpack:"size" json:"size"`
	CRC  uint32 `msgpack:"crc" json:"crc"`
}

// TaskSnapshot is what one task acknowledges with an epoch.
type TaskSnapshot struct {
	Chain       string `msgpack:"chain" json:"chain"`
	Subtask     int    `msgpack:"subtask" json:"subtask"`
	Parallelism int    `msgpack:"parallelism" json:"parallelism"`
	// First and End are the task's key groups.
	First     uint16          `msgpack:"first" json:"first"`
	End       uint16          `msgpack:"end" json:"end"`
	Keyed     *Keyed          `msgpack:"keyed" json:"keyed,omitempty"`
	Operators []OperatorState `msgpack:"operators" json:"operators,omitempty"`
	Channels  []Channel       `msgpack:"channels" json:"channels,omitempty"`
	// InFlight is the file with the records of Channels.
	InFlight *File   `msgpack:"inFlight" json:"inFlight,omitempty"`
	Books    []Entry `msgpack:"books" json:"books,omitempty"`
	// Took is from the barrier to the acknowledgement, Pause how long the task
	// stood still for it, Bytes what was added to storage; in microseconds and bytes.
	Took  int64 `msgpack:"took" json:"took_us"`
	Pause int64 `msgpack:"pause" json:"pause_us"`
	Bytes int64 `msgpack:"bytes" json:"bytes"`
}

// Task is the task's identity.
func (s *TaskSnapshot) Task() flow.TaskID {
	return flow.TaskID{Chain: flow.ChainID(s.Chain), Subtask: s.Subtask}
}

// KeyGroups is what the task owned.
func (s *TaskSnapshot) KeyGroups() flow.KeyGroupRange {
	return flow.KeyGroupRange{First: flow.KeyGroup(s.First), End: flow.KeyGroup(s.End)}
}

// Keyed is the keyed state and timers of one task.
type Keyed struct {
	// Form is a state.Form.
	Form   uint8      `msgpack:"form" json:"form"`
	Files  []File     `msgpack:"files" json:"files"`
	States []StateRef `msgpack:"states" json:"states"`
}

// StateRef names a state that is in a snapshot. Schema is its state.Schema as JSON,
// which is for people and for the comparison before a start; the bytes of Files
// speak for themselves.
type StateRef struct {
	Operator string `msgpack:"operator" json:"operator"`
	Name     string `msgpack:"name" json:"name"`
	Kind     uint8  `msgpack:"kind" json:"kind"`
	Schema   []byte `msgpack:"schema" json:"-"`
}

// Mode says how operator state is dealt out when the number of subtasks changes.
type Mode uint8

const (
	// Split state is a list of items of which each subtask gets some.
	Split Mode = 1
	// Union state is a list of items of which each subtask gets all.
	Union Mode = 2
	// Broadcast state is the same in all subtasks; one subtask's is given to all.
	Broadcast Mode = 3
	// Splits are the splits of a source; they go back to its enumerator's side,
	// which assigns them anew.
	Splits Mode = 4
)

// OperatorState is a part of what an operator's subtask keeps beside keyed state.
type OperatorState struct {
	Operator string   `msgpack:"operator" json:"operator"`
	Name     string   `msgpack:"name" json:"name"`
	Mode     Mode     `msgpack:"mode" json:"mode"`
	Items    [][]byte `msgpack:"items" json:"-"`
}

// Channel is the records that were under way on one channel of an input when an
// unaligned epoch overtook them: Length bytes from Offset on in TaskSnapshot.InFlight.
type Channel struct {
	To       string `msgpack:"to" json:"to"` // flow.EdgeID
	Port     int    `msgpack:"port" json:"port"`
	Index    int    `msgpack:"index" json:"index"`
	Exchange uint8  `msgpack:"exchange" json:"exchange"` // graph.ExchangeKind
	Producer int    `msgpack:"producer" json:"producer"` // subtask
	Records  int64  `msgpack:"records" json:"records"`
	Offset   int64  `msgpack:"offset" json:"offset"`
	Length   int64  `msgpack:"length" json:"length"`
}

// Edge is the channel's edge.
func (c *Channel) Edge() flow.EdgeID {
	return flow.EdgeID{To: flow.OperatorID(c.To), Port: flow.Port(c.Port), Index: c.Index}
}

// SourceSnapshot is the job's side of one source at the moment at which an epoch's
// barrier was sent to its tasks.
type SourceSnapshot struct {
	Operator string `msgpack:"operator" json:"operator"`
	// Enumerator is what Enumerator.Snapshot returned, nil where it never did.
	Enumerator []byte `msgpack:"enumerator" json:"-"`
	// Done says that the enumerator has found all there is.
	Done bool `msgpack:"done" json:"done"`
	// Unassigned are splits that were found and not yet sent to a task, encoded.
	Unassigned [][]byte `msgpack:"unassigned" json:"-"`
	// Assigned are the ids of splits that were sent and of whose end the enumerator
	// has not been told, or of all that may be unread where it is not told any more. They
	// are in the order in which they were found, which may be that of event time. Those
	// that no task's snapshot holds had been read to their end.
	Assigned []string `msgpack:"assigned" json:"assigned,omitempty"`
}

// Manifest is one committed epoch, or a savepoint: all that is needed to go on from
// there. docs/format describes its stored form.
type Manifest struct {
	Job     string `msgpack:"job" json:"job"`
	Attempt uint64 `msgpack:"attempt" json:"attempt"`
	Epoch   uint64 `msgpack:"epoch" json:"epoch"`
	// Kind is the flow.BarrierKind.
	Kind uint8 `msgpack:"kind" json:"kind"`
	// Created is in microseconds since 1970.
	Created        int64  `msgpack:"created" json:"created_us"`
	Engine         string `msgpack:"engine" json:"engine"` // version
	MaxParallelism int    `msgpack:"maxParallelism" json:"max_parallelism"`
	// Graph is the job's graph in its stable form.
	Graph        []byte           `msgpack:"graph" json:"-"`
	Tasks        []TaskSnapshot   `msgpack:"tasks" json:"tasks"`
	Sources      []SourceSnapshot `msgpack:"sources" json:"sources"`
	Committables []Committable    `msgpack:"committables" json:"committables,omitempty"`
	// Totals are the books of all attempts up to this epoch.
	Totals []Entry `msgpack:"totals" json:"totals"`
}

// TaskRestore is what a new task starts from; it goes to the worker with the
// deployment.
type TaskRestore struct {
	Epoch     uint64          `msgpack:"epoch"`
	Keyed     []KeyedRestore  `msgpack:"keyed"`
	Operators []OperatorState `msgpack:"operators"`
	Channels  []InFlight      `msgpack:"channels"`
}

// KeyedRestore is the keyed state of one former task, of which the new one takes
// its key groups.
type KeyedRestore struct {
	First uint16 `msgpack:"first"`
	End   uint16 `msgpack:"end"`
	Keyed Keyed  `msgpack:"keyed"`
	// Operators is whose states are taken.
	Operators []string `msgpack:"operators"`
}

// InFlight is records of a channel that the new task has to take in first. Filter
// says that it takes only those of its own key groups.
type InFlight struct {
	Channel Channel `msgpack:"channel"`
	File    File    `msgpack:"file"`
	Filter  bool    `msgpack:"filter"`
}
