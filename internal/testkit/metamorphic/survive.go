package metamorphic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/checkpoint/store/storetest"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	process "github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/scheduler/job"
)

// Point is where in its life a process is killed.
type Point string

// What is counted is told by the name; Before and After are in front of an operation
// on the outside and behind it, where its answer is lost.
const (
	AtRecord       Point = "record"         // read by a source
	AtPrepare      Point = "prepare"        // a sink's barrier
	BeforeBlob     Point = "before blob"    // a file of a snapshot is stored
	AfterBlob      Point = "after blob"     //
	BeforeLog      Point = "before log"     // an attempt begins or an epoch is committed
	AfterLog       Point = "after log"      //
	BeforeCommit   Point = "before commit"  // a sink publishes
	AfterCommit    Point = "after commit"   //
	AtRestore      Point = "restore"        // a stored file is read
	AfterSomeTime  Point = "some time"      // in 10 microseconds
	UserCodeFails  Point = "failing sink"   // no kill: an attempt fails, and is restarted
	BecomesAZombie Point = "zombie at blob" // no kill: it goes on beside its successor
)

var points = []Point{AtRecord, AtPrepare, BeforeBlob, AfterBlob, BeforeLog, AfterLog, BeforeCommit, AfterCommit,
	AtRestore, AfterSomeTime, UserCodeFails, BecomesAZombie}

// Life is one process of a job that has several, one after the other. The last one
// is not killed.
type Life struct {
	Config
	Backend process.Backend
	Memory  int64
	Align   time.Duration
	Point   Point
	// Count is how many times Point is passed before.
	Count int
	// Pace is how many records each source reads for each epoch; 0 is no matter.
	Pace int64
}

// String is one line.
func (l Life) String() string {
	return fmt.Sprintf("%s, backend %s, memory %d, align %v, pace %d, killed at %s %d", l.Config, l.Backend, l.Memory, l.Align, l.Pace, l.Point, l.Count)
}

// Faults is what goes wrong in a job's lives.
type Faults struct {
	Lives   []Life
	Storage storetest.Faults
	Retain  int
	Seed    uint64
}

// DrawFaults draws lives that are variations of c: what may change from one process
// to the next does.
func DrawFaults(t *rapid.T, p *Pipeline, c Config, large bool) Faults {
	f := Faults{Retain: rapid.IntRange(1, 3).Draw(t, "retain"), Seed: rapid.Uint64Range(1, 1<<20).Draw(t, "fault seed")}
	if rapid.IntRange(0, 2).Draw(t, "storage") == 2 {
		f.Storage = storetest.Faults{Refused: 0.05, Lost: 0.05, Cut: 0.02, Slow: 0.1, Delay: time.Millisecond}
	}
	lives := rapid.IntRange(1, 5).Draw(t, "lives")
	if p.Waits() && slices.ContainsFunc(p.Nodes, func(n *node) bool { return n.par > 0 }) {
		lives = 1
	}
	for i := range lives {
		l := Life{Config: c}
		d := DrawConfig(t, p, large)
		l.Parallelism, l.Chaining, l.BatchSize, l.Credit = d.Parallelism, d.Chaining, d.BatchSize, d.Credit
		l.Interval = rapid.SampledFrom([]time.Duration{time.Millisecond, 3 * time.Millisecond, 20 * time.Millisecond}).Draw(t, "interval")
		l.Unbounded, l.Yield = 0, d.Yield
		if p.Waits() {
			l.Parallelism = 1
		}
		l.Backend = process.LSM
		if i == 0 || f.Lives[i-1].Backend == process.Memory {
			// Memory does not read what the other has written.
			l.Backend = rapid.SampledFrom([]process.Backend{process.Memory, process.LSM}).Draw(t, "backend")
		}
		l.Memory = rapid.SampledFrom([]int64{1 << 20, 64 << 20}).Draw(t, "memory")
		l.Align = rapid.SampledFrom([]time.Duration{0, time.Nanosecond, 100 * time.Microsecond}).Draw(t, "align")
		l.Pace = rapid.SampledFrom([]int64{0, 20, 100}).Draw(t, "pace")
		if large {
			l.Pace *= 20
		}
		if i < lives-1 {
			l.Point = rapid.SampledFrom(points).Draw(t, "point")
			most := 6
			switch l.Point {
			case AtRecord:
				most = 400
				if large {
					most = 30_000
				}
			case AfterSomeTime:
				most = 2000
			}
			l.Count = rapid.IntRange(0, most).Draw(t, "count")
		}
		f.Lives = append(f.Lives, l)
	}
	return f
}

