package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
)

// tape notes what a worker and a scheduler are told.
type tape struct {
	mu     sync.Mutex
	heard  []string
	refuse error
}

func (t *tape) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard = append(t.heard, fmt.Sprintf(format, args...))
}

func (t *tape) take() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := strings.Join(t.heard, "; ")
	t.heard = nil
	return s
}

func (t *tape) Deploy(m *api.Deploy) error             { t.note("deploy %v", m.Tasks); return t.refuse }
func (t *tape) InjectBarrier(m *api.InjectBarrier)     { t.note("barrier %d %v", m.Epoch, m.Tasks) }
func (t *tape) AbortEpoch(m *api.AbortEpoch)           { t.note("abort %d", m.Epoch) }
func (t *tape) Committed(m *api.Committed)             { t.note("committed %d", m.Epoch) }
func (t *tape) AddSplits(m *api.AddSplits)             { t.note("splits %v", m.Task) }
func (t *tape) NoMoreSplits(m *api.NoMoreSplits)       { t.note("no more %v", m.Task) }
func (t *tape) NoSplitYet(m *api.NoSplitYet)           { t.note("not yet %v", m.Task) }
func (t *tape) Align(m *api.Align)                     { t.note("align %s", m.Group) }
func (t *tape) StopSources(*api.StopSources)           { t.note("stop") }
func (t *tape) FinishTasks(m *api.FinishTasks)         { t.note("finish %v %t", m.Tasks, m.Tasks == nil) }
func (t *tape) CancelTasks(m *api.CancelTasks)         { t.note("cancel %v", m.Tasks) }
func (t *tape) Ack(m *api.Ack)                         { t.note("ack %v", m.Task) }
func (t *tape) Decline(m *api.Decline)                 { t.note("decline %v", m.Task) }
func (t *tape) RequestSplit(m *api.RequestSplit)       { t.note("request %v", m.Task) }
func (t *tape) FinishedSplit(m *api.FinishedSplit)     { t.note("finished %v", m.Task) }
func (t *tape) SourceWatermark(m *api.SourceWatermark) { t.note("watermark %v", m.Task) }
func (t *tape) TaskState(m *api.TaskState) {
	t.note("%v is %d", m.Task, m.State)
	if f := m.Failure; f != nil {
		t.note("%s failure, retry %t: %s", flow.Domain(f.Domain), f.Retryable, f.Message)
	}
}

func want(t *testing.T, h *tape, text string) {
	t.Helper()
	if got := h.take(); got != text {
		t.Errorf("heard %q, not %q", got, text)
	}
}

func tasks(chain string, n int) (ts []api.Task) {
	for i := range n {
		ts = append(ts, api.Task{Chain: chain, Subtask: i})
	}
	return ts
}

