package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/scheduler/batch"
	"github.com/weirflow/weir/scheduler/job"
)

// do does what the machine says.
func (s *Batch) do(acts []batch.Action) {
	for _, a := range acts {
		switch a := a.(type) {
		case batch.Deploy:
			s.deploy(a)
		case batch.Cancel:
			if e := s.executors[a.On]; e != nil {
				e.w.CancelTasks(&api.CancelTasks{Attempt: uint64(a.Attempt), Tasks: []api.Task{apiTask(a.Unit)}})
			}
		case batch.Drop:
			s.drop(a)
		case batch.Again:
			s.discarded = s.discarded || len(s.prepared[a.Attempt]) > 0
			delete(s.prepared, a.Attempt)
			s.tell("again", a.Unit, a.Attempt, nil, fmt.Sprintf("task %s runs again after attempt %d: %s", a.Unit, try(a.Attempt), a.Why))
		case batch.Lost:
			s.tell("lost", a.Unit, a.Attempt, nil, fmt.Sprintf("the output of task %s (attempt %d) is lost: %s", a.Unit, try(a.Attempt), a.Why))
		case batch.Wait:
			s.after(a.Delay, func() { s.do(s.machine.Due(a.Unit, a.Attempt)) })
		case batch.Commit:
			s.commit(a.After)
		case batch.End:
			s.end = &a
		}
	}
	if s.end == nil && s.state == job.Deploying && s.machine.Started() {
		s.become(job.Running, nil)
	}
}

// after has f run on the loop after a delay.
func (s *Batch) after(d time.Duration, f func()) {
	s.side.Go(func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			s.post(f)
		case <-s.ctx.Done():
		}
	})
}

// tell tells what has happened to a task.
func (s *Batch) tell(kind string, id flow.TaskID, at flow.Attempt, on *batchExecutor, text string) {
	e := TaskEvent{Kind: kind, Task: id, Attempt: flow.Attempt(try(at)), Message: text}
	if on != nil {
		e.Alloc, e.Node = on.hello.Alloc, on.hello.Node
	}
	s.opt.Log.Debug(text, "task", id, "attempt", at)
	s.opt.Task(e)
}

func apiEdge(e flow.EdgeID) api.Edge {
	return api.Edge{To: string(e.To), Port: int(e.Port), Index: e.Index}
}

func edgeID(e api.Edge) flow.EdgeID {
	return flow.EdgeID{To: flow.OperatorID(e.To), Port: flow.Port(e.Port), Index: e.Index}
}

func (s *Batch) deploy(d batch.Deploy) {
	m := &api.Deploy{Job: string(s.opt.Job), Attempt: uint64(d.Attempt), Tasks: []api.Task{apiTask(d.Unit)}, Final: uint64(s.final),
		Parallelism: s.opt.Plan.Options.Parallelism}
	for _, in := range d.Inputs {
		m.Inputs = append(m.Inputs, api.Output{Edge: apiEdge(in.Edge), Producer: in.Producer, Attempt: uint64(in.Attempt), Node: string(in.Node)})
	}
	s.runs[d.Attempt] = d
	e := s.executors[d.On]
	where := ""
	if e.hello.Node != "" {
		where = " on " + string(e.hello.Node)
	}
	s.tell("started", d.Unit, d.Attempt, e, fmt.Sprintf("task %s runs%s (attempt %d)", d.Unit, where, try(d.Attempt)))
	if err := e.w.Deploy(m); err != nil {
		f := refused(err)
		s.post(func() { s.failed(d.Attempt, f) })
		return
	}
	if src := s.sources[flow.OperatorID(d.Unit.Chain)]; src != nil {
		src.begin(d.Unit.Subtask, d.Attempt)
	}
}

// gone forgets an attempt that has ended.
func (s *Batch) gone(at flow.Attempt, finished bool) {
	d, ok := s.runs[at]
	if !ok {
		return
	}
	delete(s.runs, at)
	if src := s.sources[flow.OperatorID(d.Unit.Chain)]; src != nil {
		src.gone(d.Unit.Subtask, at, finished)
	}
}

func (s *Batch) failed(at flow.Attempt, f *flow.Failure) {
	d, ok := s.runs[at]
	if !ok {
		return
	}
	if s.machine.Current(at) {
		s.tell("failed", d.Unit, at, s.executors[d.On], fmt.Sprintf("task %s (attempt %d) has failed: %s", d.Unit, try(at), f.Text()))
	}
	s.gone(at, false)
	s.do(s.machine.Failed(at, f))
}

