package run

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log" //nolint:depguard // only its writer is borrowed, for what users log while progress is drawn
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/sdk"
)

// The exit codes of Main.
const (
	ExitFinished = 0
	ExitFailed   = 1
	ExitUsage    = 2   // wrong flags, or a pipeline with mistakes
	ExitStopped  = 130 // by Ctrl-C or SIGTERM, before the input's end
)

// exit ends the process. Main is the one place of the engine that may: it is the
// body of the user's own main.
var exit = os.Exit

// Main is the body of a program that is a pipeline:
//
//	var input = flag.String("input", "", "directory `DIR` of text files")
//
//	func main() {
//		run.Main("wordcount", func(p *sdk.Pipeline) error {
//			lines := sdk.Read(p, file.Text(*input))
//			...
//			return nil
//		})
//	}
//
// It adds the engine's flags to those of package flag, parses, calls build, runs the
// pipeline with progress on the standard error, and ends the process with one of
// the exit codes above. Do not call flag.Parse before it.
//
// The first Ctrl-C or SIGTERM stops the job: the sources end, and what was accepted is
// finished and committed; or, where the job keeps its state, a checkpoint is taken from
// which it goes on another time (see [OnStop]). The second cancels the job; a third
// ends the process.
//
// Where the environment says WEIR_ROLE=graph, Main runs nothing but writes the
// pipeline's graph to the file that WEIR_GRAPH_OUT names: that is how `weir graph`
// asks for it. Where it says WEIR_EXECUTOR, the program was started by an agent of a
// cluster: it runs its part of the job, with the arguments that the job was submitted
// with.
func Main(name string, build func(p *sdk.Pipeline) error) {
	m := &program{
		job: name, build: build, fs: flag.CommandLine, args: os.Args[1:], lookup: os.LookupEnv,
		program: filepath.Base(os.Args[0]),
	}
	exit(m.run())
}

// program is a process that is a pipeline.
type program struct {
	job     string
	program string
	build   func(p *sdk.Pipeline) error
	fs      *flag.FlagSet
	args    []string
	lookup  func(string) (string, bool)

	flags    Flags
	screen   *screen
	drawing  bool   // a block on the screen, rather than lines
	restore  func() // of the standard output
	stopping chan struct{}
	// cancelled is set by the second signal.
	cancelled atomic.Bool
}

func (m *program) run() int {
	m.screen, m.restore = newScreen(os.Stderr), func() {}
	if protocol, ok := m.lookup(api.ExecutorEnv); ok && protocol != "" {
		return m.executor(protocol)
	}
	if code, end := m.parse(); end {
		return code
	}
	if role, _ := m.lookup("WEIR_ROLE"); role == "graph" {
		return m.writeGraph()
	} else if role != "" {
		return m.refuse(fmt.Errorf("environment variable WEIR_ROLE=%q: it must be graph, or not set", role))
	}
	m.openScreen()
	defer func() { m.restore() }()
	p, err := m.pipeline()
	if err != nil {
		return m.refuse(err)
	}
	plan, err := Plan(p, m.flags.Options)
	if err != nil {
		return m.refuse(err)
	}
	return m.execute(p, plan)
}

// parse reads flags and environment. It reports true where that was all.
func (m *program) parse() (code int, end bool) {
	m.fs.Init(m.program, flag.ContinueOnError)
	m.fs.SetOutput(io.Discard) // package flag would print errors and usage together
	if err := m.flags.Register(m.fs, m.lookup); err != nil {
		return m.refuse(err), true
	}
	switch err := m.fs.Parse(m.args); {
	case errors.Is(err, flag.ErrHelp):
		usage(os.Stdout, m.program, m.job, m.fs)
		return ExitFinished, true
	case err != nil:
		return m.refuse(fmt.Errorf("%w (%s --help lists the flags)", err, m.program)), true
	}
	return 0, false
}

// refuse says what is wrong before anything ran.
func (m *program) refuse(err error) int {
	m.restore()
	m.restore = func() {}
	complain(os.Stderr, err)
	return ExitUsage
}

// openScreen chooses how progress is shown. It comes before the pipeline is
// built, because sinks may keep the standard output that they find then.
func (m *program) openScreen() {
	if m.flags.Quiet || m.flags.JSON {
		return
	}
	t := findTerminals(m.lookup)
	m.drawing = t.stderr
	if !m.drawing {
		return
	}
	if log.Writer() == io.Writer(os.Stderr) {
		log.SetOutput(m.screen)
	}
	if t.same {
		restore, err := m.screen.capture()
		if err != nil {
			m.drawing = false
			return
		}
		m.restore = restore
	}
}

func (m *program) pipeline() (*sdk.Pipeline, error) {
	p := sdk.New(m.job)
	if err := m.build(p); err != nil {
		return nil, fmt.Errorf("pipeline %q: %w", m.job, err)
	}
	if n := m.flags.MaxParallelism; n > 0 {
		p.MaxParallelism(n)
	}
	return p, nil
}

func (m *program) writeGraph() int {
	err := func() error {
		to, _ := m.lookup("WEIR_GRAPH_OUT")
		if to == "" {
			return errors.New("WEIR_ROLE=graph wants the name of a file in WEIR_GRAPH_OUT")
		}
		p, err := m.pipeline()
		if err != nil {
			return err
		}
		g, err := p.Graph()
		if err != nil {
			return err
		}
		if m.flags.Options.Mode.Of(g) == graph.Batch {
			// Only here the operators know what they are in batch mode.
			g = g.ForBatch()
		}
		data, err := graph.Marshal(g)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o666)
	}()
	if err != nil {
		return m.refuse(err)
	}
	return ExitFinished
}

