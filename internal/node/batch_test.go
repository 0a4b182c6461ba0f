package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/file"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/scheduler/job"
	"github.com/weirflow/weir/sdk"
)

// tracker notes what happens to tasks.
type tracker struct {
	mu     sync.Mutex
	events []scheduler.TaskEvent
	on     func(scheduler.TaskEvent)
}

func (h *tracker) heard(e scheduler.TaskEvent) {
	h.mu.Lock()
	h.events = append(h.events, e)
	h.mu.Unlock()
	if h.on != nil {
		h.on(e)
	}
}

// count counts events of a kind, of tasks whose chain begins as given.
func (h *tracker) count(kind, chain string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Kind == kind && strings.HasPrefix(string(e.Task.Chain), chain) {
			n++
		}
	}
	return n
}

func (h *tracker) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, e := range h.events {
		fmt.Fprintf(&b, "%s: %s\n", e.Kind, e.Message)
	}
	return b.String()
}

// stages is a job of several: numbers are read, joined by key with names that all tasks
// are sent, counted, and dealt out again.
type stages struct {
	records, keys, splits, parallelism int
	fail                               func() error // of reading, after the first records
	hold                               func(v int)  // sees each record as it is read
}

type total = sdk.KeyValue[int, int64]

func (c *stages) plan(t *testing.T, write func(*sdk.Stream[total])) *graph.Plan {
	t.Helper()
	parts := make([][]int, c.splits)
	for i := range c.records {
		parts[i%len(parts)] = append(parts[i%len(parts)], i)
	}
	p := sdk.New("stages")
	read := sdk.Map(sdk.Read(p, flaky{slice.Splits(parts...), c}, sdk.ID("numbers")), func(v int) int {
		if c.hold != nil {
			c.hold(v)
		}
		return v
	}, sdk.ID("read"))
	moved := sdk.Map(sdk.Rebalance(read), func(v int) int { return v }, sdk.ID("moved"))
	sums := sdk.Aggregate(sdk.KeyBy(moved, func(v int) int { return v % c.keys }), sdk.Count[int](), sdk.ID("sums"))
	write(sdk.Map(sums, func(x total) total { return x }, sdk.ID("same"), sdk.NoChain()))
	g, err := p.Graph()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := graph.Build(g, graph.PlanOptions{Parallelism: c.parallelism, Chaining: true, Mode: graph.Batch})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// flaky is a source whose readers fail.
type flaky struct {
	operator.Source[int]
	c *stages
}

func (f flaky) Reader(ctx *operator.ReaderContext) (operator.Reader[int], error) {
	r, err := f.Source.Reader(ctx)
	return &flakyReader{Reader: r, fail: f.c.fail}, err
}

type flakyReader struct {
	operator.Reader[int]
	fail func() error
	read int
}

func (r *flakyReader) Read(into *operator.Records[int], limit int) (operator.Status, error) {
	if r.fail != nil && r.read > 0 {
		if err := r.fail(); err != nil {
			return operator.Status{}, err
		}
	}
	st, err := r.Reader.Read(into, min(limit, 100))
	r.read += len(into.Values)
	return st, err
}

// check wants the largest count of each key to be right, and none to be there twice.
func (c *stages) check(t *testing.T, got []total) {
	t.Helper()
	most, seen := map[int]int64{}, map[total]int{}
	for _, x := range got {
		most[x.Key] = max(most[x.Key], x.Value)
		if seen[x]++; seen[x] > 1 {
			t.Fatalf("%v is there %d times", x, seen[x])
		}
	}
	for k := range c.keys {
		want := int64((c.records - k + c.keys - 1) / c.keys)
		if most[k] != want {
			t.Errorf("key %d: %d, not %d", k, most[k], want)
		}
	}
}

func run(t *testing.T, plan *graph.Plan, o node.Options) error {
	t.Helper()
	e, err := node.NewEmbedded(plan, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	return e.Run(ctx)
}

func TestBatch(t *testing.T) {
	c := &stages{records: 10_000, keys: 37, splits: 5, parallelism: 3}
	sink, h := collect.New[total](), &tracker{}
	work, figures := t.TempDir(), &obs.Registry{}
	plan := c.plan(t, func(s *sdk.Stream[total]) { sdk.Write(s, sink) })
	if err := run(t, plan, node.Options{Task: h.heard, Registry: figures, State: node.State{Work: filepath.Join(work, "w")}}); err != nil {
		t.Fatal(err, h)
	}
	c.check(t, sink.Results())
	if n := h.count("started", ""); n != plan.Tasks() || h.count("finished", "") != n || h.count("again", "") != 0 {
		t.Errorf("%d tasks have been started of %d:\n%s", n, plan.Tasks(), h)
	}
	// The figures of all tasks are of one run of the job, though each has its own attempt.
	if all, at := figures.Newest(0); at != 1 || len(all) != len(figures.Operators()) || len(all) < plan.Tasks() {
		t.Errorf("%d of %d figures are of attempt %d", len(all), len(figures.Operators()), at)
	}
	if left, _ := os.ReadDir(filepath.Join(work, "w")); len(left) > 0 {
		t.Errorf("the job has left %v", left)
	}
}

// TestBatchFailures has one task fail, which is the only one that runs again, until it has
// failed too often.
func TestBatchFailures(t *testing.T) {
	var failures atomic.Int64
	fail := errors.New("not now")
	c := &stages{records: 3000, keys: 10, splits: 4, parallelism: 2, fail: func() error {
		if failures.Add(-1) >= 0 {
			return &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Message: fail.Error(), Cause: fail}
		}
		return nil
	}}
	// Two in a row of one task are allowed.
	c.parallelism = 1
	for n, want := range []error{nil, nil, nil, fail} {
		failures.Store(int64(n))
		sink, h := collect.New[total](), &tracker{}
		plan := c.plan(t, func(s *sdk.Stream[total]) { sdk.Write(s, sink) })
		err := run(t, plan, node.Options{Task: h.heard, Restart: job.FixedDelay{MaxFailures: 2}})
		if !errors.Is(err, want) {
			t.Fatalf("%d failures: %v\n%s", n, err, h)
		}
		if want != nil {
			if len(sink.Results()) > 0 {
				t.Errorf("a failed job has written %d records", len(sink.Results()))
			}
			continue
		}
		c.check(t, sink.Results())
		if h.count("again", "numbers") != n || h.count("again", "") != n {
			t.Errorf("%d failures:\n%s", n, h)
		}
	}
}

// TestBatchLosses takes outputs away, or changes them, when the tasks are about to read that
// come after those that read them: they are made again, and those behind them run again.
func TestBatchLosses(t *testing.T) {
	harm := map[string]func(name string) error{
		"removed": os.Remove,
		"cut":     func(name string) error { return os.Truncate(name, 100) },
		"changed": func(name string) error {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			b[len(b)/2] ^= 1
			return os.WriteFile(name, b, 0o600)
		},
	}
	for what, harm := range harm {
		t.Run(what, func(t *testing.T) {
			c := &stages{records: 5000, keys: 20, splits: 6, parallelism: 3}
			sink, h := collect.New[total](), &tracker{}
			work := filepath.Join(t.TempDir(), "w")
			done := 0
			h.on = func(e scheduler.TaskEvent) {
				if e.Kind != "finished" || e.Task.Chain != "moved" {
					return
				}
				if done++; done != 3 {
					return
				}
				// All read by "sums", which is about to run; one of the two that come
				// before is wanted by nobody any more.
				for _, glob := range []string{"sums@0@0@0@*.spill", "moved@0@0@1@*.spill"} {
					names, err := filepath.Glob(filepath.Join(work, "outputs", "*", glob))
					if err != nil || len(names) != 1 {
						t.Errorf("%v: %v", names, err)
						return
					}
					if err := harm(names[0]); err != nil {
						t.Error(err)
					}
				}
			}
			plan := c.plan(t, func(s *sdk.Stream[total]) { sdk.Write(s, sink) })
			if err := run(t, plan, node.Options{Task: h.heard, Restart: job.FixedDelay{MaxFailures: 5}, State: node.State{Work: work}}); err != nil {
				t.Fatal(err, h)
			}
			c.check(t, sink.Results())
			// moved/0 is made again, for which numbers/1 is wanted; all that read from that, too.
			// What was changed is of another task's share: moved/0 does not see it.
			numbers := map[string]int{"removed": 1, "cut": 1, "changed": 0}[what]
			if h.count("lost", "moved") != 1 || h.count("again", "numbers") != numbers || h.count("again", "moved") != 1+2*numbers+numbers {
				t.Error(h)
			}
			if h.count("finished", "same") < 3 || h.count("finished", "numbers") != 3+numbers {
				t.Error(h)
			}
		})
	}
}

// TestBatchOnce starts a job again that is done: it does nothing, and files are there once.
func TestBatchOnce(t *testing.T) {
	var failed atomic.Bool
	c := &stages{records: 2000, keys: 7, splits: 3, parallelism: 2, fail: func() error {
		if failed.CompareAndSwap(false, true) {
			return &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Message: "not now"}
		}
		return nil
	}}
	dir, out := t.TempDir(), t.TempDir()
	plan := func() *graph.Plan {
		return c.plan(t, func(s *sdk.Stream[total]) {
			sdk.Write(sdk.Map(s, func(x total) string { return fmt.Sprint(x.Key, " ", x.Value) }), file.TextSink(out))
		})
	}
	read := func() (all []string) {
		names, err := filepath.Glob(filepath.Join(out, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, strings.Fields(strings.ReplaceAll(string(b), " ", ":"))...)
		}
		slices.Sort(all)
		return all
	}
	o := node.Options{Job: "once", State: node.State{Location: dir, Backend: node.Memory}, Restart: job.FixedDelay{MaxFailures: 3}}
	if err := run(t, plan(), o); err != nil {
		t.Fatal(err)
	}
	first := read()
	if len(first) != c.keys {
		t.Fatalf("%d lines, not one for each of %d keys", len(first), c.keys)
	}
	if hidden, _ := filepath.Glob(filepath.Join(out, ".*")); len(hidden) > 0 {
		t.Errorf("left behind: %v", hidden)
	}
	h := &tracker{}
	o.Task = h.heard
	if err := run(t, plan(), o); err != nil {
		t.Fatal(err)
	}
	if again := read(); !slices.Equal(first, again) || len(h.events) > 0 {
		t.Errorf("%d lines after another start, and\n%s", len(again), h)
	}
}

// TestBatchEnds cancels and stops a job while its tasks read.
func TestBatchEnds(t *testing.T) {
	for _, want := range []error{node.ErrCancelled, node.ErrStopped} {
		t.Run(want.Error(), func(t *testing.T) {
			reading, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			c := &stages{records: 50_000, keys: 5, splits: 20, parallelism: 2}
			c.hold = func(int) {
				once.Do(func() { close(reading) })
				<-goOn
			}
			sink := collect.New[total]()
			plan := c.plan(t, func(s *sdk.Stream[total]) { sdk.Write(s, sink) })
			e, err := node.NewEmbedded(plan, node.Options{})
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- e.Run(t.Context()) }()
			<-reading
			if want == node.ErrCancelled {
				e.Cancel()
			} else {
				e.Stop()
			}
			if _, err := e.Savepoint(t.Context(), t.TempDir()); !errors.Is(err, scheduler.ErrBatch) {
				t.Error(err)
			}
			close(goOn)
			if err := <-ended; !errors.Is(err, want) {
				t.Fatal(err)
			}
			n := len(sink.Results())
			if want == node.ErrCancelled && n > 0 || want == node.ErrStopped && (n == 0 || n > c.records) {
				t.Errorf("%d records were written", n)
			}
		})
	}
}
