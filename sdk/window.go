package sdk

import (
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/operator/window"
)

// Windowing says which windows a record is in: [Tumbling], [Sliding],
// [Cumulative], [Session], [Global], [CountWindow], [CountSliding]. Windows are in
// event time; the methods WithOffset and InProcessingTime change that.
type Windowing = window.Assigner

// Tumbling windows follow one another without a gap: each size long.
func Tumbling(size time.Duration) Windowing { return window.Tumbling(size) }

// Sliding windows are size long, and one starts every slide. What a record costs
// does not depend on how many windows it is in.
func Sliding(size, slide time.Duration) Windowing { return window.Sliding(size, slide) }

// Cumulative windows start where tumbling ones of maxSize would, and end step, two
// steps and so on later: the figure since midnight, every minute.
func Cumulative(maxSize, step time.Duration) Windowing { return window.Cumulative(maxSize, step) }

// Session windows hold records of a key of which each is less than gap away from
// the next.
func Session(gap time.Duration) Windowing { return window.Session(gap) }

// Global is one window of all time: it is complete when the input ends, unless a
// trigger fires before.
func Global() Windowing { return window.Global() }

// CountWindow makes windows of n records of a key.
func CountWindow(n int64) Windowing { return window.Count(n) }

// CountSliding makes windows of the last n records of a key, one every so many.
func CountSliding(n, every int64) Windowing { return window.CountSliding(n, every) }

// Trigger says when a window gives a result. There are [AtWatermark], [EveryCount],
// [Every] and [EarlyLate]; users may write others.
type Trigger = window.Trigger

// AtWatermark fires when the window is complete, and then at each late record.
// The default.
func AtWatermark() Trigger { return window.AtWatermark() }

// EveryCount fires whenever n more records have come, and not at the end.
func EveryCount(n int64) Trigger { return window.EveryCount(n) }

// Every fires d after the first record that no result covers yet, by the clock,
// and not at the window's end.
func Every(d time.Duration) Trigger { return window.Every(d) }

// EarlyLate fires as early says until the window is complete, then once, and from
// then on as late says. A nil early does not fire, a nil late fires at each record.
func EarlyLate(early, late Trigger) Trigger { return window.EarlyLate(early, late) }

// Purging makes a trigger forget the window's records whenever it fires.
func Purging(t Trigger) Trigger { return window.Purging(t) }

// WindowOption is an option of [Window]: [TriggerOn], [AllowedLateness],
// [Discarding].
type WindowOption interface{ window(*window.Spec) }

type windowOption func(*window.Spec)

func (f windowOption) window(s *window.Spec) { f(s) }

// TriggerOn sets when windows give results. Default: [AtWatermark].
func TriggerOn(t Trigger) WindowOption { return windowOption(func(s *window.Spec) { s.Trigger = t }) }

// AllowedLateness lets windows take records for so long, in event time, after they
// were complete. Default: 0.
func AllowedLateness(d time.Duration) WindowOption {
	return windowOption(func(s *window.Spec) { s.Lateness = d })
}

// Discarding makes each result of a window cover the records since the result
// before. By default each covers all of the window's records so far.
func Discarding() WindowOption {
	return windowOption(func(s *window.Spec) { s.Mode = window.Discarding })
}

// Windowed is a keyed stream divided into windows.
type Windowed[K comparable, T any] struct {
	k    *Keyed[K, T]
	spec window.Spec
	gap  func(T) time.Duration
}

// Window divides a keyed stream into windows.
func Window[K comparable, T any](k *Keyed[K, T], w Windowing, opts ...WindowOption) *Windowed[K, T] {
	s := window.Spec{Assigner: w}
	for _, o := range opts {
		o.window(&s)
	}
	return &Windowed[K, T]{k: k, spec: s}
}

