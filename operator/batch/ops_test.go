package batch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state/memory"
)

// order is a record of the tests: Nth tells them apart.
type order struct {
	Key  string
	Nth  int
	Note string
}

// stamped is one with its time, which is beside it in a batch.
type stamped struct {
	order
	at flow.Time
}

func keyOfOrder(t testing.TB) operator.Key[order, string] {
	t.Helper()
	k, err := operator.NewKey(func(o order) string { return o.Key })
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// result is what an operator gave.
type result[T any] struct {
	V    T
	Time flow.Time
}

type results[T any] struct{ got []result[T] }

func (r *results[T]) Receive(b *flow.Batch[T]) error {
	for i, v := range b.Values {
		r.got = append(r.got, result[T]{v, b.Time(i)})
	}
	return nil
}

type stillTask struct{ operator.Task }

func (stillTask) Context() context.Context                { return context.Background() }
func (stillTask) Now() flow.Time                          { return 0 }
func (stillTask) WakeAt(_ operator.Operator, _ flow.Time) {}

func opened(t interface {
	Helper()
	Fatal(...any)
}, op operator.Operator, b operator.Batch) operator.Operator {
	t.Helper()
	if err := op.Open(&operator.Context{Operator: "op", Name: "op", BatchSize: 7, MaxParallelism: 128, Parallelism: 1,
		KeyGroups: flow.KeyGroupRange{End: 128}, State: memory.New(memory.Options{}), Metrics: &obs.Operator{},
		Log: slog.New(slog.DiscardHandler), Task: stillTask{}, Batch: b}); err != nil {
		t.Fatal(err)
	}
	return op
}

// orders draws records: of few keys or of more than fit, with and without times.
func orders(r *rapid.T, label string) []stamped {
	n := rapid.SampledFrom([]int{0, 1, 50, 3000}).Draw(r, label)
	distinct := rapid.SampledFrom([]int{1, 20, 20_000}).Draw(r, label+" keys")
	note := strings.Repeat("x", rapid.SampledFrom([]int{0, 900}).Draw(r, label+" size"))
	timed := rapid.Bool().Draw(r, label+" timed")
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(r, label+" seed"), 1))
	all := make([]stamped, n)
	for i := range all {
		all[i] = stamped{order{Key: fmt.Sprint(rng.IntN(distinct)), Nth: i, Note: note}, flow.MinTime}
		if timed {
			all[i].at = flow.Time(rng.IntN(1000))
		}
	}
	return all
}

// give hands records to a port in batches, with hashes or without.
func give(r *rapid.T, op operator.Operator, p flow.Port, hash operator.HashFunc[order], all []stamped) {
	hashed := rapid.Bool().Draw(r, "hashed")
	for part := range slices.Chunk(all, 100) {
		var b flow.Batch[order]
		for _, o := range part {
			b.Append(o.order, o.at)
		}
		if hashed {
			b.Hashes = hash(b.Values, nil)
		}
		if err := op.Inlet(p).(operator.Receiver[order]).Receive(&b); err != nil {
			r.Fatal(err)
		}
	}
}

func endOf(r *rapid.T, ops ...operator.Operator) {
	for _, op := range ops {
		if w, err := op.Watermark(50); err != nil || w != flow.MinTime {
			r.Fatalf("watermark 50: %v, %v: event time must stand still", w, err)
		}
		if w, err := op.Watermark(flow.MaxTime); err != nil || w != flow.MaxTime {
			r.Fatalf("watermark: %v, %v", w, err)
		}
		if err := op.EndInput(0); err != nil {
			r.Fatal(err)
		}
	}
}

// agree compares what an operator gives in batch mode with the last that it gives
// of each key otherwise.
func agree[K comparable, Out any](r *rapid.T, hash operator.HashFunc[order], streaming operator.Operator, b *operator.BatchImpl, keyOf func(Out) K) {
	all := orders(r, "records")
	var live, final results[Out]
	if err := streaming.Outlet(0).Attach(&live); err != nil {
		r.Fatal(err)
	}
	give(r, opened(r, streaming, operator.Batch{}), 0, hash, all)
	last := map[K]result[Out]{}
	for _, res := range live.got {
		last[keyOf(res.V)] = res
	}

	fs, dir := scratchFS()
	budget := operator.Batch{Memory: rapid.SampledFrom([]int{1, 1 << 20, 0}).Draw(r, "memory"), FS: fs, Dir: dir}
	op := b.New()
	if err := op.Outlet(0).Attach(&final); err != nil {
		r.Fatal(err)
	}
	opened(r, op, budget)
	if b.Combine == nil {
		give(r, op, 0, hash, all)
	} else {
		// Two producers, which have a key each: order is kept for one producer only.
		var parts [2][]stamped
		for _, o := range all {
			p := len(o.Key) % 2
			parts[p] = append(parts[p], o)
		}
		for _, part := range parts {
			c := b.Combine.New()
			if err := c.Outlet(0).Attach(op.Inlet(0)); err != nil {
				r.Fatal(err)
			}
			opened(r, c, budget)
			give(r, c, 0, hash, part)
			endOf(r, c)
			if err := c.Close(); err != nil {
				r.Fatal(err)
			}
		}
	}
	if len(final.got) > 0 {
		r.Fatalf("%d results before the end", len(final.got))
	}
	endOf(r, op)
	if err := op.Close(); err != nil {
		r.Fatal(err)
	}
	left(r, fs, dir)
	for _, res := range final.got {
		k := keyOf(res.V)
		if want, ok := last[k]; !ok || fmt.Sprint(want) != fmt.Sprint(res) {
			r.Fatalf("key %v has %.300v, and not %.300v (%t)", k, res, want, ok)
		}
		delete(last, k)
	}
	if len(last) > 0 {
		r.Fatalf("%d keys have no result", len(last))
	}
}

