package run

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/internal/obs/traces"
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
	// Mode says whether tasks run beside each other or one after the other. Default
	// ModeStreaming.
	Mode Mode
	// BatchSize is the number of records after which a batch is sent. Default 1024.
	BatchSize int
	// Credit is the number of bytes that may wait between two tasks. Default 512 KiB.
	Credit int
	// Epoch is the time between epochs: how often sinks commit. Default 1 s.
	Epoch time.Duration
	// Log takes the engine's log. Default: none.
	Log *slog.Logger
	// Stop, where set, stops the job when it is closed, in the way of OnStop, and Run
	// returns ErrStopped.
	Stop <-chan struct{}

	// Durable says what of the job outlives the process.
	Durable
	// Memory is what the process may take, in bytes: a part of it is the cache of state
	// on disk, and Go's garbage collector is told to stay below. It is a setting of
	// the whole process, until Run returns. Default 0: 1 GiB for the cache, and no
	// limit for the process.
	Memory int64
	// Audit says what is done when more or fewer records went out than came in. Default
	// AuditStop.
	Audit Audit
	// AlignTimeout is how long a task waits for an epoch's barriers of all inputs before
	// the epoch overtakes the records under way, which are saved with it. Default 0:
	// for as long as it takes.
	AlignTimeout time.Duration
	// Control, where set, steers the job while it runs.
	Control *Control
	// Metrics is host:port at which the job's figures are shown to Prometheus, at /metrics.
	// Default: nowhere.
	Metrics string
	// OnEpoch, where set, is called for each epoch that was committed, on a goroutine of
	// the engine: it must return soon.
	OnEpoch func(EpochStats)
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
	case o.Memory < 0 || o.Memory > 0 && o.Memory < leastMemory:
		return errors.New("the memory must be at least 64 MB")
	case o.AlignTimeout < 0:
		return errors.New("the time for alignment must be positive")
	}
	if err := o.Mode.validate(); err != nil {
		return err
	}
	if err := o.Audit.validate(); err != nil {
		return err
	}
	return o.Durable.validate()
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
	mode, err := o.mode(g)
	if err != nil {
		return nil, err
	}
	plan, err := graph.Build(g, graph.PlanOptions{Parallelism: o.Parallelism, Chaining: !o.NoChaining, Mode: mode})
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
//
// In a program that an agent of a cluster has started it is refused: each of the job's
// processes would run the whole job. Main knows what to do there.
func Run(ctx context.Context, p *sdk.Pipeline, o Options) error {
	if os.Getenv(api.ExecutorEnv) != "" {
		return errors.New("this program was started as an executor of a cluster, which run.Run cannot be: let its main call run.Main")
	}
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
	if w.registry == nil {
		w.registry = &obs.Registry{}
	}
	n, restore := o.node(p.Name(), w)
	defer restore()
	if o.Metrics != "" {
		n.Metrics = node.Metrics(w.registry)
		hide, err := showMetrics(o.Metrics, string(n.Job), n.Metrics, o.Log)
		if err != nil {
			return err
		}
		defer hide()
	}
	stop, err := o.trace(&n, "", "weir", string(n.Job), traces.Version{Job: string(n.Job)})
	if err != nil {
		return err
	}
	defer stop()
	e, err := node.NewEmbedded(plan, n)
	if err != nil {
		return err
	}
	o.sayGuarantees(plan)
	if o.Control != nil {
		o.Control.set(e)
	}
	if o.Stop != nil {
		done := make(chan struct{})
		defer close(done)
		go func() {
			select {
			case <-o.Stop:
				o.stop(e)
			case <-done:
			}
		}()
	}
	return e.Run(ctx)
}

// node makes the options of a run, and sets the limit of memory until restore is called.
func (o *Options) node(pipeline string, w watch) (n node.Options, restore func()) {
	n = node.Options{
		Job: o.jobID(pipeline), Interval: o.Epoch, BatchSize: o.BatchSize, Credit: o.Credit, Log: o.Log,
		Registry: w.registry, Listener: w.listener, AlignTimeout: o.AlignTimeout, State: o.nodeState(),
		Restart: o.Restart.policy(), Hashes: o.Audit == AuditHashes,
	}
	n.Audit = o.Audit.scheduler()
	if o.OnEpoch != nil {
		watchEpochs(&n.Listener, o.OnEpoch)
	}
	if o.Memory <= 0 {
		return n, func() {}
	}
	n.State.Memory = o.Memory - min(o.Memory/2, engineMemory)
	before := debug.SetMemoryLimit(o.Memory)
	return n, func() { debug.SetMemoryLimit(before) }
}

// How the memory of the process is split. engineMemory, or half of a small one, is for
// batches under way, the program itself, and what the garbage collector leaves lying until
// it comes round; the rest is for state.
const (
	engineMemory = 96_000_000
	leastMemory  = 64_000_000
)

// sayGuarantees tells which sinks may show records twice after a failure. It is of
// interest where jobs go on after failures.
func (o *Options) sayGuarantees(plan *graph.Plan) {
	if o.State == "" || o.Log == nil {
		return
	}
	for _, op := range plan.Graph.Operators {
		switch {
		case op.Kind != graph.KindSink:
		case op.Guarantee == graph.AtLeastOnce:
			o.Log.Warn("after a failure this sink may show records again", "sink", op.Name, "guarantee", op.Guarantee)
		case op.Guarantee != "":
			o.Log.Info("sink", "sink", op.Name, "guarantee", op.Guarantee)
		}
	}
}
