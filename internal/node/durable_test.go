package node_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/scheduler/job"
	"github.com/weirflow/weir/sdk"
)

// counting is a job that counts records by key: each key's results have to be 1, 2,
// 3 ..., each once, whatever happens on the way.
type counting struct {
	records, keys, splits int
	parallelism           int
	unbounded             bool
	// tap sees every record as it is read, again after a restart.
	tap func(v int)
	// epochs counts those of the run: a reader brings no more than perEpoch records
	// before the next one, where that is set.
	epochs   *atomic.Int64
	perEpoch int
	sink     *collect.Sink[sdk.KeyValue[int, int64]]
	opt      node.Options
}

func (c *counting) plan(t *testing.T) *graph.Plan {
	t.Helper()
	if c.sink == nil {
		c.sink = collect.New[sdk.KeyValue[int, int64]]()
	}
	parts := make([][]int, max(1, c.splits))
	for i := range c.records {
		parts[i%len(parts)] = append(parts[i%len(parts)], i)
	}
	src := slice.Splits(parts...)
	if c.unbounded {
		src = src.Unbounded()
	}
	p := sdk.New("counting")
	read := sdk.Map(sdk.Read(p, paced{src, c}), func(v int) int {
		if c.tap != nil {
			c.tap(v)
		}
		return v
	})
	sdk.Write(sdk.Aggregate(sdk.KeyBy(read, func(v int) int { return v % c.keys }), sdk.Count[int]()), c.sink)
	g, err := p.Graph()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := graph.Build(g, graph.PlanOptions{Parallelism: max(1, c.parallelism), Chaining: true})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// paced is a source that does not end before something could happen to it.
type paced struct {
	operator.Source[int]
	c *counting
}

func (p paced) Reader(ctx *operator.ReaderContext) (operator.Reader[int], error) {
	r, err := p.Source.Reader(ctx)
	return &pacedReader{Reader: r, c: p.c, now: ctx.Now}, err
}

type pacedReader struct {
	operator.Reader[int]
	c    *counting
	now  func() flow.Time
	read int
}

func (r *pacedReader) Read(into *operator.Records[int], limit int) (operator.Status, error) {
	if r.c.perEpoch > 0 && r.read >= r.c.perEpoch*int(r.c.epochs.Load()+1) {
		return operator.WaitUntil(r.now().Add(100 * time.Microsecond)), nil
	}
	st, err := r.Reader.Read(into, min(limit, 16))
	r.read += len(into.Values)
	return st, err
}

// embedded makes the job; its state is on dir.
func (c *counting) embedded(t *testing.T, dir string) *node.Embedded {
	t.Helper()
	o := c.opt
	o.Job, o.State.Location, o.BatchSize = "counting", dir, 16
	if o.Interval == 0 {
		o.Interval = time.Millisecond
	}
	if o.State.Backend == "" {
		o.State.Backend = node.Memory
	}
	if o.Restart == nil {
		o.Restart = job.FixedDelay{MaxFailures: 3}
	}
	e, err := node.NewEmbedded(c.plan(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (c *counting) run(t *testing.T, dir string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return c.embedded(t, dir).Run(ctx)
}

// wantAll wants each record counted once.
func (c *counting) wantAll(t *testing.T) {
	t.Helper()
	got := map[int][]int64{}
	for _, kv := range c.sink.Results() {
		got[kv.Key] = append(got[kv.Key], kv.Value)
	}
	for key := range c.keys {
		n := c.records / c.keys
		if key < c.records%c.keys {
			n++
		}
		slices.Sort(got[key])
		for i, v := range got[key] {
			if v != int64(i)+1 {
				t.Fatalf("key %d: result %d of %d is %d", key, i+1, len(got[key]), v)
			}
		}
		if len(got[key]) != n {
			t.Fatalf("key %d has %d results of %d", key, len(got[key]), n)
		}
	}
}

// watcher notes what the job tells.
type watcher struct {
	epochs   atomic.Int64
	restored []scheduler.Restored
	restarts int
}

func (w *watcher) listener() scheduler.Listener {
	return scheduler.Listener{
		Committed:  func(flow.Barrier) { w.epochs.Add(1) },
		Restored:   func(r scheduler.Restored) { w.restored = append(w.restored, r) },
		Restarting: func(flow.Attempt, time.Duration, *flow.Failure) { w.restarts++ },
	}
}

func TestRestartsFromItsNewestEpoch(t *testing.T) {
	for i, backend := range []node.Backend{node.Memory, node.LSM, node.LSM} {
		parallelism := 1 + i
		t.Run(fmt.Sprint(backend, parallelism), func(t *testing.T) {
			var w watcher
			var failed atomic.Bool
			c := counting{records: 5_000, keys: 100, splits: 7, parallelism: parallelism, perEpoch: 300, epochs: &w.epochs}
			c.tap = func(v int) {
				if w.epochs.Load() >= 1 && v > 1000 && failed.CompareAndSwap(false, true) {
					panic("once")
				}
			}
			c.opt.Listener, c.opt.State.Backend = w.listener(), backend
			if err := c.run(t, t.TempDir()); err != nil {
				t.Fatal(err)
			}
			if w.restarts != 1 || len(w.restored) != 2 || w.restored[1].Epoch < 1 || w.restored[0].Epoch != 0 {
				t.Errorf("restarts %d, restored %+v", w.restarts, w.restored)
			}
			c.wantAll(t)
		})
	}
}

// A user's function that fails on the same record again is not tried a third time.
func TestPoisonRecord(t *testing.T) {
	var w watcher
	c := counting{records: 5000, keys: 10}
	c.tap = func(v int) {
		if v == 4321 {
			panic("no such number")
		}
	}
	c.opt.Listener = w.listener()
	c.opt.Restart = node.Restart(job.FixedDelay{}, 0, func() flow.Time { return 0 })
	err := c.run(t, t.TempDir())
	if err == nil || w.restarts != 1 || !strings.Contains(err.Error(), "the same record failed in the same way") ||
		!strings.Contains(err.Error(), "4321") {
		t.Errorf("restarts %d, error %v", w.restarts, err)
	}
}

// A job that is stopped goes on in the next process, and one that has finished stays
// finished.
func TestGoesOnInTheNextProcess(t *testing.T) {
	dir := t.TempDir()
	sink := collect.New[sdk.KeyValue[int, int64]]()
	c := counting{records: 10_000, keys: 50, splits: 5, parallelism: 2, perEpoch: 300, sink: sink}
	stops := 0
	for {
		var w watcher
		var e *node.Embedded
		var asked atomic.Bool
		c.tap = func(int) {
			if w.epochs.Load() >= 2 && asked.CompareAndSwap(false, true) {
				e.Suspend("")
			}
		}
		c.opt.Listener = w.listener()
		c.parallelism, c.epochs = 1+stops%3, &w.epochs
		if c.opt.State.Backend = node.Memory; stops > 2 {
			c.opt.State.Backend = node.LSM
		}
		e = c.embedded(t, dir)
		err := e.Run(t.Context())
		if stops > 0 && w.restored[0].Epoch == 0 {
			t.Fatalf("it began anew: %+v", w.restored)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, scheduler.ErrStopped) {
			t.Fatal(err)
		}
		stops++
	}
	t.Logf("stopped %d times", stops)
	if stops == 0 {
		t.Error("it was never stopped")
	}
	c.wantAll(t)
	var w watcher
	c.perEpoch = 0
	c.opt.Listener, c.tap = w.listener(), func(int) { t.Error("a record was read again") }
	if err := c.run(t, dir); err != nil || len(w.restored) != 1 || !w.restored[0].Finished {
		t.Errorf("error %v, restored %+v", err, w.restored)
	}
	c.wantAll(t)
	// Started anew it does everything again.
	c.sink.Reset()
	c.tap, c.opt.State.Fresh = nil, true
	if err := c.run(t, dir); err != nil {
		t.Fatal(err)
	}
	c.wantAll(t)
}

// A second process is refused while the first runs.
func TestTwoProcessesOnOneDirectory(t *testing.T) {
	dir := t.TempDir()
	c := counting{records: 10, keys: 1, unbounded: true}
	begun := make(chan struct{})
	var once atomic.Bool
	c.tap = func(int) {
		if once.CompareAndSwap(false, true) {
			close(begun)
		}
	}
	e := c.embedded(t, dir)
	done := make(chan error, 1)
	go func() { done <- e.Run(t.Context()) }()
	<-begun
	other := counting{records: 10, keys: 1}
	if err := other.run(t, dir); !errors.Is(err, store.ErrLocked) {
		t.Error(err)
	}
	e.Stop()
	if err := <-done; !errors.Is(err, scheduler.ErrStopped) {
		t.Error(err)
	}
}

func TestSavepoint(t *testing.T) {
	dir, save := t.TempDir(), filepath.Join(t.TempDir(), "save")
	var w watcher
	c := counting{records: 20_000, keys: 20, splits: 3, parallelism: 2, perEpoch: 500, epochs: &w.epochs}
	var e *node.Embedded
	var asked atomic.Bool
	c.tap = func(int) {
		if w.epochs.Load() >= 1 && asked.CompareAndSwap(false, true) {
			e.Suspend(save)
		}
	}
	c.opt.Listener = w.listener()
	e = c.embedded(t, dir)
	if err := e.Run(t.Context()); !errors.Is(err, scheduler.ErrStopped) {
		t.Fatal(err)
	}
	// The savepoint's records are in the first job's results, and those behind it,
	// up to the stop, too: only a sink of its own shows what the second job counts.
	m, st, err := store.LoadSavepoint(t.Context(), save)
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
	if len(m.Committables) > 0 {
		t.Errorf("the savepoint would commit %v once more", m.Committables)
	}
	var again watcher
	second := counting{records: c.records, keys: c.keys, splits: c.splits, parallelism: 3}
	second.opt.Listener, second.opt.State.From = again.listener(), save
	if err := second.run(t, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if !again.restored[0].Savepoint {
		t.Errorf("%+v", again.restored)
	}
	// The highest count of each key is that of all records, though the second job has
	// read only some.
	highest, results := map[int]int64{}, second.sink.Results()
	for _, kv := range results {
		highest[kv.Key] = max(highest[kv.Key], kv.Value)
	}
	for k, n := range highest {
		if n != int64(c.records/c.keys) {
			t.Errorf("key %d: %d", k, n)
		}
	}
	if len(results) >= c.records {
		t.Error("it read everything again")
	}
}

func TestSavepointNeedsState(t *testing.T) {
	c := counting{records: 10, keys: 1, unbounded: true}
	e := c.embedded(t, "")
	done := make(chan error, 1)
	go func() { done <- e.Run(t.Context()) }()
	if _, err := e.Savepoint(t.Context(), t.TempDir()); !errors.Is(err, scheduler.ErrNoStorage) {
		t.Error(err)
	}
	e.Stop()
	<-done
}
