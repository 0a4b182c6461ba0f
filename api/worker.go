// Package api is what the parts of a cluster say to each other: the messages
// between a job's scheduler and the workers that run its tasks.
//
// Every message carries the attempt it belongs to; who gets one of an older
// attempt refuses it. In one process the messages go by call; what they hold is
// plain data, so that they can go over a wire as they are.
//
// Nothing of the engine is imported here: whoever reads this package knows all
// that passes between the two sides.
package api

// Task names one subtask of a chain.
type Task struct {
	Chain   string
	Subtask int
}

// Worker is the side that runs tasks. Its methods return when the message has been
// taken, not when it has been acted upon; repeats do no harm. They may be called
// from any goroutine.
type Worker interface {
	// Deploy makes the tasks and starts them. The scheduler sends it once for each
	// attempt; a repeat is refused with an error. Of a job in streaming mode one attempt
	// runs at a time; in batch mode each task has its own.
	Deploy(*Deploy) error
	// InjectBarrier puts a barrier behind what source tasks have read so far.
	InjectBarrier(*InjectBarrier)
	// AbortEpoch makes tasks that align for the epoch go on without it.
	AbortEpoch(*AbortEpoch)
	// Committed tells that an epoch is committed.
	Committed(*Committed)
	// AddSplits gives splits to a source's subtask.
	AddSplits(*AddSplits)
	// NoMoreSplits tells a source's subtask that none will come.
	NoMoreSplits(*NoMoreSplits)
	// NoSplitYet tells a source's subtask that has asked for one that there is none
	// for now: it need not hold others back.
	NoSplitYet(*NoSplitYet)
	// Align tells the source tasks of an alignment group its least watermark.
	Align(*Align)
	// StopSources makes sources end before their time.
	StopSources(*StopSources)
	// FinishTasks ends tasks that have nothing left to do, after the last epoch.
	FinishTasks(*FinishTasks)
	// CancelTasks ends tasks at once.
	CancelTasks(*CancelTasks)
}

// Scheduler is the job's side. Its methods may be called from any goroutine and do
// not block on the job.
type Scheduler interface {
	// TaskState tells that a task has come to a state.
	TaskState(*TaskState)
	// Ack tells that a task has handled the barrier of an epoch.
	Ack(*Ack)
	// Decline tells that a task cannot take part in an epoch.
	Decline(*Decline)
	// RequestSplit asks for one more split.
	RequestSplit(*RequestSplit)
	// FinishedSplit tells that a split was read to its end.
	FinishedSplit(*FinishedSplit)
	// SourceWatermark tells how far a source's subtask has come.
	SourceWatermark(*SourceWatermark)
}

// Deploy lists the tasks that the worker runs.
type Deploy struct {
	Job     string
	Attempt uint64
	Tasks   []Task
	// Epoch is the epoch that the attempt was restored from, 0 if it starts anew.
	Epoch uint64
	// Restore is what each of Tasks starts from: checkpoint.TaskRestore, encoded; nil
	// where there is nothing. It is empty or as long as Tasks.
	Restore [][]byte
	// Places says where all tasks of the attempt run. Empty: all run here.
	Places []Place
	// Parallelism is that of operators that set none. 0: that with which the worker was
	// made.
	Parallelism int `msgpack:",omitempty"`
	// Final is for a task of a job in batch mode, which is deployed alone, in an attempt of its
	// own: it reads Inputs, then the barrier of that epoch, and is finished. 0: the task is
	// told when it is finished.
	Final uint64 `msgpack:",omitempty"`
	// Inputs are the outputs that it reads: for each edge in order those of all its
	// producers by subtask, or that of the one of a forward exchange.
	Inputs []Output
}

// BatchAttemptBits are those of an attempt's number, in batch mode, that count the attempts
// of one run of the job. Those above are the job's own attempt.
const BatchAttemptBits = 20

// Edge names an exchange: by the operator where it ends.
type Edge struct {
	To    string
	Port  int
	Index int
}

// Output is what an attempt of a task has written to disk for a blocking exchange.
type Output struct {
	Edge     Edge
	Producer int // subtask
	Attempt  uint64
	// Node is where it lies: the address of an agent, "" in a process without one.
	Node    string
	Records int64
	Bytes   int64
}

