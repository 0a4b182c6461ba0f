package operator

import (
	"context"
	"log/slog"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
)

// Source is what a connector gives to bring records of type T into a job. It has
// two sides: the enumerator finds splits and runs once, beside the scheduler; the
// readers read them and run in tasks.
type Source[T any] interface {
	Info() SourceInfo
	// Enumerator makes the job's side. It is called once for each attempt.
	Enumerator() (Enumerator, error)
	// Reader makes the task's side of one subtask.
	Reader(ctx *ReaderContext) (Reader[T], error)
}

// SourceInfo describes a source to the planner and to people.
type SourceInfo struct {
	Kind  string       // "file", "kafka", ...
	Attrs []graph.Attr // shown by explain
	// Unbounded is true where the enumerator or a split has no end.
	Unbounded bool
	Assign    Assign
}

// Assign says how splits are dealt to subtasks.
type Assign uint8

const (
	// AssignOnDemand gives a subtask one split at a time, when it has none. For
	// splits that end: file ranges.
	AssignOnDemand Assign = iota
	// AssignSpread deals all splits evenly as soon as they are found. For splits
	// that are read side by side: partitions.
	AssignSpread
)

// Split is a unit of source work with a position that can be saved.
type Split struct {
	// ID is unique within the source and stays the same over restarts.
	ID string
	// Data is what the connector's reader needs, the position to go on from
	// included, in a form of the connector's choice (msgpack is usual).
	Data []byte
	// Size is the work left in it, in units of the source's choice, for progress;
	// 0 where it is not known or has no end.
	Size int64
}

// Discovery is what an enumerator found.
type Discovery struct {
	Splits []Split
	// Done is true when there will never be more: the source is bounded.
	Done bool
	// After is how long to wait before looking again when not Done; 0 means that
	// it need not look again until splits finish.
	After time.Duration
}

// Enumerator is the job's side of a source. Its methods are called by one
// goroutine, one at a time; Discover may block on I/O and heeds ctx.
type Enumerator interface {
	// Discover returns the splits that it has not returned before.
	Discover(ctx context.Context) (Discovery, error)
	// Finished tells that splits have been read to their end.
	Finished(ids []string)
	// Snapshot and Restore carry what was discovered over a restart.
	Snapshot() ([]byte, error)
	Restore(data []byte) error
	Close() error
}

// ReaderContext is what a reader is given.
type ReaderContext struct {
	Context     context.Context // ends when the task does
	Job         flow.JobID
	Operator    flow.OperatorID
	Name        string
	Subtask     int
	Parallelism int
	Log         *slog.Logger
	Metrics     *obs.Operator
	// Wake makes the task call Read again after Wait. Any goroutine may call it.
	Wake func()
	// Now is the processing time.
	Now func() flow.Time
	// Bad hands over a record that could not be read. It follows the source's
	// policy: an error means that the job fails with it (return it from Read), nil
	// that the record was skipped or sent to the dead-letter output.
	Bad func(BadRecord) error
}

// Records is what one call of Read brings: records of one split.
type Records[T any] struct {
	flow.Batch[T]
	// Split is the id of the split that all records are of.
	Split string
	// Done is true when the split is at its end, after these records.
	Done bool
	// Bytes counts what was read from the outside for them.
	Bytes int64
	// Progress counts how much of Split.Size this read has done.
	Progress int64
}

// Status says when a reader wants to be read again.
type Status struct {
	// Wait is false when there may be more at once. True: not before Wake is
	// called, or Until has come where it is set.
	Wait  bool
	Until flow.Time // 0: only Wake
}

// More asks for the next Read at once.
var More = Status{}

// WaitForWake asks for the next Read after Wake, or when a split is added.
var WaitForWake = Status{Wait: true}

// WaitUntil asks for the next Read at t, or after Wake.
func WaitUntil(t flow.Time) Status { return Status{Wait: true, Until: t} }

// Reader is the task's side of a source. All methods are called on the task's
// goroutine. Read must not block for long: it reads local files and buffers, and
// waits for a network by returning WaitForWake.
type Reader[T any] interface {
	// Add gives it one more split to read.
	Add(s Split) error
	// Read fills into, which is empty, with at most max records of one split.
	// Times are set where the outside gives records a time. The values may refer
	// to memory that stays valid for good (strings), as for any Go value.
	Read(into *Records[T], max int) (Status, error)
	// Where describes the position of the last record read, for messages: file
	// and line, topic and offset.
	Where() string
	// Snapshot returns the splits it holds, each with the position after the last
	// record that Read returned.
	Snapshot() ([]Split, error)
	// Pause stops and resumes reading of single splits, for watermark alignment.
	// A paused split's records are not returned by Read.
	Pause(split string, paused bool)
	Close() error
}

