package run

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/sdk"
)

// ErrStopped is returned by Run when the job was stopped before its input ended.
// Callers may use errors.Is.
var ErrStopped = scheduler.ErrStopped

// Options configure a run; the zero value works.
type Options struct {
	// Parallelism is the number of subtasks of operators that set none. Default:
	// the number of CPUs that the process may use.
	Parallelism int
	// NoChaining gives each operator tasks of its own.
	NoChaining bool
	// BatchSize is the number of records after which a batch is sent. Default 1024.
	BatchSize int
	// Credit is the number of bytes that may wait between two tasks. Default 512 KiB.
	Credit int
	// Epoch is the time between epochs: how often sinks commit. Default 1 s.
	Epoch time.Duration
	// Log takes the engine's log. Default: none.
	Log *slog.Logger
	// Stop, where set, ends the sources when it is closed; what was accepted is
	// finished and committed, and Run returns ErrStopped.
	Stop <-chan struct{}
}

// watch is what Main wants to see of a run.
type watch struct {
	registry *obs.Registry // nil: the run has one of its own
	listener scheduler.Listener
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	if o.Parallelism == 0 {
		o.Parallelism = runtime.GOMAXPROCS(0)
	}
	if o.Epoch == 0 {
		o.Epoch = time.Second
	}
}

// Validate refuses what makes no sense.
func (o *Options) Validate() error {
	switch {
	case o.Parallelism < 1:
		return errors.New("parallelism must be at least 1")
	case o.BatchSize < 0:
		return errors.New("the batch size must be at least 1 record")
	case o.Epoch < 0:
		return errors.New("the time between epochs must be positive")
	}
	return nil
}

// Plan is what Run would run.
func Plan(p *sdk.Pipeline, o Options) (*graph.Plan, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	g, err := p.Graph()
	if err != nil {
		return nil, err
	}
	plan, err := graph.Build(g, graph.PlanOptions{Parallelism: o.Parallelism, Chaining: !o.NoChaining})
	if err != nil {
		return nil, err
	}
	return plan, checkTypes(plan)
}

// checkTypes refuses records that cannot be encoded on edges between tasks. Edges
// inside a chain may carry anything.
func checkTypes(plan *graph.Plan) error {
	var errs []error
	for i := range plan.Chains {
		for _, out := range plan.Chains[i].Outputs {
			o := plan.Graph.Operator(out.From)
			if e, ok := o.Outputs[out.Output].Impl.(operator.Edge); ok {
				if err := e.Check(); err != nil {
					errs = append(errs, &graph.Error{Operator: o.ID, Name: o.Name, Kind: o.Kind,
						What: err.Error(), Do: "records that go from task to task must be encodable"})
				}
			}
		}
	}
	return errors.Join(errs...)
}

// Run runs the pipeline in this process, to the end of its input. It returns nil
// then, ErrStopped when it was stopped, ctx's error when that ended first, and
// otherwise a *flow.Failure that says which operator failed and why.
func Run(ctx context.Context, p *sdk.Pipeline, o Options) error {
	plan, err := Plan(p, o)
	if err != nil {
		return err
	}
	return runPlan(ctx, p, plan, o, watch{})
}

// newJob names a run. Two runs of one pipeline are two jobs: what one has written
// for the next epoch is not the other's.
func newJob(name string) flow.JobID {
	return flow.JobID(name + "-" + strings.ToLower(rand.Text()[:10]))
}

func runPlan(ctx context.Context, p *sdk.Pipeline, plan *graph.Plan, o Options, w watch) error {
	o.EnsureDefaults()
	e, err := node.NewEmbedded(plan, node.Options{
		Job: newJob(p.Name()), Interval: o.Epoch, BatchSize: o.BatchSize, Credit: o.Credit, Log: o.Log,
		Registry: w.registry, Listener: w.listener,
	})
	if err != nil {
		return err
	}
	if o.Stop != nil {
		done := make(chan struct{})
		defer close(done)
		go func() {
			select {
			case <-o.Stop:
				e.Stop()
			case <-done:
			}
		}()
	}
	return e.Run(ctx)
}