// TestFinalResults: an operator in batch mode gives the last of what it gives otherwise.
func TestFinalResults(t *testing.T) {
	key := keyOfOrder(t)
	// As in a fold whose function is neither associative nor commutative.
	chain := func(acc, o order) order { o.Nth += 3 * acc.Nth; return o }
	joined := operator.Aggregator[order, []int, string]{
		New:    func() []int { return []int{-1} },
		Add:    func(acc *[]int, o order) { *acc = append(*acc, o.Nth) },
		Result: func(acc *[]int) string { return fmt.Sprint(*acc) },
	}
	summed := operator.Aggregator[order, int64, int64]{
		Add:    func(acc *int64, o order) { *acc += int64(o.Nth) },
		Merge:  func(into, from *int64) { *into += *from },
		Result: func(acc *int64) int64 { return *acc },
	}
	less := func(a, b order) bool { return a.Nth%7 > b.Nth%7 }
	ofOrder := func(o order) string { return o.Key }
	t.Run("reduce", rapid.MakeCheck(func(r *rapid.T) {
		agree(r, key.Hash, operator.NewReduce(key, chain), NewReduce(key, chain), ofOrder)
	}))
	t.Run("aggregate", rapid.MakeCheck(func(r *rapid.T) {
		b, err := NewAggregate(key, summed)
		if err != nil || b.Combine == nil {
			r.Fatal(b, err)
		}
		agree(r, key.Hash, operator.NewRunning(key, summed), b, func(kv operator.KeyValue[string, int64]) string { return kv.Key })
	}))
	t.Run("aggregate that cannot merge", rapid.MakeCheck(func(r *rapid.T) {
		b, err := NewAggregate(key, joined)
		if err != nil || b.Combine != nil {
			r.Fatal(b, err)
		}
		agree(r, key.Hash, operator.NewRunning(key, joined), b, func(kv operator.KeyValue[string, string]) string { return kv.Key })
	}))
	t.Run("distinct", rapid.MakeCheck(func(r *rapid.T) {
		b, err := NewDistinct(key)
		if err != nil {
			r.Fatal(err)
		}
		agree(r, key.Hash, operator.NewDistinct(key), b, ofOrder)
	}))
	t.Run("topn", rapid.MakeCheck(func(r *rapid.T) {
		b, err := NewTopN(key, 3, less)
		if err != nil {
			r.Fatal(err)
		}
		agree(r, key.Hash, operator.NewTopN(key, 3, less), b, func(k operator.Ranking[string, order]) string { return k.Key })
	}))
}

