package sdktest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/sdk"
)

// Harness drives a pipeline step by step.
type Harness struct {
	t   testing.TB
	p   *sdk.Pipeline
	opt options

	started bool
	cancel  context.CancelFunc
	done    chan struct{} // closed when the job has ended with err
	err     error
	asked   bool // the test knows of err
}

// Option is a setting of [New] and [Run].
type Option func(*options)

type options struct {
	parallelism int
	batchSize   int
	noChaining  bool
}

// Parallelism sets the number of subtasks of operators that set none. Default 1,
// which keeps the order of records.
func Parallelism(n int) Option { return func(o *options) { o.parallelism = n } }

// BatchSize sets the number of records after which a batch is sent. Default: the
// engine's.
func BatchSize(n int) Option { return func(o *options) { o.batchSize = n } }

// NoChaining gives each operator a task of its own.
func NoChaining() Option { return func(o *options) { o.noChaining = true } }

func optionsOf(opts []Option) options {
	o := options{parallelism: 1}
	for _, f := range opts {
		f(&o)
	}
	return o
}

// New makes a harness. It must be called in a bubble of testing/synctest, with the
// bubble's t; the job ends with that.
func New(t testing.TB, opts ...Option) *Harness {
	t.Helper()
	h := &Harness{t: t, p: sdk.New(t.Name()), opt: optionsOf(opts), done: make(chan struct{})}
	h.quiet()
	t.Cleanup(h.close)
	return h
}

// Pipeline is the pipeline that the harness runs: for sources and sinks of the
// test's own.
func (h *Harness) Pipeline() *sdk.Pipeline { return h.p }

// Now is the processing time.
func (h *Harness) Now() sdk.Time { return sdk.TimeOf(time.Now()) }

// AdvanceTime moves processing time by d. Timers that come due on the way fire
// each at its time.
func (h *Harness) AdvanceTime(d time.Duration) {
	h.t.Helper()
	h.start()
	time.Sleep(d)
	h.settle()
}

// Err ends the test's ignorance of how the job has ended: it is nil while the job
// runs and when its input was worked off, and else the failure. A job that fails
// and whose failure is not looked at fails the test.
func (h *Harness) Err() error {
	h.t.Helper()
	h.start()
	h.quiet()
	h.asked = true
	if h.ended() {
		return h.err
	}
	return nil
}

// Ended reports whether the job has ended: all inputs have, and what they brought
// was worked off, or it failed.
func (h *Harness) Ended() bool {
	h.t.Helper()
	h.start()
	h.quiet()
	return h.ended()
}

func (h *Harness) ended() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}

// building is called by what adds to the pipeline.
func (h *Harness) building(what string) {
	h.t.Helper()
	if h.started {
		h.t.Fatalf("sdktest: %s comes after the first step, when the job runs already; build first", what)
	}
}

// start starts the job, once.
func (h *Harness) start() {
	h.t.Helper()
	if h.started {
		return
	}
	h.started = true
	job, err := embed(h.p, h.opt)
	if err != nil {
		close(h.done)
		h.asked = true
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	h.cancel = cancel
	go func() {
		defer close(h.done)
		h.err = job.Run(ctx)
	}()
	h.settle()
}

// quiet waits until all of the job waits for the test.
func (h *Harness) quiet() {
	h.t.Helper()
	defer func() {
		if p := recover(); p != nil {
			h.t.Fatalf("sdktest: a harness lives in a bubble: call it in synctest.Test, with the t that its function is given (%v)", p)
		}
	}()
	synctest.Wait()
}

// settle waits until the job is quiet, and ends the test if it has failed.
func (h *Harness) settle() {
	h.t.Helper()
	h.quiet()
	if h.ended() && h.err != nil && !h.asked {
		h.asked = true
		h.t.Fatalf("the job has failed: %v", h.err)
	}
}

// close ends the job with the test.
func (h *Harness) close() {
	if h.cancel == nil {
		return
	}
	h.cancel()
	<-h.done
	if h.err != nil && !h.asked && !errors.Is(h.err, context.Canceled) {
		h.t.Errorf("the job has failed: %v", h.err)
	}
}

// embed makes the job.
func embed(p *sdk.Pipeline, o options) (*node.Embedded, error) {
	g, err := p.Graph()
	if err != nil {
		return nil, err
	}
	plan, err := graph.Build(g, graph.PlanOptions{Parallelism: o.parallelism, Chaining: !o.noChaining})
	if err != nil {
		return nil, fmt.Errorf("pipeline %q: %w", p.Name(), err)
	}
	return node.NewEmbedded(plan, node.Options{Job: flow.JobID(p.Name()), BatchSize: o.batchSize, Interval: time.Minute})
}

// Run runs a pipeline to the end of its input. The test fails if the job does, or
// if its input has no end before the test's context has one.
func Run(t testing.TB, p *sdk.Pipeline, opts ...Option) {
	t.Helper()
	job, err := embed(p, optionsOf(opts))
	if err == nil {
		err = job.Run(t.Context())
	}
	if err != nil {
		t.Fatalf("the job has failed: %v", err)
	}
}