func TestFleet(t *testing.T) {
	f, job, a, b := New(Options{}), &tape{}, &tape{}, &tape{}
	f.Report(job)
	if err := f.Deploy(&api.Deploy{Attempt: 1, Tasks: tasks("c", 2)}); !errors.Is(err, ErrSlots) || !flow.FailureOf(err).Retryable {
		t.Error(err)
	}
	// Of what was never deployed the end is told all the same.
	f.CancelTasks(&api.CancelTasks{Attempt: 1, Tasks: tasks("c", 1)})
	want(t, job, "{c 0} is 5")

	_, fromA := f.Join(a, api.Hello{Alloc: "a", Slots: 1, Data: "h:1"})
	idB, fromB := f.Join(b, api.Hello{Alloc: "b", Slots: 1, Node: "n2", Data: "h:2"})
	if err := f.Deploy(&api.Deploy{Attempt: 2, Tasks: tasks("c", 2)}); err != nil {
		t.Fatal(err)
	}
	one := api.Task{Chain: "c", Subtask: 1}
	f.InjectBarrier(&api.InjectBarrier{Attempt: 2, Epoch: 1, Tasks: []api.Task{one}})
	f.AbortEpoch(&api.AbortEpoch{Attempt: 2, Epoch: 1})
	f.Committed(&api.Committed{Attempt: 2, Epoch: 2})
	f.AddSplits(&api.AddSplits{Attempt: 2, Task: one})
	f.NoMoreSplits(&api.NoMoreSplits{Attempt: 2, Task: one})
	f.NoSplitYet(&api.NoSplitYet{Attempt: 2, Task: one})
	f.AddSplits(&api.AddSplits{Attempt: 1, Task: one})
	f.Align(&api.Align{Attempt: 2, Group: "g"})
	f.StopSources(&api.StopSources{Attempt: 2})
	f.FinishTasks(&api.FinishTasks{Attempt: 2})
	f.CancelTasks(&api.CancelTasks{Attempt: 2, Tasks: tasks("c", 2)})
	want(t, a, "deploy [{c 0}]; abort 1; committed 2; align g; stop; finish [] true; cancel [{c 0}]")
	want(t, b, "deploy [{c 1}]; barrier 1 [{c 1}]; abort 1; committed 2; splits {c 1}; no more {c 1}; not yet {c 1}; "+
		"align g; stop; finish [] true; cancel [{c 1}]")

	for _, s := range []api.Scheduler{fromA, fromB} {
		s.Ack(&api.Ack{Attempt: 2, Task: one})
		s.Decline(&api.Decline{Attempt: 2, Task: one})
		s.RequestSplit(&api.RequestSplit{Attempt: 2, Task: one})
		s.FinishedSplit(&api.FinishedSplit{Attempt: 2, Task: one})
		s.SourceWatermark(&api.SourceWatermark{Attempt: 2, Task: one})
		s.TaskState(&api.TaskState{Attempt: 2, Task: one, State: api.Running})
		s.Ack(&api.Ack{Attempt: 1, Task: one})
	}
	want(t, job, "ack {c 1}; decline {c 1}; request {c 1}; finished {c 1}; watermark {c 1}; {c 1} is 1")

	f.Leave(idB, errors.New("no pulse"))
	f.Leave(idB, errors.New("no pulse"))
	want(t, job, "{c 1} is 4; external failure, retry true: executor b on node n2 is gone: no pulse")
	fromB.TaskState(&api.TaskState{Attempt: 2, Task: one, State: api.Cancelled})
	f.CancelTasks(&api.CancelTasks{Attempt: 2, Tasks: tasks("c", 2)})
	fromA.TaskState(&api.TaskState{Attempt: 2, Task: api.Task{Chain: "c"}, State: api.Cancelled})
	fromA.TaskState(&api.TaskState{Attempt: 2, Task: api.Task{Chain: "c"}, State: api.Cancelled})
	want(t, job, "{c 0} is 5")

	// One that comes again while it is still here is a new one.
	a2 := &tape{refuse: errors.New("no such chain")}
	f.Join(a2, api.Hello{Alloc: "a", Slots: 2, Data: "h:3"})
	if err := f.Deploy(&api.Deploy{Attempt: 3, Tasks: tasks("c", 1)}); err != nil {
		t.Fatal(err)
	}
	want(t, job, "{c 0} is 4; user failure, retry false: no such chain")
	want(t, a2, "deploy [{c 0}]")
}

func TestAwait(t *testing.T) {
	reasons := make(chan string, 10)
	f := New(Options{Waiting: func(r string) { reasons <- r }})
	f.Report(&tape{})
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	wait := func() { ended <- f.Await(ctx, 3) }
	go wait()
	expect := func(want string) {
		t.Helper()
		if r := <-reasons; r != want {
			t.Errorf("%q, not %q", r, want)
		}
	}
	expect("waits for 3 of 3 slots")
	id, _ := f.Join(&tape{}, api.Hello{Alloc: "a", Slots: 2})
	expect("waits for 1 of 3 slots")
	f.Leave(id, errors.New("gone"))
	expect("waits for 3 of 3 slots")
	f.Join(&tape{}, api.Hello{Alloc: "b", Slots: 3})
	expect("")
	if err := <-ended; err != nil || f.Slots() != 3 {
		t.Fatal(err)
	}
	go func() { ended <- f.Await(ctx, 4) }()
	expect("waits for 1 of 4 slots")
	cancel(context.DeadlineExceeded)
	if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