// OneLane sets no parallelism where operators wait for answers: what they wait for is
// dealt out anew after a restart, and no longer in order with what follows where there
// is more than one subtask. It is for the pipeline before it is evaluated. A broadcast
// needs its parallelism; there is but one life then.
func (p *Pipeline) OneLane() {
	if !p.Waits() || slices.ContainsFunc(p.Nodes, func(n *node) bool { return n.op == broadcastOp }) {
		return
	}
	for _, n := range p.Nodes {
		n.par = 0
	}
}

// String is a line for each life.
func (f Faults) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "storage %+v, retain %d, seed %d\n", f.Storage, f.Retain, f.Seed)
	for _, l := range f.Lives {
		fmt.Fprintf(&b, "  %s\n", l)
	}
	return b.String()
}

// errKilled ends a life.
var errKilled = errors.New("killed")

// world is what is outside of the processes of one job: storage and the sinks' target.
type world struct {
	disk    store.Storage
	sinks   map[ref]*sink
	watch   *watch
	log     journal
	epochs  int
	killed  int
	zombies sync.WaitGroup
	stop    []context.CancelFunc
}

// life is one process while it lives.
type life struct {
	Life
	w      *world
	passed atomic.Int64
	dead   chan struct{} // closed when it is killed
	once   sync.Once
	freed  chan struct{} // closed when it becomes a zombie
	pace   int64         // records of a reader for each epoch; 0 for as many as there are
	epochs atomic.Int64
}

// at passes a point; it returns an error when the process is dead, or dies here.
func (l *life) at(p Point, n int64) error {
	select {
	case <-l.dead:
		return errKilled
	default:
	}
	of := l.Point
	if of == BecomesAZombie {
		of = BeforeBlob
	}
	if p == "" || p != of {
		return nil
	}
	if now := l.passed.Add(n); now <= int64(l.Count) || now-n > int64(l.Count) {
		return nil
	}
	switch l.Point {
	case UserCodeFails:
		return errors.New("the sink's target is gone for a moment")
	case BecomesAZombie:
		l.once.Do(func() { close(l.freed) })
		return nil
	}
	l.kill()
	return errKilled
}

func (l *life) kill() { l.once.Do(func() { close(l.dead) }) }

// mortal is the storage as one process sees it.
type mortal struct {
	store.Storage
	l *life
}

func (m mortal) put(key string, do func() error) error {
	var before, after Point // of others: nothing but that it is dead
	switch {
	case strings.Contains(key, "/log/"):
		before, after = BeforeLog, AfterLog
	case strings.Contains(key, "/blobs/"):
		before, after = BeforeBlob, AfterBlob
	}
	if err := m.l.at(before, 1); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return m.l.at(after, 1)
}

func (m mortal) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	return m.put(key, func() error { return m.Storage.Put(ctx, key, r, size) })
}

func (m mortal) PutFile(ctx context.Context, key, path string) error {
	return m.put(key, func() error { return m.Storage.PutFile(ctx, key, path) })
}

func (m mortal) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	return m.put(key, func() error { return m.Storage.PutIfAbsent(ctx, key, data) })
}

func (m mortal) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := m.l.at(AtRestore, 1); err != nil {
		return nil, err
	}
	return m.Storage.Get(ctx, key)
}

func (m mortal) Fetch(ctx context.Context, key, path string) error {
	if err := m.l.at(AtRestore, 1); err != nil {
		return err
	}
	return m.Storage.Fetch(ctx, key, path)
}

func (m mortal) List(ctx context.Context, prefix string) iter.Seq2[store.Info, error] {
	if err := m.l.at("", 0); err != nil {
		return func(yield func(store.Info, error) bool) { yield(store.Info{}, err) }
	}
	return m.Storage.List(ctx, prefix)
}

func (m mortal) Delete(ctx context.Context, key string) error {
	if err := m.l.at("", 0); err != nil {
		return err
	}
	return m.Storage.Delete(ctx, key)
}

func (mortal) Close() error { return nil }

// worlds are the storages that are open, by the name in their URL.
var worlds sync.Map

func init() {
	store.Register("metamorphic", func(_ context.Context, u *url.URL) (store.Storage, error) {
		st, ok := worlds.Load(u.Host)
		if !ok {
			return nil, fmt.Errorf("no life has the storage %q", u.Host)
		}
		return st.(store.Storage), nil
	})
}

var lifeNumber atomic.Int64

