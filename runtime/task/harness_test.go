package task

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/local"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/memory"
)

// journal is what happened, in order.
type journal struct {
	sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.Lock()
	defer j.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns the lines since the last call, joined.
func (j *journal) take() string {
	j.Lock()
	defer j.Unlock()
	s := strings.Join(j.lines, "; ")
	j.lines = nil
	return s
}

// probe is an operator that notes its calls and does what the test says. Records
// pass if keep says so.
type probe struct {
	operator.Base
	name string
	j    *journal
	out  operator.Output[int]
	// on is called at each call, by the call's name.
	on      func(call string) error
	keep    func(int) bool
	failing string
}

func (p *probe) call(format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	p.j.add("%s %s", p.name, line)
	if p.on != nil {
		call, _, _ := strings.Cut(line, " ")
		return p.on(call)
	}
	return nil
}

func (p *probe) Open(ctx *operator.Context) error         { p.Context = ctx; return p.call("open") }
func (p *probe) Inlet(flow.Port) any                      { return p }
func (p *probe) Outlet(flow.Outlet) operator.Attacher     { return &p.out }
func (p *probe) Close() error                             { return p.call("close") }
func (p *probe) EndInput(port flow.Port) error            { return p.call("end %d", port) }
func (p *probe) Committed(e flow.Epoch) error             { return p.call("committed %d", e) }
func (p *probe) Failing() string                          { return p.failing }
func (p *probe) ProcessingTime(now flow.Time) error       { return p.call("time %d", now) }
func (p *probe) Watermark(t flow.Time) (flow.Time, error) { return t, p.call("watermark %d", t) }
func (p *probe) Barrier(b flow.Barrier) (prepared []byte, _ error) {
	return []byte(p.name), p.call("barrier %d", b.Epoch)
}

func (p *probe) Receive(b *flow.Batch[int]) error {
	if err := p.call("receive %v", b.Values); err != nil {
		return err
	}
	var kept flow.Batch[int]
	for i, v := range b.Values {
		if p.keep == nil || p.keep(v) {
			kept.Append(v, b.Time(i))
		}
	}
	if kept.Len() == 0 {
		return nil
	}
	return p.out.Send(&kept)
}

// tape is a writer that notes what it is told.
type tape struct {
	j      *journal
	dry    bool // there is no credit
	notify func()
	ctx    context.Context
}

func (w *tape) Receive(b *flow.Batch[int]) error { w.j.add("out %v", b.Values); return nil }
func (w *tape) Flush() error                     { return nil }
func (w *tape) Control(c flow.Control) error     { w.j.add("out %s", short(c)); return nil }
func (w *tape) Available() bool                  { w.j.Lock(); defer w.j.Unlock(); return !w.dry }
func (w *tape) Notify(f func())                  { w.notify = f }

func (w *tape) Counts(dst []shuffle.Count) []shuffle.Count { return dst }

func (w *tape) setDry(dry bool) {
	w.j.Lock()
	w.dry = dry
	w.j.Unlock()
	if !dry {
		w.notify()
	}
}

func short(c flow.Control) string {
	if c.Kind == flow.ControlWatermark && c.Time != flow.MaxTime && c.Time != flow.MinTime {
		return fmt.Sprintf("watermark %d", c.Time)
	}
	return c.String()
}

// closing is a store that notes that it is closed.
type closing struct {
	state.Store
	j *journal
}

func (c closing) Close() error { c.j.add("state closed"); return c.Store.Close() }

// rig is a chain of probes, or of a source and probes, between gates and a tape.
// It runs in a synctest bubble.
type rig struct {
	*testing.T
	*journal
	*Task
	probes []*probe
	tape   *tape
	store  state.Store
	unsafe error                   // of what Done returns
	in     [][]shuffle.Sender[int] // by gate
	done   chan error
	start  time.Time
}

// newRig makes a rig with gates of so many channels each; none makes the first
// operator, which source makes, a source.
func newRig(t *testing.T, names string, source func(*rig) operator.Operator, gates ...int) *rig {
	t.Helper()
	return newRigWith(t, names, source, func(*rig, *Config) {}, gates...)
}

// newRigWith makes a rig whose configuration edit has changed.
func newRigWith(t *testing.T, names string, source func(*rig) operator.Operator, edit func(*rig, *Config), gates ...int) *rig {
	t.Helper()
	r := &rig{T: t, journal: &journal{}, done: make(chan error, 1), start: time.Now()}
	r.tape = &tape{j: r.journal}
	r.store = closing{memory.New(memory.Options{MaxParallelism: 8}), r.journal}
	chain := &graph.Chain{ID: "c", Parallelism: 1}
	add := func(name string, op operator.Operator) {
		id := flow.OperatorID(name)
		if n := len(chain.Operators); n > 0 {
			chain.Links = append(chain.Links, graph.Link{From: chain.Operators[n-1].ID, To: id})
		}
		chain.Operators = append(chain.Operators, &graph.Operator{ID: id, Name: name, Kind: "probe",
			Impl: &operator.Impl{New: func() operator.Operator { return op }}})
	}
	if source != nil {
		add("source", source(r))
	}
	for _, name := range strings.Fields(names) {
		p := &probe{name: name, j: r.journal}
		r.probes = append(r.probes, p)
		add(name, p)
	}
	cfg := Config{ID: flow.TaskID{Chain: "c"}, Chain: chain, MaxParallelism: 8, BatchSize: 8,
		State: func(context.Context) (state.Store, error) { return r.store, nil }, Registry: &obs.Registry{}, Log: slog.New(slog.DiscardHandler),
		Now: func() flow.Time { return flow.Time(time.Since(r.start).Microseconds()) },
		Outputs: []Output{{From: chain.Operators[len(chain.Operators)-1].ID,
			Open: func(ctx context.Context) (shuffle.Writer, error) { r.tape.ctx = ctx; return r.tape, nil }}},
		Listener: Listener{
			Running: func() { r.add("running") },
			Drained: func() { r.add("drained") },
			Ack: func(e flow.Epoch, prepared []checkpoint.Committable, _ *checkpoint.TaskSnapshot) {
				var s []string
				for _, c := range prepared {
					s = append(s, fmt.Sprintf("%s@%d", c.Operator, c.Epoch))
				}
				r.add("ack %d %v", e, s)
			},
			Decline:         func(e flow.Epoch, _ string) { r.add("decline %d", e) },
			RequestSplit:    func(flow.OperatorID) { r.add("request split") },
			FinishedSplit:   func(_ flow.OperatorID, s string) { r.add("finished %s", s) },
			SourceWatermark: func(_ flow.OperatorID, g string, at flow.Time) { r.add("group %s at %d", g, at) },
		},
	}
	for port, n := range gates {
		g, s := local.NewGate[int](n, local.Options{})
		cfg.Inputs = append(cfg.Inputs, Input{Port: flow.Port(port), Gate: g})
		r.in = append(r.in, s)
	}
	edit(r, &cfg)
	task, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Task = task
	return r
}

// run starts the task and waits until it sleeps.
func (r *rig) run() *rig {
	go func() { r.done <- r.Task.Run() }()
	synctest.Wait()
	return r
}

// put sends records to a channel of a gate.
func (r *rig) put(gate, channel int, vals ...int) {
	r.Helper()
	s := r.in[gate][channel]
	b := s.Buffer()
	for _, v := range vals {
		b.Append(v, flow.Time(v))
	}
	if err := s.Send(r.T.Context(), b, 8); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) control(gate, channel int, cs ...flow.Control) {
	for _, c := range cs {
		r.in[gate][channel].Control(c)
	}
}

// want waits until the task sleeps, and compares what has happened since.
func (r *rig) want(want string) {
	r.Helper()
	synctest.Wait()
	if got := r.take(); got != want {
		r.Errorf("got  %s\nwant %s", got, want)
	}
}

// end finishes the task and returns what Run returned.
func (r *rig) end() error {
	r.Finish()
	return <-r.done
}

var (
	idle = flow.Control{Kind: flow.ControlIdle}
	end  = flow.Control{Kind: flow.ControlEnd}
)

func barrier(e flow.Epoch) flow.Control { return flow.BarrierControl(flow.Barrier{Epoch: e}) }

// inBubble runs f in a bubble of fake time.
func inBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}
