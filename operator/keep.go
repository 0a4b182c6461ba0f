package operator

import (
	"context"
	"io"
	"log/slog"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
)

// Keeper is implemented by operators that keep something beside keyed state. What
// they keep is part of each epoch.
type Keeper interface {
	// Keep returns what the operator holds, after its Barrier. Names are unique
	// within the operator; the Operator field is filled in by the task.
	Keep() ([]checkpoint.OperatorState, error)
	// Restore takes what was kept, as it was dealt out anew, after Open and before
	// the first record. It is not called when there is nothing.
	Restore([]checkpoint.OperatorState) error
}

// Staging keeps files with a job's checkpoints: what a sink's subtask writes there
// survives with the epoch, and can be read by the sink's committer. A file that
// becomes part of no committed epoch is removed by the engine.
type Staging interface {
	// Create begins a file; name is for people.
	Create(ctx context.Context, name string) (StagedWriter, error)
	// Open reads a file back. Its bytes are checked: a wrong sum is an error at the
	// latest in place of io.EOF.
	Open(ctx context.Context, f checkpoint.File) (io.ReadCloser, error)
}

// StagedWriter writes one staged file.
type StagedWriter interface {
	io.Writer
	// Commit makes the file safe and returns what Open needs. The file becomes part
	// of the epoch that is prepared next by the writer that made it.
	Commit() (checkpoint.File, error)
	// Abort drops the file. After Commit it does nothing.
	Abort()
}

// CommitterContext is what a sink's committer is given.
type CommitterContext struct {
	Job      flow.JobID
	Attempt  flow.Attempt
	Operator flow.OperatorID
	Name     string
	Staging  Staging
	Log      *slog.Logger
}

// Recoverer is implemented by committers whose target may hold leftovers. Recover is
// called once in each attempt, after the commit of the restored epoch was repeated
// and before the first writer of the attempt is made: what older attempts have
// written, and nobody will commit, is removed. restored is 0 where the job starts
// anew.
type Recoverer interface {
	Recover(ctx context.Context, restored flow.Epoch) error
}

// Auditor is implemented by committers that can say how many records are in what
// was prepared, from the prepared data itself. The engine compares it with what the
// writers were sent.
type Auditor interface {
	Records(prepared [][]byte) (int64, error)
}
