package task

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/state"
)

// Config is all that a task is made from.
type Config struct {
	Job     flow.JobID
	Attempt flow.Attempt
	// Run is the attempt under which the task's figures count, those of the whole job.
	// Default: Attempt.
	Run            flow.Attempt
	ID             flow.TaskID
	Chain          *graph.Chain
	MaxParallelism int
	BatchSize      int
	// Credit is the bytes that each partition of Inputs may hold, for those who watch.
	Credit  int
	Inputs  []Input
	Outputs []Output
	// State opens the task's keyed state, restored. Run calls it, on the task's
	// goroutine, so that the tasks of a job restore side by side, and closes the store.
	State    func(context.Context) (state.Store, error)
	Registry *obs.Registry
	Log      *slog.Logger
	// Now is the processing time.
	Now func() flow.Time
	// Listener is told what happens; its functions are called on the task's
	// goroutine, and must not block.
	Listener Listener
	// Restored is the epoch that the job was restored from, 0 where it starts anew.
	// Restore is what the task starts from, nil where there is nothing; its keyed state
	// is the business of State.
	Restored flow.Epoch
	Restore  *checkpoint.TaskRestore
	// Snapshots keeps the task's snapshots. Where it is nil nothing is saved, and
	// epochs only commit sinks.
	Snapshots Snapshots
	// Staging keeps files of sinks.
	Staging operator.Staging
	// Files reads files of former snapshots.
	Files func([]checkpoint.File) state.SavedFiles
	// AlignTimeout is how long barriers are aligned before the epoch overtakes what
	// is under way; 0 is for ever. Without Snapshots it is for ever too.
	AlignTimeout time.Duration
	// Hashes makes the books keep sums of hashes beside counts.
	Hashes bool
	// Rand, where set, makes the order in which gates are read random.
	Rand *rand.Rand
	// Batch is what operators of batch mode work with.
	Batch operator.Batch
}

// Snapshots is where a task's snapshots go.
type Snapshots interface {
	// Begin starts the files of one epoch. What is under way ends with ctx.
	Begin(ctx context.Context, e flow.Epoch) SnapshotFiles
}

// SnapshotFiles takes the files of one epoch of one task. Its methods are called by
// one goroutine.
type SnapshotFiles interface {
	state.Files
	// Done waits until all files are safe and returns them in the order in which they
	// were created or linked, and how many bytes were added to storage for them.
	Done() ([]checkpoint.File, int64, error)
	// Abort says that the epoch will not be acknowledged.
	Abort()
}

// Input is one edge that ends at the chain's head.
type Input struct {
	Port flow.Port
	Edge flow.EdgeID
	// Forward says that the gate's one channel is of the producer with the task's own
	// subtask number; of others channel n is of subtask n.
	Forward bool
	// Exchange is the edge's kind, for snapshots.
	Exchange graph.ExchangeKind
	// InLine says that no epoch overtakes records of this edge. A broadcast is read in
	// line: its records are the same for all consumers, and what they make of them is
	// taken from one of them when the parallelism changes, so that all must have
	// handled the same of them. So is a forward edge: a restart may give a split to
	// another subtask than the one to which its records were under way, and they
	// would be overtaken by those that follow.
	InLine bool
	Gate   shuffle.Gate
	// Together is the number of the group of inputs that fall idle and wake
	// together, 0 where it is in none; see flow.Frontier.
	Together int
}

// Output is one edge that starts in the chain.
type Output struct {
	From   flow.OperatorID
	Outlet flow.Outlet
	Edge   flow.EdgeID
	// Forward says that the one partition is to the consumer with the task's own
	// subtask number; of others partition n is to subtask n.
	Forward bool
	// Open makes the writer. Its blocking calls end with ctx, which is the task's.
	Open func(ctx context.Context) (shuffle.Writer, error)
}

// Listener is what a task tells its worker.
type Listener struct {
	// Running: the operators are open.
	Running func()
	// Drained: all input has ended and its end was handled.
	Drained func()
	// Ack: the barrier of the epoch was handled and the snapshot is safe; prepared is
	// what sinks have prepared and was not yet told to be committed. It is called on a
	// goroutine of the task's snapshots where there are any.
	Ack func(e flow.Epoch, prepared []checkpoint.Committable, s *checkpoint.TaskSnapshot)
	// Decline: the epoch can no longer be aligned here.
	Decline func(e flow.Epoch, reason string)
	// RequestSplit, FinishedSplit and SourceWatermark are from sources.
	RequestSplit    func(op flow.OperatorID)
	FinishedSplit   func(op flow.OperatorID, split string)
	SourceWatermark func(op flow.OperatorID, group string, t flow.Time)
}
