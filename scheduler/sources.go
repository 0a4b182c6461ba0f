package scheduler

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/scheduler/split"
)

// source is the job's side of one source operator.
type source struct {
	s        *Scheduler
	op       *graph.Operator
	chain    *graph.Chain
	assigner *split.Assigner
	found    map[split.ID]operator.Split // not yet assigned
	// looked is true once the first discovery is over: from then on a subtask that
	// gets no split is told so.
	looked  bool
	waiting map[int]bool // subtasks that asked and got nothing

	finished struct {
		sync.Mutex
		ids []string
	}
	wake chan struct{} // something finished
}

// alignment is a group of sources that keep together in event time.
type alignment struct {
	times map[api.Task]flow.Time // of each subtask; MinTime until it reports
	told  flow.Time
}

func (s *Scheduler) addSource(c *graph.Chain) error {
	op := c.Head()
	impl, err := implOf(op)
	if err != nil {
		return err
	}
	if impl.Source == nil {
		return fmt.Errorf("operator %q (%s) has no input and is no source", op.Name, op.ID)
	}
	policy := split.OnDemand
	if impl.Source.Assign == operator.AssignSpread {
		policy = split.Spread
	}
	s.sources[op.ID] = &source{s: s, op: op, chain: c, assigner: split.New(policy, c.Parallelism),
		found: map[split.ID]operator.Split{}, waiting: map[int]bool{}, wake: make(chan struct{}, 1)}
	if group := impl.Source.AlignGroup; group != "" {
		al := s.aligned[group]
		if al == nil {
			al = &alignment{times: map[api.Task]flow.Time{}, told: flow.MinTime}
			s.aligned[group] = al
		}
		for sub := range c.Parallelism {
			al.times[api.Task{Chain: string(c.ID), Subtask: sub}] = flow.MinTime
		}
	}
	return nil
}

// sourceState follows the source tasks: the first that runs starts discovery.
func (s *Scheduler) sourceState(id flow.TaskID, st api.State) {
	src := s.sources[flow.OperatorID(id.Chain)]
	if src == nil {
		return
	}
	switch st {
	case api.Running:
		first := true
		for sub := range src.chain.Parallelism {
			first = first && !src.assigner.Live(sub)
		}
		src.register(id.Subtask)
		if first {
			s.side.Add(1)
			go src.discover(s.ctx)
		}
	case api.Drained, api.Finished, api.Failed, api.Cancelled:
		s.alignTo(apiTask(id), flow.MaxTime)
	}
}

// register notes that a subtask is there.
func (src *source) register(subtask int) {
	src.do(src.assigner.Register(subtask))
	src.tellWaiting()
}

// discover runs the enumerator until it is done or the job ends.
func (src *source) discover(ctx context.Context) {
	defer src.s.side.Done()
	impl, _ := implOf(src.op)
	fail := func(what string, err error) {
		if ctx.Err() == nil {
			src.s.post(func() { src.s.failJob(src.op, what, err) })
		}
	}
	var en operator.Enumerator
	err := guard(func() (err error) { en, err = impl.Source.Enumerator(); return err })
	if err != nil {
		fail("finding input", err)
		return
	}
	defer func() {
		if err := guard(en.Close); err != nil {
			src.s.opt.Log.Warn("closing enumerator", "operator", src.op.Name, "err", err)
		}
	}()
	for {
		var d operator.Discovery
		err := guard(func() (err error) { d, err = en.Discover(ctx); return err })
		if err != nil {
			fail("finding input", err)
			return
		}
		src.s.post(func() { src.discovered(d) })
		if d.Done {
			return
		}
		if err := src.pause(ctx, en, d.After); err != nil {
			fail("telling what was read", err)
			return
		}
	}
}

// pause waits until it is time to look again, and tells what was read meanwhile. It
// returns an error when the job ends.
func (src *source) pause(ctx context.Context, en operator.Enumerator, after time.Duration) error {
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
			if ids := src.takeFinished(); len(ids) > 0 {
				if err := guard(func() error { en.Finished(ids); return nil }); err != nil {
					return err
				}
			}
			if due == nil {
				return nil
			}
			// To look after each split, in a directory of thousands of them, would
			// take longer than to read them.
		}
	}
}

func (src *source) takeFinished() []string {
	src.finished.Lock()
	defer src.finished.Unlock()
	ids := src.finished.ids
	src.finished.ids = nil
	return ids
}