// Survive runs p over in through all lives of f, and gives what was committed.
func Survive(ctx context.Context, p *Pipeline, in *Input, f Faults, patience time.Duration) (*Outcome, error) {
	disk, err := store.Open(ctx, fmt.Sprintf("mem://metamorphic-%d", lifeNumber.Add(1)))
	if err != nil {
		return nil, err
	}
	w := &world{disk: disk, watch: &watch{}, sinks: map[ref]*sink{}}
	o := &Outcome{watch: w.watch, sinks: w.sinks, survived: true}
	for _, l := range f.Lives {
		if l.OnDemand {
			w.watch.late = true
		}
		w.watch.untimed = w.watch.untimed || l.Untimed != 0
		o.unaligned = o.unaligned || l.Align > 0
	}
	defer func() {
		for _, stop := range w.stop {
			stop()
		}
		w.zombies.Wait()
	}()
	for i, l := range f.Lives {
		last := i == len(f.Lives)-1
		fmt.Fprintf(&w.log, "--- life %d: %s\n", i+1, l)
		err := w.live(ctx, p, in, f, l, uint64(i), last, patience, o)
		switch {
		case errors.Is(err, errKilled) && !last:
			w.killed++
		case err != nil:
			return o, fmt.Errorf("life %d: %w\nlog:\n%s", i+1, err, w.log.String())
		}
	}
	o.Epochs, o.Killed = w.epochs, w.killed
	return o, nil
}

// live runs one life. It returns errKilled when it was killed, or has become a zombie.
func (w *world) live(ctx context.Context, p *Pipeline, in *Input, f Faults, of Life, number uint64, last bool, patience time.Duration, o *Outcome) error {
	l := &life{Life: of, w: w, pace: of.Pace, dead: make(chan struct{}), freed: make(chan struct{})}
	b := &build{p: p, in: in, c: of.Config, watch: w.watch, rnd: rand.New(rand.NewPCG(of.Seed, 99)), life: l, sinks: w.sinks}
	g, err := b.pipeline().Graph()
	if err != nil {
		return err
	}
	plan, err := graph.Build(g, graph.PlanOptions{Parallelism: of.Parallelism, Chaining: of.Chaining})
	if err != nil {
		return err
	}
	name := fmt.Sprintf("life-%d", lifeNumber.Add(1))
	worlds.Store(name, store.Storage(mortal{store.Retry(storetest.NewFaulty(w.disk, f.Seed+number, f.Storage), store.RetryPolicy{Pause: 100 * time.Microsecond, MaxPause: time.Millisecond}), l}))
	defer worlds.Delete(name)
	reg := &obs.Registry{}
	var aborted, restored atomic.Int64
	opt := process.Options{
		Job: "metamorphic", Interval: of.Interval, BatchSize: of.BatchSize, Credit: of.Credit, Registry: reg,
		Log: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Listener: scheduler.Listener{
			Committed: func(flow.Barrier) { l.epochs.Add(1) },
			Aborted:   func(flow.Barrier, string) { aborted.Add(1) },
			Restored: func(r scheduler.Restored) {
				if r.Epoch > 0 {
					restored.Add(1)
				}
			},
		},
		State:        process.State{Location: "metamorphic://" + name, Retain: f.Retain, Backend: of.Backend, Memory: of.Memory},
		Restart:      job.Exponential{Initial: time.Millisecond, Max: 5 * time.Millisecond},
		AlignTimeout: of.Align,
	}
	if of.Scheduling {
		opt.Seed = of.Seed
	}
	e, err := process.NewEmbedded(plan, opt)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	if of.Point == AfterSomeTime {
		t := time.AfterFunc(time.Duration(of.Count)*10*time.Microsecond, l.kill)
		defer t.Stop()
	}
	stuck := make(chan error, 1)
	ended := make(chan error, 1)
	go func() { ended <- awaitEither(done, reg, patience, stuck) }()
	select {
	case err = <-ended:
	case err = <-stuck:
		err = fmt.Errorf("%w\nlog:\n%s", err, w.log.String())
		cancel(errKilled)
		<-ended
	case <-l.dead:
		cancel(errKilled)
		<-ended
		err = errKilled
	case <-l.freed:
		w.stop = append(w.stop, func() { cancel(errKilled) })
		w.zombies.Go(func() { <-ended })
		return errKilled
	}
	cancel(nil)
	records, _ := progress(reg)
	o.Records += records
	w.epochs += int(l.epochs.Load())
	o.aborted += int(aborted.Load())
	o.Restored += int(restored.Load())
	if err != nil && !last && of.Point != UserCodeFails {
		select {
		case <-l.dead:
			return errKilled
		default:
		}
	}
	return err
}

// awaitEither waits for the end. It tells stuck when nothing has moved for as long as
// patience, and goes on waiting.
func awaitEither(done <-chan error, reg *obs.Registry, patience time.Duration, stuck chan<- error) error {
	inner := make(chan error, 1)
	told := false
	for {
		go func() {
			select {
			case err := <-done:
				inner <- err
			case <-time.After(patience):
				inner <- ErrStuck
			}
		}()
		_, before := progress(reg)
		err := <-inner
		if !errors.Is(err, ErrStuck) {
			return err
		}
		if _, now := progress(reg); now == before && !told {
			told = true
			stuck <- stuckError(reg, patience)
		}
	}
}
