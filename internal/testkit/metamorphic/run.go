package metamorphic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	process "github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/sdk"
)

// ErrStuck is in the error of a run that made no progress. Callers may use
// errors.Is.
var ErrStuck = errors.New("the run makes no progress")

// watch gathers what a run itself saw to be wrong.
type watch struct {
	late    bool // records may be late in this run
	untimed bool // records may have no time
	mu      sync.Mutex
	said    []string
}

// blame notes that something was wrong at a node.
func (w *watch) blame(n *node, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.said) < 10 {
		w.said = append(w.said, fmt.Sprintf("n%d (%s): ", n.id, n.op.name)+fmt.Sprintf(format, args...))
	}
}

// onTime checks that no watermark overtook the record.
func (w *watch) onTime(n *node, r Record, at, watermark sdk.Time) {
	if w.untimed && at == flow.MinTime {
		return
	}
	if at != sdk.Time(r.Time) {
		w.blame(n, "%v came with time %d", r, at)
	}
	if at <= watermark && !w.late {
		w.blame(n, "late: %v came when the watermark was %d", r, watermark)
	}
}

// Outcome is what a run gave.
type Outcome struct {
	sinks   map[ref]*sink
	watch   *watch
	aborted int
	// Records is how many records operators took in.
	Records int64
	Epochs  int
	// Killed is how many processes were killed.
	Killed int
	// Restored is how many attempts began at a checkpoint.
	Restored int

	survived  bool // there were several processes
	unaligned bool // epochs may have overtaken records
}

// Run runs p over in as c says. patience is how long it may make no progress.
func Run(ctx context.Context, p *Pipeline, in *Input, c Config, patience time.Duration) (*Outcome, error) {
	o := &Outcome{watch: &watch{late: c.OnDemand, untimed: c.Untimed != 0}}
	b := &build{p: p, in: in, c: c, watch: o.watch, rnd: rand.New(rand.NewPCG(c.Seed, 99))}
	sp := b.pipeline()
	o.sinks = b.sinks
	g, err := sp.Graph()
	if err != nil {
		return nil, err
	}
	mode := graph.Streaming
	if c.Batch {
		mode, o.unaligned = graph.Batch, true // there is one epoch
	}
	plan, err := graph.Build(g, graph.PlanOptions{Parallelism: c.Parallelism, Chaining: c.Chaining, Mode: mode})
	if err != nil {
		return nil, err
	}
	reg := &obs.Registry{}
	var log journal
	opt := process.Options{Job: "metamorphic", Interval: c.Interval, BatchSize: c.BatchSize, Credit: c.Credit, Registry: reg, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Listener: scheduler.Listener{
			Committed: func(flow.Barrier) { o.Epochs++ },
			Aborted:   func(flow.Barrier, string) { o.aborted++ },
		}}
	if c.Batch {
		// Large inputs do not fit.
		opt.State = process.State{Backend: process.Memory, Memory: 1 << 20}
	}
	if c.Scheduling {
		opt.Seed = c.Seed
	}
	e, err := process.NewEmbedded(plan, opt)
	if err != nil {
		return nil, err
	}
	stop := stopper{plan: plan, reg: reg, from: sdk.Time(in.far() - in.bound() - 1)}
	b.allRead = e.Stop
	if p.Timed() {
		// A stop sends no last watermark: what fires by event time must have done so.
		b.allRead = func() { stop.read.Store(true) }
		stop.do = e.Stop
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	err = await(done, &stop, patience)
	if errors.Is(err, ErrStuck) {
		err = fmt.Errorf("%w\nlog:\n%s", err, log.String())
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			err = fmt.Errorf("%w, and cannot be cancelled", err)
		}
		return o, err
	}
	o.Records, _ = progress(reg)
	if c.anyUnbounded() {
		if !errors.Is(err, scheduler.ErrStopped) {
			return o, fmt.Errorf("a stopped run ended with %w", orNothing(err))
		}
		return o, nil
	}
	return o, err
}

// journal is the engine's log of one run.
type journal struct {
	mu sync.Mutex
	strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.Builder.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.Builder.String()
}

func orNothing(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}

// await waits for the end, or until nothing moves for as long as patience.
func await(done <-chan error, stop *stopper, patience time.Duration) error {
	const looks = 20
	tick := time.NewTicker(patience / looks)
	defer tick.Stop()
	poll := time.NewTicker(500 * time.Microsecond)
	defer poll.Stop()
	if stop.do == nil {
		poll.Stop()
	}
	reg := stop.reg
	last, still := int64(-1), 0
	for {
		select {
		case err := <-done:
			return err
		case <-poll.C:
			if stop.reached() {
				stop.do()
				poll.Stop()
			}
			continue
		case <-tick.C:
		}
		_, now := progress(reg)
		if now != last {
			last, still = now, 0
			continue
		}
		if still++; still >= looks {
			return stuckError(reg, patience)
		}
	}
}

// stuckError says where everything stands.
func stuckError(reg *obs.Registry, patience time.Duration) error {
	var b strings.Builder
	for _, op := range reg.Operators() {
		fmt.Fprintf(&b, "  %s/%d: in %d, out %d, watermark %v\n", op.Name, op.Subtask, op.RecordsIn.Load(), op.RecordsOut.Load(), flow.Time(op.Watermark.Load()))
	}
	stacks := make([]byte, 1<<20)
	return fmt.Errorf("%w for %v; operators:\n%sall goroutines:\n%s", ErrStuck, patience, b.String(), stacks[:runtime.Stack(stacks, true)])
}

// progress is the records that operators took in, and a number that changes when
// anything does.
func progress(reg *obs.Registry) (records, sum int64) {
	for _, op := range reg.Operators() {
		records += op.RecordsIn.Load()
		sum += op.RecordsOut.Load() + op.Watermark.Load()
	}
	return records, sum + records
}