// discovered takes in what the enumerator found.
func (src *source) discovered(d operator.Discovery) {
	ids := make([]split.ID, 0, len(d.Splits))
	for _, sp := range d.Splits {
		src.found[split.ID(sp.ID)] = sp
		ids = append(ids, split.ID(sp.ID))
	}
	src.looked = true
	src.do(src.assigner.Found(ids...))
	if d.Done {
		src.do(src.assigner.NoMore())
	}
	src.tellWaiting()
}

func (src *source) task(subtask int) api.Task {
	return api.Task{Chain: string(src.chain.ID), Subtask: subtask}
}

// do tells the subtasks what the assigner says: first all splits, with one message
// for each subtask that gets any.
func (src *source) do(acts []split.Action) {
	s := src.s
	var adds []*api.AddSplits
	to := map[int]*api.AddSplits{}
	for _, a := range acts {
		a, ok := a.(split.Assign)
		if !ok {
			continue
		}
		delete(src.waiting, a.Subtask)
		sp := src.found[a.Split]
		delete(src.found, a.Split)
		m := to[a.Subtask]
		if m == nil {
			m = &api.AddSplits{Attempt: s.attempt(), Task: src.task(a.Subtask), Operator: string(src.op.ID)}
			to[a.Subtask] = m
			adds = append(adds, m)
		}
		m.Splits = append(m.Splits, api.Split{ID: sp.ID, Data: sp.Data, Size: sp.Size})
	}
	for _, m := range adds {
		s.worker.AddSplits(m)
	}
	for _, a := range acts {
		if a, ok := a.(split.NoMore); ok {
			delete(src.waiting, a.Subtask)
			s.worker.NoMoreSplits(&api.NoMoreSplits{Attempt: s.attempt(), Task: src.task(a.Subtask), Operator: string(src.op.ID)})
		}
	}
}

// tellWaiting tells the subtasks that asked for a split that there is none now.
// While found splits wait for subtasks that are not there yet, nobody is told:
// whoever hears it no longer holds back the event time of the others, and may be
// the one that gets the oldest records.
func (src *source) tellWaiting() {
	if !src.looked || len(src.assigner.Queued()) > 0 {
		return
	}
	for sub := range src.waiting {
		src.s.worker.NoSplitYet(&api.NoSplitYet{Attempt: src.s.attempt(), Task: src.task(sub), Operator: string(src.op.ID)})
		delete(src.waiting, sub)
	}
}

// RequestSplit gives a subtask one more split, when there is one.
func (s *Scheduler) RequestSplit(m *api.RequestSplit) {
	s.post(func() {
		src := s.sources[flow.OperatorID(m.Operator)]
		if src == nil || !s.current(m.Attempt) {
			return
		}
		src.waiting[m.Task.Subtask] = true
		src.do(src.assigner.Request(m.Task.Subtask))
		src.tellWaiting()
	})
}

// FinishedSplit notes that a split was read to its end.
func (s *Scheduler) FinishedSplit(m *api.FinishedSplit) {
	s.post(func() {
		src := s.sources[flow.OperatorID(m.Operator)]
		if src == nil || !s.current(m.Attempt) {
			return
		}
		src.finished.Lock()
		src.finished.ids = append(src.finished.ids, m.Split)
		src.finished.Unlock()
		select {
		case src.wake <- struct{}{}:
		default:
		}
		src.do(src.assigner.Finished(m.Task.Subtask, split.ID(m.Split)))
	})
}

// SourceWatermark notes how far a source's subtask has come.
func (s *Scheduler) SourceWatermark(m *api.SourceWatermark) {
	s.post(func() {
		if s.current(m.Attempt) {
			s.alignTo(m.Task, flow.Time(m.Time))
		}
	})
}

// alignTo notes a subtask's time and tells its group when its least time moved.
func (s *Scheduler) alignTo(t api.Task, at flow.Time) {
	for group, al := range s.aligned {
		if _, member := al.times[t]; !member {
			continue
		}
		al.times[t] = at
		least := flow.MaxTime
		for _, other := range al.times {
			least = min(least, other)
		}
		if least != al.told {
			al.told = least
			s.worker.Align(&api.Align{Attempt: s.attempt(), Group: group, Time: int64(least)})
		}
	}
}