// execute runs the plan and tells how it went.
func (m *program) execute(p *sdk.Pipeline, plan *graph.Plan) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	m.stopping = make(chan struct{})
	o := m.flags.Options
	o.Stop = m.stopping
	o.Log = slog.New(slog.NewTextHandler(m.screen, &slog.HandlerOptions{Level: m.flags.level()}))
	defer m.heed(cancel)()

	meter := newMeter(plan, time.Now())
	if o.Job != "" {
		m.job, meter.job = o.Job, o.Job
	}
	stopProgress := m.progress(meter)
	listener := meter.listener()
	m.narrate(&listener)
	err := runPlan(ctx, p, plan, o, watch{registry: meter.registry, listener: listener})
	stopProgress()
	return m.conclude(meter.take(time.Now(), true), err)
}

// narrate tells what happens to a job that keeps its state.
func (m *program) narrate(l *scheduler.Listener) {
	note, first := l.Restored, true
	l.Restored = func(r scheduler.Restored) {
		note(r)
		if line := restoredLine(m.job, r); line != "" && first {
			m.say(line)
		}
		first = false
	}
	count := l.Restarting
	l.Restarting = func(next flow.Attempt, delay time.Duration, cause *flow.Failure) {
		count(next, delay, cause)
		m.say(fmt.Sprintf("weir: job %q failed and is restarted in %s: %s", m.job, elapsed(delay), oneLine(cause.Error())))
	}
}

// restoredLine says what a run starts from, "" where that is nothing.
func restoredLine(job string, r scheduler.Restored) string {
	written := r.Created.Std().Local().Format("2006-01-02 15:04:05")
	switch {
	case r.Finished:
		return fmt.Sprintf("weir: job %q has come to its end already, with epoch %d at %s: nothing is left to do (--fresh starts it anew)",
			job, r.Epoch, written)
	case r.Savepoint:
		return fmt.Sprintf("weir: job %q starts from the savepoint of epoch %d, taken at %s", job, r.Epoch, written)
	case r.Epoch > 0:
		return fmt.Sprintf("weir: job %q goes on from epoch %d of %s", job, r.Epoch, written)
	}
	return ""
}

// heed follows the signals until the function that it returns is called.
func (m *program) heed(cancel context.CancelFunc) (done func()) {
	signals, ended := make(chan os.Signal, 3), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for n := 1; ; n++ {
			select {
			case <-ended:
				return
			case <-signals:
			}
			switch n {
			case 1:
				close(m.stopping)
				m.say("weir: stopping: " + stopping[m.flags.Options.onStop()] + "; once more cancels the job")
			case 2:
				m.say("weir: cancelling: what is not committed is given up" + m.again() + "; once more ends the process")
				m.cancelled.Store(true)
				cancel()
			case 3:
				// A user function that does not return cannot be cancelled, but a process can be ended.
				exit(ExitStopped)
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(ended)
	}
}

// stopping says what a stop does.
var stopping = map[OnStop]string{
	StopDrain:      "the sources end, what was accepted is finished and committed",
	StopCheckpoint: "a checkpoint is taken, from which the job goes on when it is started again",
	StopSavepoint:  "a savepoint is taken, and the job goes on from it when it is started again",
}

// again says that a job which ends now can go on.
func (m *program) again() string {
	if m.flags.Options.State == "" {
		return ""
	}
	return "; started again, the job goes on from its newest checkpoint"
}

// say tells people something, unless they want silence.
func (m *program) say(line string) {
	if !m.flags.Quiet && !m.flags.JSON {
		fmt.Fprintln(m.screen, line)
	}
}

// How often progress is shown: often enough to look alive, and seldom enough for
// a log.
const (
	drawEvery = 250 * time.Millisecond
	lineEvery = 5 * time.Second
)

// progress shows progress until the function that it returns is called.
func (m *program) progress(meter *meter) (stop func()) {
	if m.flags.Quiet || m.flags.JSON {
		return func() {}
	}
	every := lineEvery
	if m.drawing {
		every = drawEvery
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-end:
				return
			case now := <-t.C:
				v := meter.take(now, false)
				if m.drawing {
					m.screen.draw(m.block(v))
				} else {
					fmt.Fprintln(m.screen, progressLine(v))
				}
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// block is the view in the terminal's size.
func (m *program) block(v view) []string {
	columns, rows := size()
	return block(v, columns, rows)
}

// conclude shows the end of the job and turns it into an exit code.
func (m *program) conclude(v view, err error) int {
	m.restore() // all that the job printed comes before
	m.restore = func() {}
	var cause error
	code := ExitFinished
	switch {
	case err == nil:
		v.State = "finished"
	case errors.Is(err, ErrStopped):
		v.State, code = "stopped", ExitStopped
	case m.cancelled.Load() && errors.Is(err, context.Canceled):
		v.State, code = "cancelled", ExitStopped
	default:
		v.State, code, cause = "failed", ExitFailed, err
	}
	switch {
	case m.flags.JSON:
		if err := writeReport(os.Stdout, v, cause); err != nil {
			complain(os.Stderr, err)
			code = max(code, ExitFailed)
		}
	case m.flags.Quiet:
	case m.drawing:
		m.screen.draw(m.block(v))
		m.screen.leave()
	default:
		fmt.Fprintln(m.screen, summary(v))
	}
	if cause != nil {
		failed(os.Stderr, m.job, cause, m.flags.level() <= slog.LevelDebug)
	}
	return code
}
