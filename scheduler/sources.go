package scheduler

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/scheduler/split"
)

// source is the job's side of one source operator, in one attempt.
type source struct {
	a        *attempt
	s        *Scheduler
	op       *graph.Operator
	chain    *graph.Chain
	assigner *split.Assigner
	found    map[split.ID]operator.Split // not yet assigned
	// begun is true once all tasks of the attempt run; nothing is assigned before, so
	// that nothing is read before all have taken up their state.
	begun bool
	// looked is true once the first discovery is over: from then on a subtask that
	// gets no split is told so.
	looked  bool
	waiting map[int]bool // subtasks that asked and got nothing

	// What a snapshot needs: see checkpoint.SourceSnapshot.
	enumerator []byte              // as of the newest discovery
	done       bool                // there will be no more splits
	untold     map[string]struct{} // assigned, and the enumerator was not told of their end

	// en is the enumerator where it was restored. It belongs to discover.
	en operator.Enumerator

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

func (a *attempt) addSource(c *graph.Chain) error {
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
	a.sources[op.ID] = &source{a: a, s: a.s, op: op, chain: c, assigner: split.New(policy, c.Parallelism),
		found: map[split.ID]operator.Split{}, waiting: map[int]bool{}, untold: map[string]struct{}{}, wake: make(chan struct{}, 1)}
	if group := impl.Source.AlignGroup; group != "" {
		al := a.aligned[group]
		if al == nil {
			al = &alignment{times: map[api.Task]flow.Time{}, told: flow.MinTime}
			a.aligned[group] = al
		}
		for sub := range c.Parallelism {
			al.times[api.Task{Chain: string(c.ID), Subtask: sub}] = flow.MinTime
		}
	}
	return nil
}

// sourceState follows the source tasks: one that has ended holds nobody back.
func (s *Scheduler) sourceState(id flow.TaskID, st api.State) {
	if s.cur.sources[flow.OperatorID(id.Chain)] != nil && st >= api.Drained {
		s.alignTo(apiTask(id), flow.MaxTime)
	}
}

// begin starts to assign splits and to look for them: all tasks run.
func (src *source) begin() {
	src.begun = true
	for sub := range src.chain.Parallelism {
		src.register(sub)
	}
	for sub := range src.chain.Parallelism {
		if src.waiting[sub] {
			src.do(src.assigner.Request(sub))
		}
	}
	src.tellWaiting()
	if !src.done {
		src.a.side.Add(1)
		go src.discover(src.a.ctx)
	}
}

// register notes that a subtask is there.
func (src *source) register(subtask int) {
	src.do(src.assigner.Register(subtask))
	src.tellWaiting()
}

// discover runs the enumerator until it is done or the job ends.
func (src *source) discover(ctx context.Context) {
	defer src.a.side.Done()
	fail := func(what string, err error) {
		if ctx.Err() == nil {
			src.a.post(func() { src.s.failJob(src.op, what, err) })
		}
	}
	en := src.en
	if en == nil {
		var err error
		if en, err = src.newEnumerator(); err != nil {
			fail("finding input", err)
			return
		}
	}
	defer src.closeEnumerator(en)
	for {
		var d operator.Discovery
		err := guard(func() (err error) { d, err = en.Discover(ctx); return err })
		if err != nil {
			fail("finding input", err)
			return
		}
		at, err := src.save(en)
		if err != nil {
			fail("saving what was found", err)
			return
		}
		src.a.post(func() {
			src.enumerator = at
			src.discovered(d)
		})
		if d.Done {
			return
		}
		if err := src.pause(ctx, en, d.After); err != nil {
			fail("telling what was read", err)
			return
		}
	}
}

func (src *source) newEnumerator() (en operator.Enumerator, err error) {
	impl, err := implOf(src.op)
	if err != nil {
		return nil, err
	}
	err = guard(func() (err error) { en, err = impl.Source.Enumerator(); return err })
	return en, err
}

func (src *source) closeEnumerator(en operator.Enumerator) {
	if err := guard(en.Close); err != nil {
		src.s.opt.Log.Warn("closing enumerator", "operator", src.op.Name, "err", err)
	}
}

// save asks the enumerator for its snapshot, where one is wanted.
func (src *source) save(en operator.Enumerator) (data []byte, err error) {
	if src.s.opt.Storage == nil {
		return nil, nil
	}
	err = guard(func() (err error) { data, err = en.Snapshot(); return err })
	if err == nil && data == nil {
		data = []byte{} // it did return a snapshot
	}
	return data, err
}

// tell tells the enumerator what was read to its end.
func (src *source) tell(en operator.Enumerator, ids []string) error {
	if err := guard(func() error { en.Finished(ids); return nil }); err != nil {
		return err
	}
	at, err := src.save(en)
	if err != nil {
		return err
	}
	src.a.post(func() {
		src.enumerator = at
		for _, id := range ids {
			delete(src.untold, id)
		}
	})
	return nil
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
				if err := src.tell(en, ids); err != nil {
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
		id := split.ID(sp.ID)
		if src.assigner.Known(id) {
			continue // its position may be further on than the one that was found now
		}
		src.found[id] = sp
		ids = append(ids, id)
	}
	src.looked = true
	src.do(src.assigner.Found(ids...))
	if d.Done {
		src.done = true
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
			m = &api.AddSplits{Attempt: src.a.id(), Task: src.task(a.Subtask), Operator: string(src.op.ID)}
			to[a.Subtask] = m
			adds = append(adds, m)
		}
		src.untold[sp.ID] = struct{}{}
		m.Splits = append(m.Splits, api.Split{ID: sp.ID, Data: sp.Data, Size: sp.Size})
	}
	for _, m := range adds {
		s.worker.AddSplits(m)
	}
	for _, a := range acts {
		if a, ok := a.(split.NoMore); ok {
			delete(src.waiting, a.Subtask)
			s.worker.NoMoreSplits(&api.NoMoreSplits{Attempt: src.a.id(), Task: src.task(a.Subtask), Operator: string(src.op.ID)})
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
		src.s.worker.NoSplitYet(&api.NoSplitYet{Attempt: src.a.id(), Task: src.task(sub), Operator: string(src.op.ID)})
		delete(src.waiting, sub)
	}
}

// source is the current attempt's source of that operator, nil where there is none.
func (s *Scheduler) source(attempt uint64, op string) *source {
	if !s.current(attempt) {
		return nil
	}
	return s.cur.sources[flow.OperatorID(op)]
}

// RequestSplit gives a subtask one more split, when there is one.
func (s *Scheduler) RequestSplit(m *api.RequestSplit) {
	s.post(func() {
		src := s.source(m.Attempt, m.Operator)
		if src == nil {
			return
		}
		src.waiting[m.Task.Subtask] = true
		if !src.begun {
			return
		}
		src.do(src.assigner.Request(m.Task.Subtask))
		src.tellWaiting()
	})
}

// FinishedSplit notes that a split was read to its end.
func (s *Scheduler) FinishedSplit(m *api.FinishedSplit) {
	s.post(func() {
		src := s.source(m.Attempt, m.Operator)
		if src == nil {
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
	for group, al := range s.cur.aligned {
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
			s.worker.Align(&api.Align{Attempt: s.cur.id(), Group: group, Time: int64(least)})
		}
	}
}

// snapshot is what a later attempt needs to go on from this instant.
func (src *source) snapshot() checkpoint.SourceSnapshot {
	out := checkpoint.SourceSnapshot{Operator: string(src.op.ID), Done: src.done}
	var assigned []split.ID
	if src.done {
		// An enumerator that has found everything is not asked again.
		for sub := range src.chain.Parallelism {
			assigned = append(assigned, src.assigner.Owned(sub)...)
		}
	} else {
		out.Enumerator = src.enumerator
		for id := range src.untold {
			assigned = append(assigned, split.ID(id))
		}
	}
	src.assigner.Sort(assigned)
	for _, id := range assigned {
		out.Assigned = append(out.Assigned, string(id))
	}
	for _, id := range src.assigner.Queued() {
		sp := src.found[id]
		out.Unassigned = append(out.Unassigned, checkpoint.AppendSplit(nil, &checkpoint.SavedSplit{ID: sp.ID, Data: sp.Data, Size: sp.Size}))
	}
	return out
}

// restoredSource is what a source starts from.
type restoredSource struct {
	checkpoint.SourceRestore
	src    *source
	splits []operator.Split
	en     operator.Enumerator // nil where everything is found
}

// drop lets go of a source that will not be restored after all.
func (r *restoredSource) drop() {
	if r.en != nil {
		r.src.closeEnumerator(r.en)
	}
}

// restore takes in what an earlier attempt left. Nothing is assigned yet: no
// subtask is there.
func (src *source) restore(r *restoredSource) {
	src.enumerator, src.done, src.en = r.Enumerator, r.Done, r.en
	ids := make([]split.ID, 0, len(r.splits))
	for _, sp := range r.splits {
		src.found[split.ID(sp.ID)] = sp
		ids = append(ids, split.ID(sp.ID))
	}
	src.do(src.assigner.Found(ids...))
	if r.Done {
		src.looked = true
		src.do(src.assigner.NoMore())
	}
}

// restoreSource makes the enumerator of a source that was restored, and tells it
// what its readers have finished. It runs beside the loop.
func (src *source) restoreSource(r checkpoint.SourceRestore) (*restoredSource, error) {
	out := &restoredSource{SourceRestore: r, src: src}
	for _, b := range r.Splits {
		sp, err := checkpoint.DecodeSplit(b)
		if err != nil {
			return nil, err
		}
		out.splits = append(out.splits, operator.Split{ID: sp.ID, Data: sp.Data, Size: sp.Size})
	}
	if r.Done {
		return out, nil
	}
	en, err := src.newEnumerator()
	if err != nil {
		return nil, err
	}
	err = guard(func() error {
		if len(r.Enumerator) > 0 {
			if err := en.Restore(r.Enumerator); err != nil {
				return err
			}
		}
		if len(r.Finished) > 0 {
			en.Finished(r.Finished)
		}
		return nil
	})
	var at []byte
	if err == nil {
		at, err = src.save(en)
	}
	if err != nil {
		src.closeEnumerator(en)
		return nil, err
	}
	out.Enumerator, out.en = at, en
	return out, nil
}
