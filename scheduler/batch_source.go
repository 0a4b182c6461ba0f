package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/scheduler/batch"
)

// batchSource is the job's side of one source operator.
type batchSource struct {
	s      *Batch
	op     *graph.Operator
	splits *batch.Splits
	found  map[string]operator.Split
	at     map[int]flow.Attempt // the attempt of each subtask that runs
	told   map[string]bool      // of whose end the enumerator knows, or is to know
	looked bool
	over   bool // it was stopped

	finished struct {
		sync.Mutex
		ids []string
	}
	wake chan struct{} // something finished
}

func newBatchSource(s *Batch, c *graph.Chain) (*batchSource, error) {
	op := c.Head()
	impl, err := implOf(op)
	if err != nil {
		return nil, err
	}
	if impl.Source == nil {
		return nil, fmt.Errorf("operator %q (%s) has no input and is no source", op.Name, op.ID)
	}
	return &batchSource{s: s, op: op, splits: batch.NewSplits(c.Parallelism, impl.Source.Assign == operator.AssignSpread),
		found: map[string]operator.Split{}, at: map[int]flow.Attempt{}, told: map[string]bool{}, wake: make(chan struct{}, 1)}, nil
}

// tell tells subtasks what they get.
func (src *batchSource) tell(deals []batch.Deal) {
	for _, d := range deals {
		at := src.at[d.Subtask]
		run, ok := src.s.runs[at]
		if !ok {
			continue
		}
		e := src.s.executors[run.On]
		if e == nil {
			continue
		}
		if d.End {
			e.w.NoMoreSplits(&api.NoMoreSplits{Attempt: uint64(at), Task: apiTask(run.Unit), Operator: string(src.op.ID)})
			continue
		}
		m := &api.AddSplits{Attempt: uint64(at), Task: apiTask(run.Unit), Operator: string(src.op.ID)}
		for _, id := range d.Splits {
			sp := src.found[id]
			m.Splits = append(m.Splits, api.Split{ID: sp.ID, Data: sp.Data, Size: sp.Size})
		}
		e.w.AddSplits(m)
	}
	if !src.looked {
		return
	}
	for subtask, at := range src.at {
		run, ok := src.s.runs[at]
		if e := src.s.executors[run.On]; ok && e != nil && src.splits.Starved(subtask) {
			e.w.NoSplitYet(&api.NoSplitYet{Attempt: uint64(at), Task: apiTask(run.Unit), Operator: string(src.op.ID)})
		}
	}
}

// begin starts an attempt of a subtask at the beginning of what is its.
func (src *batchSource) begin(subtask int, at flow.Attempt) {
	src.at[subtask] = at
	src.tell(src.splits.Begin(subtask))
}

// gone ends one.
func (src *batchSource) gone(subtask int, at flow.Attempt, finished bool) {
	if src.at[subtask] == at {
		delete(src.at, subtask)
		src.splits.Gone(subtask, finished && src.s.machine.Current(at))
	}
}

func (src *batchSource) ask(subtask int) { src.tell(src.splits.Ask(subtask)) }

// stop ends the source before its time.
func (src *batchSource) stop() {
	src.over = true
	for _, at := range src.at {
		if run, ok := src.s.runs[at]; ok && src.s.executors[run.On] != nil {
			src.s.executors[run.On].w.StopSources(&api.StopSources{Attempt: uint64(at)})
		}
	}
	src.tell(src.splits.Stop())
}

// read notes that a split was read to its end.
func (src *batchSource) read(id string) {
	if src.told[id] {
		return
	}
	src.told[id] = true
	src.finished.Lock()
	src.finished.ids = append(src.finished.ids, id)
	src.finished.Unlock()
	select {
	case src.wake <- struct{}{}:
	default:
	}
}

// discovered takes in what the enumerator found.
func (src *batchSource) discovered(d operator.Discovery) {
	if src.over {
		return
	}
	ids := make([]string, 0, len(d.Splits))
	for _, sp := range d.Splits {
		if _, known := src.found[sp.ID]; !known {
			src.found[sp.ID] = sp
			ids = append(ids, sp.ID)
		}
	}
	src.looked = true
	src.tell(src.splits.Found(ids...))
	if d.Done {
		src.tell(src.splits.NoMore())
	}
}

// discover runs the enumerator until it is done or the job ends.
func (src *batchSource) discover() {
	s, ctx := src.s, src.s.ctx
	if err := src.look(ctx); err != nil && ctx.Err() == nil {
		f := *flow.FailureOf(err)
		if _, given := errors.AsType[*flow.Failure](err); !given {
			f.Domain, f.Cause = flow.DomainExternal, err
		}
		f.Operator, f.Name, f.Message = src.op.ID, src.op.Name, "finding input: "+f.Text()
		s.post(func() { s.failJob(&f) })
	}
}

func (src *batchSource) look(ctx context.Context) error {
	impl, err := implOf(src.op)
	if err != nil {
		return err
	}
	var en operator.Enumerator
	if err := guard(func() (err error) { en, err = impl.Source.Enumerator(); return err }); err != nil {
		return err
	}
	defer func() {
		if err := guard(en.Close); err != nil {
			src.s.opt.Log.Warn("closing enumerator", "operator", src.op.Name, "err", err)
		}
	}()
	for {
		var d operator.Discovery
		if err := guard(func() (err error) { d, err = en.Discover(ctx); return err }); err != nil {
			return err
		}
		src.s.post(func() { src.discovered(d) })
		if d.Done {
			return nil
		}
		if err := src.pause(ctx, en, d.After); err != nil {
			return err
		}
	}
}

// pause waits until it is time to look again, and tells what was read meanwhile.
func (src *batchSource) pause(ctx context.Context, en operator.Enumerator, after time.Duration) error {
	var due <-chan time.Time
	if after > 0 {
		t := time.NewTimer(after)
		defer t.Stop()
		due = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-due:
			return nil
		case <-src.wake:
			src.finished.Lock()
			ids := src.finished.ids
			src.finished.ids = nil
			src.finished.Unlock()
			if err := guard(func() error { en.Finished(ids); return nil }); err != nil {
				return err
			}
			if due == nil {
				return nil
			}
		}
	}
}