// InjectBarrier starts an epoch at source tasks.
type InjectBarrier struct {
	Attempt uint64
	Epoch   uint64
	Kind    uint8 // flow.BarrierKind
	Tasks   []Task
	// Hold has sources read nothing behind the barrier, until the epoch is aborted: the job is
	// to end with it.
	Hold bool `msgpack:",omitempty"`
}

// AbortEpoch ends an epoch that will not be committed, or lets sources go on that it holds.
type AbortEpoch struct {
	Attempt uint64
	Epoch   uint64
}

// Committed ends an epoch that was committed.
type Committed struct {
	Attempt uint64
	Epoch   uint64
}

// Split is a unit of source work; see operator.Split.
type Split struct {
	ID   string
	Data []byte
	Size int64
}

// AddSplits assigns splits. Those that were found together and go to one subtask are
// in one message: it must know them all before it reads, since its event time is
// that of the one that has come the least far.
type AddSplits struct {
	Attempt  uint64
	Task     Task
	Operator string
	Splits   []Split
}

// NoMoreSplits ends the assignment to a subtask.
type NoMoreSplits struct {
	Attempt  uint64
	Task     Task
	Operator string
}

// NoSplitYet answers a request that has to wait.
type NoSplitYet struct {
	Attempt  uint64
	Task     Task
	Operator string
}

// Align carries the least watermark of a group, in microseconds.
type Align struct {
	Attempt uint64
	Group   string
	Time    int64
}

// StopSources stops all sources of the job on the worker.
type StopSources struct{ Attempt uint64 }

// FinishTasks ends tasks in order.
type FinishTasks struct {
	Attempt uint64
	Tasks   []Task
}

// CancelTasks ends tasks at once.
type CancelTasks struct {
	Attempt uint64
	Tasks   []Task
}

// State is the state of a task as its worker sees it.
type State uint8

const (
	// Running: opened, and taking input.
	Running State = iota + 1
	// Drained: all inputs have ended and their end was handled.
	Drained
	// Finished: ended in order.
	Finished
	// Failed: ended by a failure.
	Failed
	// Cancelled: ended at once, as it was told.
	Cancelled
)

// TaskState is sent once for each state that a task comes to.
type TaskState struct {
	Attempt uint64
	Task    Task
	State   State
	Failure *Failure // for Failed
	// Outputs are what a finished task has written to blocking exchanges.
	Outputs []Output
}

// Failure is why a task failed.
type Failure struct {
	Operator  string
	Name      string
	Domain    uint8 // flow.Domain
	Retryable bool
	Message   string
	Record    string
	Position  string
	Stack     string
	// Lost is an output that could not be read, where the task has ended because of that.
	Lost *Lost `msgpack:",omitempty"`
	// Cause is the error itself, for a scheduler in the same process. It does not
	// travel.
	Cause error `msgpack:"-"`
}

// Lost is an output that could not be read.
type Lost struct {
	Output Output
	// Gone says that the agent that has it cannot be reached: nothing that lies there can be
	// read.
	Gone bool
}

// Prepared is what one operator's subtask has prepared for an epoch. An Ack holds
// all that was prepared and not yet told to be committed.
type Prepared struct {
	Operator string
	Epoch    uint64
	Data     []byte
	Files    []File
	Records  int64
}

// File is a file in checkpoint storage; see checkpoint.File.
type File struct {
	Name string
	Blob string
	Size int64
	CRC  uint32
}

// Ack is sent once for each task and epoch.
type Ack struct {
	Attempt  uint64
	Task     Task
	Epoch    uint64
	Prepared []Prepared
	// Snapshot is what the task saved: checkpoint.TaskSnapshot, encoded; nil where
	// nothing is saved.
	Snapshot []byte
}

// Decline is sent when an epoch can no longer be aligned at a task.
type Decline struct {
	Attempt uint64
	Task    Task
	Epoch   uint64
	Reason  string
}

// RequestSplit is sent by a source's subtask that has room for one more.
type RequestSplit struct {
	Attempt  uint64
	Task     Task
	Operator string
}

// FinishedSplit is sent once for each split.
type FinishedSplit struct {
	Attempt  uint64
	Task     Task
	Operator string
	Split    string
}

// SourceWatermark is sent from time to time by sources in an alignment group.
type SourceWatermark struct {
	Attempt  uint64
	Task     Task
	Operator string
	Group    string
	Time     int64
}