// TestFolderTables: small inputs are folded in the table, large ones beside it, and
// accumulators that grow do not stay in it.
func TestFolderTables(t *testing.T) {
	type lists = []string
	for _, c := range []struct {
		name              string
		keys, each, bytes int
		sorted            bool
	}{
		{"all in the table", 100, 10, 1, false},
		{"keys beside the table", 20_000, 2, 100, true},
		{"accumulators that grow", 20, 3000, 100, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs, dir := scratchFS()
			f, err := NewFolder(FolderOptions[int, order, lists]{Key: func(o order) int { return o.Nth }, Memory: 1 << 20, FS: fs, Dir: dir,
				Add: func(acc *lists, fresh bool, o *order, _ flow.Time) {
					if fresh != (len(*acc) == 0) {
						t.Errorf("fresh is %t with %d in it", fresh, len(*acc))
					}
					*acc = append(*acc, o.Note)
				}})
			if err != nil {
				t.Fatal(err)
			}
			for i := range c.each {
				for k := range c.keys {
					o := order{Nth: k, Note: fmt.Sprintf("%0*d", c.bytes, i)}
					if err := f.Add(t.Context(), mix(uint64(k)), &o, flow.MinTime); err != nil {
						t.Fatal(err)
					}
				}
			}
			seen := 0
			err = f.Emit(t.Context(), func(b *flow.Batch[operator.KeyValue[int, lists]]) error {
				for i, g := range b.Values {
					seen++
					if len(g.Value) != c.each || !slices.IsSorted(g.Value) || b.Hashes[i] != mix(uint64(g.Key)) {
						return fmt.Errorf("group %d has %d of %d, sorted %t", g.Key, len(g.Value), c.each, slices.IsSorted(g.Value))
					}
				}
				return nil
			})
			if err != nil || seen != c.keys {
				t.Fatalf("%d groups of %d, %v", seen, c.keys, err)
			}
			st := f.Stats()
			if (st.Sorted > 0) != c.sorted || st.Groups != int64(c.keys) || st.Records != int64(c.keys*c.each) {
				t.Errorf("%+v", st)
			}
			if st.Memory > 2<<20 {
				t.Errorf("it held %d bytes of 1 MB", st.Memory)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			left(t, fs, dir)
		})
	}
}

// spoken is what a process function has seen.
type spoken struct {
	Port int
	order
	Time flow.Time
}

// checkSorted: the records of a key stand together, in their order.
func checkSorted(r *rapid.T, port int, all []stamped, said []spoken) {
	var got []spoken
	for _, s := range said {
		if s.Port == port {
			got = append(got, s)
		}
	}
	seen, before := map[string]bool{}, ""
	for i, s := range got {
		if i == 0 || s.Key != before {
			if seen[s.Key] {
				r.Fatalf("key %q comes in two runs", s.Key)
			}
			seen[s.Key], before = true, s.Key
		} else if got[i-1].Nth >= s.Nth {
			r.Fatalf("key %q: record %d came behind %d", s.Key, s.Nth, got[i-1].Nth)
		}
	}
	slices.SortFunc(got, func(a, b spoken) int { return cmp.Compare(a.Nth, b.Nth) })
	if len(got) != len(all) {
		r.Fatalf("%d records of %d", len(got), len(all))
	}
	for i, s := range got {
		if s.Key != all[i].Key || s.Nth != all[i].Nth || s.Note != all[i].Note || s.Time != all[i].at {
			r.Fatalf("record %d is %.200v, and not %.200v", i, s, all[i])
		}
	}
}

// TestSortedProcess: a process function gets its records key by key, and timers when
// all have come.
func TestSortedProcess(t *testing.T) {
	key := keyOfOrder(t)
	rapid.Check(t, func(r *rapid.T) {
		var said []spoken
		fired := map[string]int{}
		mk := func(s *operator.Setup[string]) operator.Processor[string, order, order] {
			n := operator.ValueState[int](s, "n")
			return operator.Processor[string, order, order]{
				Each: func(c *operator.Keyed[string], o order, _ *operator.Emitter[order]) {
					if len(fired) > 0 || c.Watermark() != flow.MinTime {
						r.Fatalf("a record came behind a timer, or at watermark %v", c.Watermark())
					}
					said = append(said, spoken{0, o, c.Time()})
					v, _ := n.Get()
					n.Set(v + 1)
					c.SetTimer(10)
				},
				Timer: func(c *operator.Keyed[string], _ operator.Timer, out *operator.Emitter[order]) {
					fired[c.Key], _ = n.Get()
					out.Emit(order{Key: c.Key})
				},
			}
		}
		d, err := operator.Declare(mk)
		if err != nil {
			r.Fatal(err)
		}
		op := NewSorted(func() operator.Operator {
			return operator.NewProcess(operator.ProcessConfig[string, order, order]{Key: key, Make: mk, Declared: d})
		}, 0, NewSide(key.Hash)).New()
		var out results[order]
		if err := op.Outlet(0).Attach(&out); err != nil {
			r.Fatal(err)
		}
		fs, dir := scratchFS()
		opened(r, op, operator.Batch{Memory: rapid.SampledFrom([]int{1, 0}).Draw(r, "memory"), FS: fs, Dir: dir})
		all := orders(r, "records")
		give(r, op, 0, key.Hash, all)
		endOf(r, op)
		checkSorted(r, 0, all, said)
		counts := map[string]int{}
		for _, o := range all {
			counts[o.Key]++
		}
		if fmt.Sprint(counts) != fmt.Sprint(fired) || len(out.got) != len(counts) {
			r.Fatalf("timers fired with %v, not %v; %d results", fired, counts, len(out.got))
		}
		if err := op.Close(); err != nil {
			r.Fatal(err)
		}
		left(r, fs, dir)
	})
}

