package job

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/weirflow/weir/flow"
)

var (
	src  = flow.TaskID{Chain: "src"}
	sink = flow.TaskID{Chain: "sink"}
	pair = []TaskInfo{{ID: src, Source: true}, {ID: sink}}
)

// situations are ways to get a job of a source and a sink into each state, and into
// what a state's name does not tell.
var situations = []struct {
	name   string
	state  State
	events []Event
}{
	{"created", Created, nil},
	{"deploying", Deploying, []Event{Start{}}},
	{"deploying, sink runs", Deploying, []Event{Start{}, up(sink, TaskRunning)}},
	{"running", Running, running()},
	{"running, sink drained", Running, running(up(sink, TaskDrained))},
	{"finishing", Finishing, running(up(src, TaskDrained))},
	{"finishing, triggered", Finishing, running(up(src, TaskDrained), up(sink, TaskDrained))},
	{"finishing, committed", Finishing, running(up(src, TaskDrained), up(sink, TaskDrained), EpochCommitted{1, 1, true})},
	{"finishing, src finished", Finishing, running(up(src, TaskDrained), up(sink, TaskDrained), EpochCommitted{1, 1, true}, up(src, TaskFinished))},
	{"stopping, deploying", Stopping, []Event{Start{}, Stop{}}},
	{"stopping", Stopping, running(Stop{})},
	{"stopping, triggered", Stopping, running(Stop{}, up(src, TaskDrained), up(sink, TaskDrained))},
	{"cancelling", Cancelling, running(Cancel{})},
	{"cancelling, src ended", Cancelling, running(Cancel{}, up(src, TaskCancelled))},
	{"suspended", Cancelling, running(Suspend{})},
	{"suspended, src ended", Cancelling, running(Suspend{}, up(src, TaskCancelled))},
	{"failing, src failed", Failing, running(failed(src, true))},
	{"failing for good", Failing, running(failed(src, false))},
	{"restarting", Restarting, running(failed(src, true), up(sink, TaskCancelled))},
	{"finished", Finished, running(up(src, TaskDrained), up(sink, TaskDrained), EpochCommitted{1, 1, true}, up(src, TaskFinished), up(sink, TaskFinished))},
	{"stopped", Stopped, []Event{Stop{}}},
	{"cancelled", Cancelled, []Event{Cancel{}}},
	{"failed", Failed, running(failed(src, false), up(sink, TaskCancelled))},
}

func up(task flow.TaskID, s TaskState) Event { return TaskUpdate{Task: task, Attempt: 1, State: s} }

func failed(task flow.TaskID, retryable bool) Event {
	return TaskUpdate{task, 1, TaskFailed, &flow.Failure{Message: "bad", Retryable: retryable}}
}

func running(more ...Event) []Event {
	return append([]Event{Start{}, up(src, TaskRunning), up(sink, TaskRunning)}, more...)
}

// pairEvents is every kind of event, with every task state.
func pairEvents() []Event {
	events := []Event{
		Start{}, Stop{}, Cancel{}, Suspend{}, NothingLeft{1}, NothingLeft{9}, RestartDue{2}, RestartDue{3},
		EpochCommitted{1, 2, false}, EpochCommitted{1, 2, true}, EpochCommitted{9, 2, true},
		CommitFailed{Attempt: 1, Epoch: 2}, CommitFailed{Attempt: 9, Epoch: 2},
		TaskUpdate{Task: src, Attempt: 9, State: TaskFailed},
		TaskUpdate{Task: flow.TaskID{Chain: "nobody"}, Attempt: 1, State: TaskFailed},
		TaskUpdate{Task: src, Attempt: 1, State: 99},
		nil,
	}
	for _, t := range []flow.TaskID{src, sink} {
		for s := TaskCreated; s <= TaskCancelled; s++ {
			events = append(events, up(t, s))
		}
	}
	return events
}

// TestEveryPair prints what every event does in every situation, for review.
func TestEveryPair(t *testing.T) {
	seen := map[State]bool{}
	datadriven.RunTest(t, "testdata/pairs/pairs.txt", func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		for _, sit := range situations {
			fmt.Fprintf(&out, "%s\n", sit.name)
			seen[sit.state] = true
			var ignored []string
			for _, e := range pairEvents() {
				m, err := New("j", 1, pair, FixedDelay{})
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range sit.events {
					m.Step(e)
				}
				if m.state != sit.state {
					t.Fatalf("%s: in state %s", sit.name, m.state)
				}
				before, desc := m.state, m.Describe()
				acts := m.Step(e)
				name := "nil"
				if e != nil {
					name = e.String()
				}
				switch {
				case before.Terminal() && (len(acts) > 0 || m.Describe() != desc):
					t.Errorf("%s: %s changed a job that has ended: %v", sit.name, name, acts)
				case len(acts) == 0 && m.Describe() == desc:
					ignored = append(ignored, name)
				default:
					var s []string
					for _, a := range acts {
						s = append(s, a.String())
					}
					if len(s) == 0 {
						s = []string{"noted"}
					}
					fmt.Fprintf(&out, "  %s\n    → %s\n", name, strings.Join(s, "; "))
				}
			}
			fmt.Fprintf(&out, "  ignored: %d of %d\n", len(ignored), len(pairEvents()))
		}
		return out.String()
	})
	for s := range State(numStates) {
		if !seen[s] {
			t.Errorf("no situation is in state %s", s)
		}
	}
}
