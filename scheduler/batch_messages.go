package scheduler

import (
	"fmt"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/scheduler/batch"
)

// batchReports is the scheduler as one executor has it.
type batchReports struct {
	s  *Batch
	id batch.Executor
}

// on runs f on the loop, if the attempt is one of the executor's that has not ended.
func (r *batchReports) on(at uint64, f func(batch.Deploy)) {
	r.s.post(func() {
		if d, ok := r.s.runs[flow.Attempt(at)]; ok && d.On == r.id && r.s.end == nil {
			f(d)
		}
	})
}

// TaskState notes a task's new state.
func (r *batchReports) TaskState(m *api.TaskState) {
	s, at := r.s, flow.Attempt(m.Attempt)
	r.on(m.Attempt, func(d batch.Deploy) {
		switch m.State {
		case api.Finished:
			var bytes int64
			for _, o := range m.Outputs {
				bytes += o.Bytes
			}
			if s.machine.Current(at) {
				s.tell("finished", d.Unit, at, s.executors[d.On], fmt.Sprintf("task %s has finished (attempt %d)", d.Unit, try(at)))
			}
			s.gone(at, true)
			s.do(s.machine.Done(at, bytes))
		case api.Failed:
			f := failureOf(d.Unit, m.Failure)
			if l := m.Failure.Lost; l != nil {
				s.gone(at, false)
				s.do(s.machine.LostInput(at, batch.Source{Edge: edgeID(l.Output.Edge), Producer: l.Output.Producer,
					Attempt: flow.Attempt(l.Output.Attempt), Node: batch.Node(l.Output.Node)}, l.Gone, f))
				return
			}
			s.failed(at, f)
		case api.Cancelled:
			s.gone(at, false)
			s.do(s.machine.Cancelled(at))
		case api.Running, api.Drained:
		}
	})
}

// Ack notes what a task has prepared.
func (r *batchReports) Ack(m *api.Ack) {
	all := committables(m)
	r.on(m.Attempt, func(batch.Deploy) {
		if r.s.machine.Current(flow.Attempt(m.Attempt)) {
			r.s.prepared[flow.Attempt(m.Attempt)] = all
		}
	})
}

// Decline ends the attempt: in batch mode there is one epoch only.
func (r *batchReports) Decline(m *api.Decline) {
	r.on(m.Attempt, func(d batch.Deploy) {
		r.s.do(r.s.machine.Fail(&flow.Failure{Task: d.Unit, Message: "the last epoch was declined: " + m.Reason}))
	})
}

// RequestSplit gives a subtask one more split, when there is one.
func (r *batchReports) RequestSplit(m *api.RequestSplit) {
	r.on(m.Attempt, func(d batch.Deploy) {
		if src := r.s.sources[flow.OperatorID(m.Operator)]; src != nil {
			src.ask(d.Unit.Subtask)
		}
	})
}

// FinishedSplit notes that a split was read to its end.
func (r *batchReports) FinishedSplit(m *api.FinishedSplit) {
	r.on(m.Attempt, func(batch.Deploy) {
		if src := r.s.sources[flow.OperatorID(m.Operator)]; src != nil {
			src.read(m.Split)
		}
	})
}

// SourceWatermark does nothing: tasks whose sources are aligned need not run at the same time.
func (r *batchReports) SourceWatermark(*api.SourceWatermark) {}

var _ api.Scheduler = (*batchReports)(nil)