// TestSortedTwo: both inputs of a key come together, however far apart they are, and
// what is broadcast comes first.
func TestSortedTwo(t *testing.T) {
	key := keyOfOrder(t)
	rapid.Check(t, func(r *rapid.T) {
		var said []spoken
		say := func(port int) func(c *operator.Keyed[string], o order, _ *operator.Emitter[order]) {
			return func(c *operator.Keyed[string], o order, _ *operator.Emitter[order]) {
				said = append(said, spoken{port, o, c.Time()})
			}
		}
		broadcast := rapid.Bool().Draw(r, "broadcast")
		var inner func() operator.Operator
		sides, others := []Side{NewSide(key.Hash)}, 1
		if broadcast {
			mk := func(*operator.Setup[string]) operator.BroadcastProcessor[string, order, order, order] {
				return operator.BroadcastProcessor[string, order, order, order]{Each: say(0),
					Broadcast: func(b *operator.Broadcast, o order, _ *operator.Emitter[order]) {
						said = append(said, spoken{1, o, b.Time()})
					}}
			}
			d, err := operator.Declare(mk)
			if err != nil {
				r.Fatal(err)
			}
			inner = func() operator.Operator {
				return operator.NewBroadcast(operator.BroadcastConfig[string, order, order, order]{Key: key, Make: mk, Declared: d})
			}
		} else {
			sides, others = append(sides, NewSide(key.Hash)), 0
			mk := func(*operator.Setup[string]) operator.CoProcessor[string, order, order, order] {
				return operator.CoProcessor[string, order, order, order]{Left: say(0), Right: say(1)}
			}
			d, err := operator.Declare(mk)
			if err != nil {
				r.Fatal(err)
			}
			inner = func() operator.Operator {
				return operator.NewCoProcess(operator.CoProcessConfig[string, order, order, order]{Left: key, Right: key, Make: mk, Declared: d})
			}
		}
		op := NewSorted(inner, others, sides...).New()
		if err := op.Outlet(0).Attach(&results[order]{}); err != nil {
			r.Fatal(err)
		}
		fs, dir := scratchFS()
		opened(r, op, operator.Batch{Memory: rapid.SampledFrom([]int{1, 0}).Draw(r, "memory"), FS: fs, Dir: dir})
		left0, right := orders(r, "left"), orders(r, "right")
		give(r, op, 0, key.Hash, left0)
		give(r, op, 1, key.Hash, right)
		if rapid.Bool().Draw(r, "stopped") {
			for p := range flow.Port(2) {
				if err := op.EndInput(p); err != nil {
					r.Fatal(err)
				}
			}
		} else {
			if err := op.EndInput(1); err != nil {
				r.Fatal(err)
			}
			if _, err := op.Watermark(flow.MaxTime); err != nil {
				r.Fatal(err)
			}
			if err := op.EndInput(0); err != nil {
				r.Fatal(err)
			}
		}
		checkSorted(r, 0, left0, said)
		if broadcast {
			for i, o := range right {
				if s := said[i]; s.Port != 1 || s.Nth != o.Nth || s.Time != o.at {
					r.Fatalf("record %d of all is %.100v", i, s)
				}
			}
		} else {
			checkSorted(r, 1, right, said)
			seen, before := map[string]bool{}, "none"
			for _, s := range said {
				if s.Key != before && seen[s.Key] {
					r.Fatalf("the inputs of key %q come apart", s.Key)
				}
				seen[s.Key], before = true, s.Key
			}
		}
		if err := op.Close(); err != nil {
			r.Fatal(err)
		}
		left(r, fs, dir)
	})
}

// TestOperatorsTellErrors: a disk that fails is an error of the operator, and closing it still removes what it can.
func TestOperatorsTellErrors(t *testing.T) {
	key := keyOfOrder(t)
	op := NewReduce(key, func(_, o order) order { return o }).New()
	opened(t, op, operator.Batch{Memory: 1, FS: failing{vfs.NewMem()}, Dir: "tmp"})
	if err := op.Outlet(0).Attach(&results[order]{}); err != nil {
		t.Fatal(err)
	}
	var err error
	for i := 0; i < 100_000 && err == nil; i++ {
		b := flow.Batch[order]{Values: []order{{Key: fmt.Sprint(i), Note: strings.Repeat("n", 100)}}}
		err = op.Inlet(0).(operator.Receiver[order]).Receive(&b)
	}
	if err == nil || !strings.Contains(err.Error(), "operator/batch: making") {
		t.Fatalf("the error is %v", err)
	}
	if err := op.Close(); err != nil {
		t.Fatal(err)
	}
}

// failing is a file system that makes nothing.
type failing struct{ vfs.FS }

func (failing) MkdirAll(string, os.FileMode) error { return errNoDisk }

var errNoDisk = errors.New("no disk")
