package chaos

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/file"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
	engine "github.com/weirflow/weir/sdk/run"
)

// gated is a source that gives so many records and then waits, so that a job can be
// stopped in the middle of its input.
type gated struct {
	operator.Source[event]
	read *atomic.Int64
	most int64
}

func (s gated) Reader(ctx *operator.ReaderContext) (operator.Reader[event], error) {
	r, err := s.Source.Reader(ctx)
	return gatedReader{r, s}, err
}

type gatedReader struct {
	operator.Reader[event]
	s gated
}

func (r gatedReader) Read(into *operator.Records[event], most int) (operator.Status, error) {
	if r.s.read.Load() >= r.s.most {
		return operator.WaitForWake, nil
	}
	status, err := r.Reader.Read(into, min(most, 100))
	r.s.read.Add(int64(into.Len()))
	return status, err
}

// doomsday is after all events: its timers come due when the input has ended.
const doomsday = sdk.Time(1 << 60)

// version is a version of the program: it numbers the events of a key, and tells their
// sum in the end.
type version func(events *sdk.Keyed[int64, event]) *sdk.Stream[string]

func versionOne(events *sdk.Keyed[int64, event]) *sdk.Stream[string] {
	type account struct {
		Count  int32
		Oldest int64
		Sum    int64
	}
	return sdk.Process(events, func(s *sdk.Setup[int64]) sdk.Processor[int64, event, string] {
		accounts := sdk.NewValue[account](s, "account")
		return sdk.Processor[int64, event, string]{
			Each: func(c *sdk.Context[int64], e event, out *sdk.Out[string]) {
				a, _ := accounts.Get()
				a.Count, a.Sum, a.Oldest = a.Count+1, a.Sum+e.Value, max(a.Oldest, e.ID)
				accounts.Set(a)
				c.SetTimer(doomsday)
				out.Emit(fmt.Sprintf("%d %d", c.Key, a.Count))
			},
			Timer: func(c *sdk.Context[int64], _ sdk.Timer, out *sdk.Out[string]) {
				out.Emit(fmt.Sprintf("%d came to its end in the older program", c.Key))
			},
		}
	}, sdk.ID("accounts"))
}

// versionTwo keeps a field more and one less, in another order, and one that is wider.
func versionTwo(events *sdk.Keyed[int64, event]) *sdk.Stream[string] {
	type account struct {
		Sum   int64
		Since int64 // counts what came after the change
		Count int64
	}
	return sdk.Process(events, func(s *sdk.Setup[int64]) sdk.Processor[int64, event, string] {
		accounts := sdk.NewValue[account](s, "account")
		return sdk.Processor[int64, event, string]{
			Each: func(c *sdk.Context[int64], e event, out *sdk.Out[string]) {
				a, _ := accounts.Get()
				a.Count, a.Sum, a.Since = a.Count+1, a.Sum+e.Value, a.Since+1
				accounts.Set(a)
				out.Emit(fmt.Sprintf("%d %d", c.Key, a.Count))
			},
			Timer: func(c *sdk.Context[int64], _ sdk.Timer, out *sdk.Out[string]) {
				a, _ := accounts.Get()
				out.Emit(fmt.Sprintf("sum of %d: %d, both programs counted: %t", c.Key, a.Sum, 0 < a.Since && a.Since < a.Count))
			},
		}
	}, sdk.ID("accounts"))
}

// TestSavepointOfAnOlderProgram stops a job of parallelism 2 with a savepoint in the
// middle of its input, and goes on from it with another version of the program: its
// state has another type, and there is an operator more before it.
func TestSavepointOfAnOlderProgram(t *testing.T) {
	const events, keys, until = 6000, 100, 3000
	dir := t.TempDir()
	all := makeEvents(rand.New(rand.NewPCG(11, 11)), events, keys)
	want := results{}
	counts, sums := map[int64]int64{}, map[int64]int64{}
	for _, e := range all {
		counts[e.Key]++
		sums[e.Key] += e.Value
		want.add("out", "%d %d", e.Key, counts[e.Key])
	}
	for k := range counts {
		want.add("out", "sum of %d: %d, both programs counted: true", k, sums[k])
	}
	writeEvents(t, filepath.Join(dir, "in"), all, 3)

	pipeline := func(v version, out string, most int64, inserted bool) (*sdk.Pipeline, *atomic.Int64) {
		p, read := sdk.New("accounts"), new(atomic.Int64)
		source := gated{file.JSONLines[event](filepath.Join(dir, "in"), file.SplitSize(8<<10)), read, most}
		s := sdk.Read(p, source, sdk.ID("events"))
		if inserted {
			s = sdk.Filter(sdk.Rebalance(s), func(e event) bool { return e.ID >= 0 }, sdk.ID("inserted"))
		}
		lines := v(sdk.KeyBy(s, func(e event) int64 { return e.Key }))
		sdk.Write(lines, file.TextSink(filepath.Join(dir, out, "out")), sdk.ID("write"))
		return p, read
	}

	stop := make(chan struct{})
	p, read := pipeline(versionOne, "one", until, false)
	o := engine.Options{Parallelism: 2, Epoch: 20 * time.Millisecond, Stop: stop}
	o.State, o.OnStop, o.Savepoint = filepath.Join(dir, "state"), engine.StopSavepoint, filepath.Join(dir, "savepoint")
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(t.Context(), p, o) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for read.Load() < until {
		select {
		case err := <-ended:
			t.Fatalf("the job ended with %d events read: %v", read.Load(), err)
		case <-tick.C:
		}
	}
	close(stop)
	if err := <-ended; !errors.Is(err, engine.ErrStopped) {
		t.Fatal(err)
	}
	for _, parallelism := range []int{1, 3, 4} {
		t.Run(fmt.Sprint("parallelism=", parallelism), func(t *testing.T) {
			name := fmt.Sprint("two-", parallelism)
			if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(dir, "one"))); err != nil {
				t.Fatal(err)
			}
			p, _ := pipeline(versionTwo, name, math.MaxInt64, true)
			o := engine.Options{Parallelism: parallelism, Epoch: 20 * time.Millisecond}
			o.State, o.From = filepath.Join(dir, "state-"+name), filepath.Join(dir, "savepoint")
			if err := engine.Run(t.Context(), p, o); err != nil {
				t.Fatal(err)
			}
			out := folder{root: filepath.Join(dir, name)}
			got, err := out.look()
			if err != nil {
				t.Fatal(err)
			}
			if d := want.differences(got); d != "" {
				t.Error(d)
			}
		})
	}
}
