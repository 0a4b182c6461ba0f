package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/state"
)

// Impl is what makes a graph's operator run; it sits in graph.Operator.Impl.
type Impl struct {
	// New makes one instance, not yet open. It is called once for each subtask.
	New func() Operator
	// Source is set for sources.
	Source *SourceImpl
	// Sink is set for sinks that commit.
	Sink *SinkImpl
	// Batch is what differs in batch mode, nil where nothing does.
	Batch *BatchImpl
}

// Operator is one instance of an operator in one task. Embed [Base] to get the
// methods that an operator has no use for.
type Operator interface {
	// Open is called once, before anything else. Outputs are attached already.
	Open(ctx *Context) error
	// Inlet returns the Receiver of an input port, or nil where there is none.
	Inlet(p flow.Port) any
	// Outlet returns the Output of an outlet, or nil where there is none.
	Outlet(o flow.Outlet) Attacher
	// Watermark tells the operator that event time is now t; it fires what is due
	// and returns the watermark for the operators behind it, at most t.
	Watermark(t flow.Time) (flow.Time, error)
	// Barrier ends an epoch: what the operator holds back is sent or made part of
	// its snapshot. It returns what the sink has prepared, nil for others.
	Barrier(b flow.Barrier) ([]byte, error)
	// ProcessingTime is called at or after the time asked for by Task.WakeAt, and once
	// after a restore.
	ProcessingTime(now flow.Time) error
	// EndInput tells that a port will bring no more records. It comes after the
	// watermark flow.MaxTime if the input ended by itself.
	EndInput(p flow.Port) error
	// Committed tells that an epoch is committed.
	Committed(e flow.Epoch) error
	// Close frees what Open took. It is called once, also after a failure.
	Close() error
}

// Context is what an operator is given when it is opened.
type Context struct {
	Job            flow.JobID
	Attempt        flow.Attempt
	Operator       flow.OperatorID
	Name           string
	TaskID         flow.TaskID
	Subtask        int
	Parallelism    int
	MaxParallelism int
	// KeyGroups is what this subtask owns of the key groups.
	KeyGroups flow.KeyGroupRange
	// BatchSize is the number of records after which a batch is sent.
	BatchSize int
	// State keeps the task's keyed state and timers.
	State state.Store
	// Metrics are this instance's counters.
	Metrics *obs.Operator
	Log     *slog.Logger
	Task    Task
	// Restored is the epoch that the job was restored from, 0 where it starts anew.
	Restored flow.Epoch
	// Staging keeps files of sinks with the epochs.
	Staging Staging
	// Batch is what operators of batch mode work with.
	Batch Batch
}

// Task is what a running task offers to its operators.
type Task interface {
	// Context ends when the task is cancelled. Blocking calls must heed it.
	Context() context.Context
	// Now is the processing time.
	Now() flow.Time
	// WakeAt asks for a call of ProcessingTime at t. One request is kept for each
	// operator: the earliest that has not been answered.
	WakeAt(op Operator, t flow.Time)
	// Mail runs f on the task's goroutine, soon, in the order of the calls. Any
	// goroutine may call it. It reports false when the task has ended; f is then
	// never run.
	Mail(f func() error) bool
	// Wake tells the task that a source has something to read. Any goroutine may
	// call it.
	Wake()
	// Yield runs mail until done returns true, waiting where there is none. It
	// ends early with an error when the task is cancelled or mail fails.
	Yield(done func() bool) error
	// Advance sends the watermark t to the operators behind op. It is for operators
	// that hold watermarks back and let them go later, between calls.
	Advance(op Operator, t flow.Time) error
	// RequestSplit asks the job's side of a source for one more split.
	RequestSplit(op flow.OperatorID)
	// FinishedSplit tells the job's side that a split has been read to its end.
	FinishedSplit(op flow.OperatorID, split string)
	// ReportWatermark tells the job's side how far a source has come, for the
	// alignment group it is in.
	ReportWatermark(op flow.OperatorID, group string, t flow.Time)
}

// Idler is implemented by operators that send what they have buffered when the
// task has nothing else to do: sinks that serve people live.
type Idler interface{ Idle() error }

// Holder is implemented by operators that keep records back and send them later by
// themselves, not at a watermark: those that wait for answers. While one holds, its
// task is not idle, whatever its inputs are: a record that leaves behind the idleness
// would find that event time has gone on without it.
type Holder interface{ Holding() bool }

// Stager is implemented by sink operators: Staged is called after a Barrier that
// returned something, and tells which staged files and how many records are part of
// it.
type Stager interface {
	Staged() (files []checkpoint.File, records int64)
}

// Positioner is implemented by sources: Where describes the position of the last
// record read, for messages.
type Positioner interface{ Where() string }

// ErrUser is wrapped by errors that user code returned.
var ErrUser = errors.New("user code")

// Receiver takes batches of T. Inlets of operators and writers of exchanges are
// receivers.
type Receiver[T any] = shuffle.Receiver[T]

// Attacher is the untyped face of an [Output]: the task attaches receivers to it
// when it builds the chain.
type Attacher interface {
	// Attach adds a receiver, which must be a Receiver of the output's type.
	Attach(receiver any) error
}

// Output is where an operator's records of one type leave it.
type Output[T any] struct {
	first   Receiver[T] // the one receiver that there mostly is
	rest    []Receiver[T]
	Metrics *obs.Operator // counts records, where set
}

// Attach adds a receiver. It refuses one of another type.
func (o *Output[T]) Attach(receiver any) error {
	r, ok := receiver.(Receiver[T])
	if !ok {
		return fmt.Errorf("operator: output of %T cannot be attached to %T", *new(T), receiver)
	}
	if o.first == nil {
		o.first = r
	} else {
		o.rest = append(o.rest, r)
	}
	return nil
}

// Attached reports whether anybody listens.
func (o *Output[T]) Attached() bool { return o.first != nil }

// Send lends the batch to each receiver in turn.
func (o *Output[T]) Send(b *flow.Batch[T]) error {
	if o.Metrics != nil {
		o.Metrics.RecordsOut.Add(int64(len(b.Values)))
	}
	if o.first == nil {
		return nil
	}
	if err := o.first.Receive(b); err != nil {
		return err
	}
	for _, r := range o.rest {
		if err := r.Receive(b); err != nil {
			return err
		}
	}
	return nil
}

// Base answers the calls that an operator has no use for. Its Open keeps the
// context.
type Base struct {
	*Context
}

// Open keeps the context.
func (b *Base) Open(ctx *Context) error { b.Context = ctx; return nil }

// Inlet returns nil.
func (*Base) Inlet(flow.Port) any { return nil }

// Outlet returns nil.
func (*Base) Outlet(flow.Outlet) Attacher { return nil }

// Watermark passes t on.
func (*Base) Watermark(t flow.Time) (flow.Time, error) { return t, nil }

// Barrier does nothing.
func (*Base) Barrier(flow.Barrier) ([]byte, error) { return nil, nil }

// ProcessingTime does nothing.
func (*Base) ProcessingTime(flow.Time) error { return nil }

// EndInput does nothing.
func (*Base) EndInput(flow.Port) error { return nil }

// Committed does nothing.
func (*Base) Committed(flow.Epoch) error { return nil }

// Close does nothing.
func (*Base) Close() error { return nil }