// SourceImpl is a source operator's job side; see [Impl].
type SourceImpl struct {
	Assign     Assign
	Enumerator func() (Enumerator, error)
	// AlignGroup and AlignDrift are the watermark alignment, "" where there is none.
	AlignGroup string
	AlignDrift time.Duration
}

// EpochReader is implemented by readers that tell the outside how far the job has
// come, once that is sure: a group's offsets. Committed is called with the newest
// committed epoch; positions are those of the Snapshot for that epoch.
type EpochReader interface {
	Committed(e flow.Epoch, splits []Split) error
}

// SplitReceiver is implemented by source operators: the task passes on what the
// job's side decides.
type SplitReceiver interface {
	Operator
	// AddSplit gives one more split.
	AddSplit(s Split) error
	// NoMoreSplits tells that none will come.
	NoMoreSplits() error
	// NoSplitYet tells that its request for a split has to wait.
	NoSplitYet() error
	// Align tells the least watermark of an alignment group; a source that is in
	// another, or in none, does nothing.
	Align(group string, t flow.Time) error
	// Stop ends the source before its time: nothing more is read.
	Stop() error
	// Splits returns the splits in hand with their positions, in the order of ids.
	Splits() ([]Split, error)
	// Pull reads one batch and sends it on. It reports when to be called again,
	// and whether the source has ended.
	Pull() (Pulled, error)
}

// Pulled is the outcome of one Pull.
type Pulled struct {
	Status
	// Worked is true when records were sent.
	Worked bool
	// Ended is true when no record will ever follow. Drained tells the two ways
	// apart: true when the input was read to its end, false when it was stopped.
	Ended, Drained bool
	// Watermark is the source's watermark now; Idle is true while it has none to
	// give and should not hold others back.
	Watermark flow.Time
	Idle      bool
}

// Sink is what a connector gives to take records out of a job.
type Sink[T any] interface {
	Info() SinkInfo
	// Writer makes the task's side of one subtask.
	Writer(ctx *WriterContext) (Writer[T], error)
	// Committer makes the job's side, or returns nil where there is nothing to
	// commit. It may also be a [Recoverer] and an [Auditor].
	Committer(ctx *CommitterContext) (Committer, error)
}

// SinkInfo describes a sink to the planner and to people.
type SinkInfo struct {
	Kind  string
	Attrs []graph.Attr
	// Guarantee is what a reader of the sink's target gets after failures:
	// "exactly-once", or "at-least-once" where the target can do no better.
	Guarantee string
}

// WriterContext is what a writer is given.
type WriterContext struct {
	Context     context.Context
	Job         flow.JobID
	Attempt     flow.Attempt
	Operator    flow.OperatorID
	Name        string
	Subtask     int
	Parallelism int
	Log         *slog.Logger
	Metrics     *obs.Operator
	Now         func() flow.Time
	// WakeAt asks for a call of Tick at t.
	WakeAt func(t flow.Time)
	// Staging keeps files for the committer.
	Staging Staging
}

// Writer is the task's side of a sink, on the task's goroutine.
type Writer[T any] interface {
	// Write takes a lent batch. It may block under ctx, which stops the task and
	// so holds back its inputs.
	Write(b *flow.Batch[T]) error
	// Idle is called when the task has nothing else to do: a writer that serves
	// people or other systems live sends what it has buffered.
	Idle() error
	// Prepare ends an epoch: all that was written is made safe so that Commit
	// cannot fail for lack of data. It returns what the committer needs, nil where
	// there is nothing to commit.
	Prepare(b flow.Barrier) ([]byte, error)
	// Tick is called at a time asked for with WakeAt, and once after a restore.
	Tick(now flow.Time) error
	Close() error
}

// Committer is the job's side of a sink. Commit makes visible what the writers
// prepared for an epoch; it is idempotent, since it is repeated after a failure.
// It is called by one goroutine.
type Committer interface {
	Commit(ctx context.Context, epoch flow.Epoch, prepared [][]byte) error
	Close() error
}

// SinkImpl is a sink operator's job side; see [Impl].
type SinkImpl struct {
	Committer func(*CommitterContext) (Committer, error)
}