// drop has the outputs of an attempt removed, in time.
func (s *Batch) drop(a batch.Drop) {
	c := s.opt.Plan.Chain(a.Unit.Chain)
	for i := range c.Outputs {
		select {
		case s.drops <- api.Output{Edge: apiEdge(c.Outputs[i].Edge), Producer: a.Unit.Subtask, Attempt: uint64(a.Attempt), Node: string(a.Node)}:
		default: // it goes with the job
		}
	}
}

// failJob ends the job because of a source's finding of input.
func (s *Batch) failJob(f *flow.Failure) {
	if s.end == nil {
		s.become(job.Failing, f)
		s.do(s.machine.Fail(f))
	}
}

// commitsOf groups what was prepared by operators, in order.
func commitsOf(all []checkpoint.Committable) (ops []checkpoint.OperatorCommit) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b checkpoint.Committable) int {
		return cmp.Or(cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Subtask, b.Subtask))
	})
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Operator == all[0].Operator {
			n++
		}
		ops = append(ops, checkpoint.OperatorCommit{Operator: all[0].Operator, Committables: all[:n:n]})
		all = all[n:]
	}
	return ops
}

// commit makes final what the attempts that count have prepared, beside the loop.
func (s *Batch) commit(after time.Duration) {
	s.become(job.Finishing, nil)
	var all []checkpoint.Committable
	for _, at := range s.machine.Finished() {
		all = append(all, s.prepared[at]...)
	}
	b := flow.Barrier{Epoch: s.final, Kind: flow.BarrierFinal}
	if s.opt.Listener.Acknowledged != nil {
		s.opt.Listener.Acknowledged(b, nil)
	}
	discarded := s.discarded
	s.side.Go(func() {
		t := time.NewTimer(after)
		defer t.Stop()
		var err error
		select {
		case <-t.C:
			err = s.publish(b, commitsOf(all), discarded)
		case <-s.pub.ctx.Done():
			err = context.Cause(s.pub.ctx)
		}
		s.post(func() {
			switch {
			case err != nil && s.wish == job.Cancelled:
				s.do(s.machine.Fail(nil))
				return
			case err != nil:
				s.do(s.machine.CommitFailed(flow.FailureOf(err)))
				return
			case s.wish == job.Cancelled:
				s.wish = 0 // it was too late for that
			}
			if s.opt.Listener.Committed != nil {
				s.opt.Listener.Committed(b)
			}
			s.do(s.machine.Committed())
		})
	})
}

// publish writes the manifest, which is the commit, and has sinks publish. A repeat does
// no harm.
func (s *Batch) publish(b flow.Barrier, ops []checkpoint.OperatorCommit, discarded bool) error {
	ctx, opt := s.pub.ctx, &s.opt
	m := &checkpoint.Manifest{
		Job: string(opt.Job), Attempt: uint64(s.claimed.Attempt), Epoch: uint64(b.Epoch), Kind: uint8(b.Kind),
		Created: int64(opt.Now()), Engine: opt.Engine, MaxParallelism: opt.Plan.MaxParallelism, Graph: opt.Graph,
	}
	for _, o := range ops {
		m.Committables = append(m.Committables, o.Committables...)
	}
	if opt.Storage != nil {
		if err := storageFailure("writing the manifest", opt.Storage.Commit(ctx, m)); err != nil {
			return err
		}
	}
	if err := s.pub.publish(ops); err != nil {
		return err
	}
	if opt.Storage != nil && len(m.Committables) > 0 {
		done := published(m)
		done.Epoch++
		if err := opt.Storage.Commit(ctx, done); err != nil {
			opt.Log.Warn("noting that all is published", "epoch", b.Epoch, "err", err)
		}
	}
	if discarded {
		s.clearUp(b.Epoch)
	}
	return nil
}

// clearUp has sinks remove what attempts had prepared that ran again.
func (s *Batch) clearUp(epoch flow.Epoch) {
	after, err := newPublisher(&s.opt.Options, (s.claimed.Attempt+1)<<attemptBits-1)
	if err == nil {
		after.ctx, after.cancel = context.WithCancel(s.pub.ctx)
		err = after.recover(epoch)
		after.cancel()
		after.close()
	}
	if err != nil {
		s.opt.Log.Warn("clearing up what tasks have prepared that ran again", "err", err)
	}
}