// SessionBy divides a keyed stream into sessions whose gap depends on the record.
func SessionBy[K comparable, T any](k *Keyed[K, T], gap func(T) time.Duration, opts ...WindowOption) *Windowed[K, T] {
	w := Window(k, window.SessionDynamic(), opts...)
	w.gap = gap
	return w
}

// WindowSpan is the span of time of a window: Start is in it, End is not.
type WindowSpan = window.Window

// Pane says which of a window's results one is, and when it was made.
type Pane = window.Pane

// WindowResult is a result of a window, with the window's key. Its event time is
// the window's last instant.
type WindowResult[K comparable, Out any] = window.Result[K, Out]

func (w *Windowed[K, T]) config() window.Config[K, T] {
	return window.Config[K, T]{Spec: w.spec, Key: w.k.key, Gap: w.gap}
}

// AggregateWindow adds up each window and returns the results, and the records
// that came too late for their windows. Those are counted whether or not the
// stream is used.
func AggregateWindow[K comparable, In, Acc, Out any](w *Windowed[K, In], a Aggregator[In, Acc, Out], opts ...Option) (results *Stream[WindowResult[K, Out]], late *Stream[In]) {
	return addWindow[K, In, WindowResult[K, Out]](w, typeName[Acc](), opts, func() (operator.Operator, error) {
		return window.NewAggregate(w.config(), a)
	})
}

// ReduceWindow folds each window's records into one.
func ReduceWindow[K comparable, T any](w *Windowed[K, T], f func(acc, v T) T, opts ...Option) (results *Stream[WindowResult[K, T]], late *Stream[T]) {
	type folded = Reduced[T]
	add := func(acc *folded, v T) {
		if acc.Some {
			v = f(acc.Value, v)
		}
		acc.Value, acc.Some = v, true
	}
	return AggregateWindow(w, Aggregator[T, folded, T]{
		Add: add,
		Merge: func(into, from *folded) {
			if from.Some {
				add(into, from.Value)
			}
		},
		Result: func(acc *folded) T { return acc.Value },
	}, opts...)
}

// Reduced is what [ReduceWindow] keeps of a window.
type Reduced[T any] struct {
	Value T
	Some  bool
}

// ProcessWindow calls f with all records of a window, for what no aggregate can
// do: all of them are kept until then. Their order is not defined. elements are
// lent for the call.
func ProcessWindow[K comparable, In, Out any](w *Windowed[K, In], f func(key K, w WindowSpan, p Pane, elements []In, emit func(Out)), opts ...Option) (results *Stream[Out], late *Stream[In]) {
	return addWindow[K, In, Out](w, "[]"+typeName[In](), opts, func() (operator.Operator, error) {
		return window.NewProcess(w.config(), window.Process[K, In, Out](f))
	})
}

func addWindow[K comparable, In, Out any](w *Windowed[K, In], kept string, opts []Option, make func() (operator.Operator, error)) (*Stream[Out], *Stream[In]) {
	_, err := make()
	if w.k.err != nil {
		err = w.k.err
	}
	s := add[Out](w.k.s.p, spec{kind: "window", inputs: []graph.Input{w.k.input("in")}, opts: opts,
		attrs:  w.spec.Attrs(),
		states: []graph.State{{Name: "window", Kind: "window", Key: typeName[K](), Value: kept}},
		sides:  []graph.Output{sideOutput[In]("late")}, errs: []error{err},
		impl: sorted(func() operator.Operator { return checked(make()) }, 0, w.k.side())})
	return s, sideOf[In](s, window.LateOutlet)
}

// checked returns an operator that was made before without an error.
func checked(o operator.Operator, err error) operator.Operator {
	if err != nil {
		panic("sdk: an operator that could be made when the pipeline was built: " + err.Error())
	}
	return o
}

// sideOf is the stream of another output of the operator behind s, by number.
func sideOf[T, Main any](s *Stream[Main], out flow.Outlet) *Stream[T] {
	return side[T](s.p, s.from[0].op, out)
}
