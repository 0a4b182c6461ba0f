package sdktest

import (
	"context"
	"fmt"
	"sync"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
)

// In is an input that the test feeds.
type In[T any] struct {
	// Stream is what the test feeds, for the pipeline.
	Stream *sdk.Stream[T]

	h    *Harness
	name string
	// The reader's, on the task's goroutine.
	now  flow.Time
	read int

	mu struct {
		sync.Mutex
		queue []command[T]
		ended bool
		wake  func()
	}
}

// command is one step.
type command[T any] struct {
	records   flow.Batch[T]
	watermark flow.Time // if there are no records
	end       bool
}

// Input adds an input to the harness's pipeline. The name is for messages.
func Input[T any](h *Harness, name string) *In[T] {
	h.t.Helper()
	h.building("Input " + name)
	in := &In[T]{h: h, name: name, now: flow.MinTime}
	in.Stream = sdk.ReadTimed(h.p, operator.Source[T](inputSource[T]{in}),
		sdk.CustomWatermarks[T](nil, func() operator.WatermarkGenerator { return generator[T]{in} }),
		sdk.Name(name), sdk.Parallelism(1))
	return in
}

// Push brings a record with an event time. It may be late: see [In.Watermark].
func (in *In[T]) Push(v T, at sdk.Time) {
	in.h.t.Helper()
	var c command[T]
	c.records.Append(v, at)
	in.do(c)
}

// Add brings records without an event time, in one batch.
func (in *In[T]) Add(vs ...T) {
	in.h.t.Helper()
	if len(vs) > 0 {
		in.do(command[T]{records: flow.Batch[T]{Values: append([]T(nil), vs...)}})
	}
}

// Watermark says that event time has come to t on this input: records at t and
// before are late from now on. One that goes back does nothing.
func (in *In[T]) Watermark(t sdk.Time) {
	in.h.t.Helper()
	in.do(command[T]{watermark: t})
}

// End ends the input: event time comes to its end, and all windows with it. When
// all inputs have ended so does the job.
func (in *In[T]) End() {
	in.h.t.Helper()
	in.do(command[T]{end: true})
}

func (in *In[T]) do(c command[T]) {
	in.h.t.Helper()
	in.h.start()
	in.mu.Lock()
	ended, wake := in.mu.ended, in.mu.wake
	in.mu.queue = append(in.mu.queue, c)
	in.mu.ended = ended || c.end
	in.mu.Unlock()
	if ended {
		in.h.t.Fatalf("sdktest: input %q has ended, nothing can follow", in.name)
	}
	if wake != nil {
		wake()
	}
	in.h.settle()
}

// generator is the input's watermark.
type generator[T any] struct{ in *In[T] }

func (generator[T]) Observe([]flow.Time)    {}
func (g generator[T]) Watermark() flow.Time { return g.in.now }

// inputSource is the input as a source of one split.
type inputSource[T any] struct{ in *In[T] }

func (s inputSource[T]) Info() operator.SourceInfo {
	return operator.SourceInfo{Kind: "sdktest", Assign: operator.AssignSpread, Unbounded: true}
}

func (s inputSource[T]) Enumerator() (operator.Enumerator, error) {
	return enumerator{s.in.name}, nil
}

func (s inputSource[T]) Reader(ctx *operator.ReaderContext) (operator.Reader[T], error) {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	s.in.mu.wake = ctx.Wake
	return reader[T]{in: s.in, now: ctx.Now}, nil
}

type enumerator struct{ name string }

func (e enumerator) Discover(context.Context) (operator.Discovery, error) {
	return operator.Discovery{Splits: []operator.Split{{ID: e.name}}, Done: true}, nil
}
func (enumerator) Finished([]string)         {}
func (enumerator) Snapshot() ([]byte, error) { return nil, nil }
func (enumerator) Restore([]byte) error      { return nil }
func (enumerator) Close() error              { return nil }

type reader[T any] struct {
	in  *In[T]
	now func() flow.Time
}

func (reader[T]) Add(operator.Split) error { return nil }

func (r reader[T]) Read(into *operator.Records[T], _ int) (operator.Status, error) {
	in := r.in
	in.mu.Lock()
	defer in.mu.Unlock()
	into.Split = in.name
	if len(in.mu.queue) == 0 {
		return operator.WaitForWake, nil
	}
	c := in.mu.queue[0]
	in.mu.queue = in.mu.queue[1:]
	switch {
	case c.end:
		into.Done = true
	case c.records.Len() > 0:
		into.Batch = c.records
		in.read += c.records.Len()
	default:
		in.now = max(in.now, c.watermark)
	}
	// A source tells its watermark when it waits: here, after each step.
	return operator.WaitUntil(r.now()), nil
}

func (r reader[T]) Where() string                     { return fmt.Sprintf("record %d of input %q", r.in.read, r.in.name) }
func (reader[T]) Snapshot() ([]operator.Split, error) { return nil, nil }
func (reader[T]) Pause(string, bool)                  {}
func (reader[T]) Close() error                        { return nil }
