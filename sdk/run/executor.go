package run

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/internal/obs/metrics"
	"github.com/weirflow/weir/internal/obs/traces"
)

// errToldToEnd ends an executor by a signal.
var errToldToEnd = errors.New("a signal has told the executor to end")

// executor runs the program as an executor of a cluster: its agent says on the standard
// input what to run, and hears on file descriptor 3 what becomes of it.
func (m *program) executor(protocol string) int {
	if protocol != api.ExecutorProtocol {
		return m.refuse(fmt.Errorf("environment variable %s=%q: this program knows version %s of the protocol between agent and executor; "+
			"build it with a release of Weir that the agent knows", api.ExecutorEnv, protocol, api.ExecutorProtocol))
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		select {
		case <-signals:
			cancel(errToldToEnd)
		case <-ctx.Done():
		}
	}()
	code := m.execution(ctx, os.Stdin, os.NewFile(3, "events"))
	if code == ExitUsage {
		code = api.ExitMisuse
	}
	return code
}

// execution is executor with its input and its events.
func (m *program) execution(ctx context.Context, in io.Reader, events io.WriteCloser) int {
	x := &execution{in: &agentInput{bufio.NewReader(in)}}
	if err := x.in.next(&x.cfg); err != nil {
		return m.refuse(fmt.Errorf("reading what to run: %w", err))
	}
	m.args = x.cfg.Job.Args
	if code, end := m.parse(); end {
		return code
	}
	p, err := m.pipeline()
	if err != nil {
		return m.refuse(err)
	}
	o := x.options(m.flags.Options)
	plan, err := Plan(p, o)
	if err != nil {
		return m.refuse(err)
	}
	level := slog.LevelInfo
	if l := m.flags.LogLevel; l != nil {
		level = *l
	}
	o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("job", x.cfg.Job.Name, "executor", x.cfg.Alloc.ID)
	x.events = newAgentEvents(events)
	err = x.run(ctx, plan, o)
	x.events.close()
	switch {
	case err == nil:
		return ExitFinished
	case errors.Is(err, errToldToEnd):
		return ExitStopped
	}
	failed(os.Stderr, x.cfg.Job.Name, err, m.flags.level() <= slog.LevelDebug)
	return ExitFailed
}

// execution is one executor's run.
type execution struct {
	cfg    api.ExecutorConfig
	in     *agentInput
	events *agentEvents
	asked  *askable

	side      sync.WaitGroup // of profiles
	profiling atomic.Bool
}

// options are those of the command line with what the cluster has decided.
func (x *execution) options(o Options) Options {
	spec := &x.cfg.Job
	o.Job = spec.Name
	if spec.Parallelism > 0 {
		o.Parallelism = spec.Parallelism
	}
	if spec.State != "" {
		o.State = spec.State
	}
	if spec.From != "" {
		o.From = spec.From
	}
	if spec.Memory > 0 {
		o.Memory = max(spec.Memory, leastMemory)
	}
	return o
}

// run runs the executor's part of the job to its end.
func (x *execution) run(ctx context.Context, plan *graph.Plan, o Options) error {
	o.EnsureDefaults()
	alloc := &x.cfg.Alloc
	registry := &obs.Registry{}
	n, restore := o.node(x.cfg.Job.Name, watch{registry: registry})
	defer restore()
	n.Metrics = node.Metrics(registry)
	n.Check, n.Planned = checkTypes, func(p *graph.Plan) { x.asked.plan.Store(p) }
	spec := &x.cfg.Job
	stop, err := o.trace(&n, x.cfg.Traces, "weir-executor", string(alloc.ID), traces.Version{Job: spec.Name, Number: spec.Version, Submitted: spec.Submitted})
	if err != nil {
		return err
	}
	defer stop()
	x.asked = newAskable(x.cfg.Job.Name, plan, registry, alloc.Coordinator)
	x.asked.metrics = metrics.Of(n.Metrics)
	defer x.side.Wait()
	member := node.Member{
		Hello: api.Hello{Job: x.cfg.Job.Name, Alloc: alloc.ID, Node: x.cfg.Node.ID, Term: alloc.Term, Slots: alloc.Slots, Zone: x.cfg.Node.Zone,
			Store: x.cfg.Outputs},
		Dir: x.cfg.Dir, Listen: x.cfg.Listen,
		Ready: func(r api.ExecutorReady) { x.events.tell(api.ExecutorEvent{Ready: &r}) },
	}
	if err := member.Trust(x.cfg.CA, x.cfg.Cert, x.cfg.Key); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o.sayGuarantees(plan)
	if alloc.Coordinator {
		c, err := node.NewCoordinator(plan, n, member, func(r api.JobReport) {
			x.asked.report.Store(&r)
			x.events.tell(api.ExecutorEvent{Job: &r})
		})
		if err != nil {
			return err
		}
		s := &steered{c: c, x: x, ctx: ctx, cancel: cancel, room: make(chan struct{}, maxWishes)}
		go s.listen()
		err = c.Run(ctx)
		if errors.Is(err, node.ErrStopped) || errors.Is(err, node.ErrCancelled) {
			err = nil // as somebody has wished
		}
		s.wait()
		return err
	}
	e, err := node.NewExecutor(plan, n, member)
	if err != nil {
		return err
	}
	where := make(chan node.Address)
	go x.listen(ctx, cancel, where)
	return e.Run(ctx, where)
}

// listen hears what a worker's agent says, until it says no more.
func (x *execution) listen(ctx context.Context, cancel context.CancelCauseFunc, where chan<- node.Address) {
	tell := func(a node.Address) {
		select {
		case where <- a:
		case <-ctx.Done():
		}
	}
	if at := x.cfg.Coordinator; at != "" {
		tell(node.Address{Control: at, Term: x.cfg.Alloc.Term})
	}
	for {
		var c api.ExecutorCommand
		if err := x.in.next(&c); err != nil {
			cancel(err)
			return
		}
		if c.Coordinator != "" {
			tell(node.Address{Control: c.Coordinator, Term: c.Term})
		}
		switch {
		case c.Ask != "":
			x.ask(ctx, c)
		case c.Wish != "":
			x.answer(c.Request, "", errNotCoordinator)
		}
	}
}

// errNotCoordinator is for what a coordinator alone can do.
var errNotCoordinator = errors.New("this executor is not the job's coordinator")

// ask answers a question. It may be asked again: where the agent does not read it is
// passed over.
func (x *execution) ask(ctx context.Context, c api.ExecutorCommand) {
	if x.events.full() {
		return
	}
	if kind, over, ok := api.AsksProfile(c.Ask); ok {
		x.profile(ctx, c.Request, kind, over)
		return
	}
	text, err := x.asked.answer(c.Ask, time.Now())
	ev := api.ExecutorEvent{Request: c.Request, Answer: text}
	if line, jerr := json.Marshal(&ev); err == nil && (jerr != nil || len(line) >= api.MaxExecutorEvent) {
		text, err = "", fmt.Errorf("the answer to %s is too long: %d bytes, and an event has at most %d", c.Ask, len(line), api.MaxExecutorEvent)
	}
	x.answer(c.Request, text, err)
}

// answer answers a command that wants it.
func (x *execution) answer(request uint64, text string, err error) {
	if request == 0 {
		return
	}
	ev := api.ExecutorEvent{Request: request, Answer: text}
	if err != nil {
		ev.Error = err.Error()
	}
	x.events.tell(ev)
}
