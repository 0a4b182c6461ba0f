package window

import (
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/operator"
)

// NewAggregate makes an operator that gives an aggregate of each window. Its
// outlet 0 is of type Result[K, Out], [LateOutlet] of type In.
func NewAggregate[K comparable, In, Acc, Out any](cfg Config[K, In], a Aggregator[In, Acc, Out]) (operator.Operator, error) {
	if a.Add == nil || a.Result == nil {
		return nil, fmt.Errorf("window: an aggregator needs Add and Result")
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := encodable[K, Acc](); err != nil {
		return nil, err
	}
	if a.Merge == nil && cfg.needsMerge() {
		return nil, fmt.Errorf("window: an aggregator without Merge; windows %v merge accumulators", cfg.Assigner)
	}
	c := core[K, In, Acc, Result[K, Out]]{cfg: cfg, folder: folder[Acc]{a.New, a.Merge}, fold: a.Add}
	c.give = func(e *operator.Emitter[Result[K, Out]], k K, w Window, p Pane, acc *Acc) {
		e.Emit(Result[K, Out]{Key: k, Window: w, Value: a.Result(acc), Pane: p})
	}
	return build(c), nil
}

// NewProcess makes an operator that calls f with all records of each window. Its
// outlet 0 is of type R, [LateOutlet] of type In.
func NewProcess[K comparable, In, R any](cfg Config[K, In], f Process[K, In, R]) (operator.Operator, error) {
	if f == nil {
		return nil, fmt.Errorf("window: no function for the records of a window")
	}
	return NewFold(cfg, Fold[K, In, []In, R]{
		Add:   func(acc *[]In, v In) { *acc = append(*acc, v) },
		Merge: func(into, from *[]In) { *into = append(*into, *from...) },
		Emit: func(k K, w Window, p Pane, acc *[]In, emit func(R)) {
			f(k, w, p, *acc, emit)
		},
		Keeps: true,
	})
}

// Fold is an aggregator that may give any number of results for a window.
type Fold[K comparable, In, Acc, R any] struct {
	New   func() Acc
	Add   func(acc *Acc, in In)
	Merge func(into, from *Acc)
	Emit  func(key K, w Window, pane Pane, acc *Acc, emit func(R))
	// Keeps says that accumulators keep their records, as lists do. They are then
	// not merged ahead of need.
	Keeps bool
}

// NewFold makes an operator of a fold. Its outlet 0 is of type R, [LateOutlet] of
// type In.
func NewFold[K comparable, In, Acc, R any](cfg Config[K, In], f Fold[K, In, Acc, R]) (operator.Operator, error) {
	if f.Add == nil || f.Emit == nil {
		return nil, fmt.Errorf("window: a fold needs Add and Emit")
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := encodable[K, Acc](); err != nil {
		return nil, err
	}
	if f.Merge == nil && cfg.needsMerge() {
		return nil, fmt.Errorf("window: a fold without Merge; windows %v merge accumulators", cfg.Assigner)
	}
	c := core[K, In, Acc, R]{cfg: cfg, folder: folder[Acc]{f.New, f.Merge}, fold: f.Add, lists: f.Keeps}
	var emitter *operator.Emitter[R]
	emit := func(r R) { emitter.Emit(r) }
	c.give = func(e *operator.Emitter[R], k K, w Window, p Pane, acc *Acc) {
		emitter = e
		f.Emit(k, w, p, acc, emit)
	}
	return build(c), nil
}

// encodable refuses what state cannot keep, before the job starts.
func encodable[K, Acc any]() error {
	if _, err := codec.For[K](); err != nil {
		return fmt.Errorf("window: the key cannot be kept: %w", err)
	}
	if _, err := codec.For[Acc](); err != nil {
		return fmt.Errorf("window: what is kept of a window, %T, cannot be: %w", *new(Acc), err)
	}
	return nil
}

// build chooses the engine.
func build[K comparable, In, Acc, R any](c core[K, In, Acc, R]) operator.Operator {
	a := c.cfg.Assigner
	if a.Kind == KindSliding && a.Size == a.Slide {
		a.Kind = KindTumbling
	}
	switch {
	case a.Kind == KindCount:
		o := &counted[K, In, Acc, R]{core: c, grid: gridOf(a)}
		o.init(o)
		return o
	case a.Kind == KindSession:
		o := &sessions[K, In, Acc, R]{core: c, gap: flow.Span(a.Size)}
		if !c.cfg.plain() {
			o.trigger, o.words = c.cfg.Trigger, c.cfg.Trigger.Words()
		}
		o.init(o)
		return o
	case !c.cfg.plain():
		o := &triggered[K, In, Acc, R]{core: c, grid: gridOf(a), trigger: c.cfg.Trigger, words: c.cfg.Trigger.Words()}
		o.init(o)
		return o
	case a.Kind == KindTumbling || a.Kind == KindGlobal:
		o := &aligned[K, In, Acc, R]{core: c, grid: gridOf(a)}
		o.init(o)
		return o
	}
	o := &paned[K, In, Acc, R]{core: c, grid: gridOf(a)}
	o.init(o)
	return o
}
