package job

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
)

func drawTasks(t *rapid.T) []TaskInfo {
	n := rapid.IntRange(1, 4).Draw(t, "tasks")
	tasks := make([]TaskInfo, n)
	for i := range tasks {
		tasks[i] = TaskInfo{
			ID:     flow.TaskID{Chain: flow.ChainID(rune('a' + i))},
			Source: i == 0 || rapid.Bool().Draw(t, "source"),
		}
	}
	return tasks
}

func drawPolicy(t *rapid.T) RestartPolicy {
	return rapid.SampledFrom([]RestartPolicy{nil, FixedDelay{MaxFailures: 2}, Exponential{MaxFailures: 3}}).Draw(t, "policy")
}

// checked steps the machine and checks what must hold of any step.
func checked(t *rapid.T, m *Machine, e Event) []Action {
	t.Helper()
	before, desc, final := m.state, m.Describe(), m.final
	acts := m.Step(e)
	t.Logf("%v: %v", e, acts)
	if before.Terminal() && (len(acts) > 0 || m.Describe() != desc) {
		t.Fatalf("%s changed a job that is %s: %v", e, before, acts)
	}
	state := before
	for _, a := range acts {
		switch a := a.(type) {
		case Changed:
			if a.State == state || state.Terminal() {
				t.Fatalf("from %s to %s", state, a.State)
			}
			state = a.State
			if (state == Failed || state == Failing || state == Restarting) != (a.Cause != nil) && !m.final && !m.cancel {
				t.Fatalf("%s with cause %v", state, a.Cause)
			}
		case DeployTask:
			if a.Attempt != m.attempt {
				t.Fatalf("%s in attempt %d", a, m.attempt)
			}
		case CancelTask:
			if s, _ := m.TaskState(a.Task); s.Terminal() {
				t.Fatalf("%s, which is %s", a, s)
			}
		}
	}
	if state != m.state {
		t.Fatalf("is %s, was said to be %s", m.state, state)
	}
	if final && (m.state == Failed || m.state == Cancelled || m.state == Restarting) {
		t.Fatalf("%s after the final epoch was committed", m.state)
	}
	if m.state.Terminal() || m.state == Restarting {
		for _, task := range m.tasks {
			if !task.state.Terminal() {
				t.Fatalf("the job is %s, its task %s is %s", m.state, task.ID, task.state)
			}
		}
	}
	return acts
}

// TestAnything: whatever it is told in whatever order, the machine does not panic
// and keeps its invariants.
func TestAnything(t *testing.T) {
	t.Parallel()
	ends := map[State]int{}
	run := func(t *rapid.T) {
		tasks := drawTasks(t)
		m, err := New("j", 1, tasks, drawPolicy(t))
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			attempt := m.attempt
			if rapid.IntRange(0, 9).Draw(t, "stale") == 0 {
				attempt = flow.Attempt(rapid.IntRange(0, 5).Draw(t, "attempt"))
			}
			var e Event
			switch k := rapid.IntRange(0, 22).Draw(t, "event"); k {
			case 0, 1, 2:
				e = Start{}
			case 3:
				e = Stop{}
			case 4:
				e = Cancel{}
			case 5, 6:
				e = RestartDue{attempt + 1}
			case 7, 8, 9:
				e = EpochCommitted{attempt, 1, rapid.Bool().Draw(t, "final")}
			case 10:
				e = CommitFailed{Attempt: attempt}
			case 11:
				e = Suspend{}
			case 12:
				e = NothingLeft{attempt}
			default:
				u := TaskUpdate{
					Task: tasks[rapid.IntRange(0, len(tasks)-1).Draw(t, "task")].ID, Attempt: attempt,
					State: TaskState(rapid.IntRange(0, int(TaskCancelled)).Draw(t, "state")),
				}
				if u.State >= TaskFinished && rapid.IntRange(0, 2).Draw(t, "go on") > 0 {
					u.State = TaskDrained
				}
				if rapid.Bool().Draw(t, "failure") {
					u.Failure = &flow.Failure{Message: "bad", Retryable: rapid.Bool().Draw(t, "retryable")}
				}
				e = u
			}
			checked(t, m, e)
		}
		ends[m.state]++
	}
	for range 10 {
		rapid.Check(t, run)
	}
	t.Logf("ends: %v", ends)
}

// TestObedientShell drives the machine by a shell that does what it is told, with
// tasks that fail at random: every job comes to an end, and none of
// its tasks is left behind.
func TestObedientShell(t *testing.T) {
	t.Parallel()
	ends := map[State]int{}
	run := func(t *rapid.T) {
		tasks := drawTasks(t)
		m, err := New("j", 1, tasks, drawPolicy(t))
		if err != nil {
			t.Fatal(err)
		}
		bounded := rapid.Bool().Draw(t, "bounded")
		fails := rapid.IntRange(0, 4).Draw(t, "failures")
		states := map[string]TaskState{} // by task and attempt: what the worker knows
		key := func(id flow.TaskID, a flow.Attempt) string { return fmt.Sprint(id, a) }
		var todo []Event // what is going to be reported; in any order
		finals, finishes := 0, 0
		do := func(acts []Action) {
			for _, a := range acts {
				switch a := a.(type) {
				case DeployTask:
					if _, twice := states[key(a.Task, a.Attempt)]; twice {
						t.Fatalf("%s twice", a)
					}
					states[key(a.Task, a.Attempt)] = TaskDeploying
					todo = append(todo, TaskUpdate{Task: a.Task, Attempt: a.Attempt, State: TaskRunning})
					finals, finishes = 0, 0
				case StopSources:
					for _, id := range a.Tasks {
						if states[key(id, m.attempt)] < TaskRunning {
							t.Fatalf("%s: %s is not there yet", a, id)
						}
						todo = append(todo, TaskUpdate{Task: id, Attempt: m.attempt, State: TaskDrained})
					}
				case TriggerFinal:
					finals++
					todo = append(todo, EpochCommitted{a.Attempt, 1, true})
				case CancelTask:
					todo = append(todo, TaskUpdate{Task: a.Task, Attempt: a.Attempt, State: TaskCancelled})
				case FinishTasks:
					finishes++
					for _, task := range tasks {
						todo = append(todo, TaskUpdate{Task: task.ID, Attempt: a.Attempt, State: TaskFinished})
					}
				case ScheduleRestart:
					todo = append(todo, RestartDue{a.Attempt})
				}
			}
			if finals > 1 || finishes > 1 {
				t.Fatalf("%d final epochs, tasks finished %d times", finals, finishes)
			}
		}
		do(checked(t, m, Start{}))
		for step := 0; !m.state.Terminal(); step++ {
			switch {
			case step > 2000:
				t.Fatalf("never ends: %s, to report %v", m.Describe(), todo)
			case step > 40 && !bounded && !m.stop && !m.cancel || step > 0 && rapid.IntRange(0, 60).Draw(t, "user") == 0:
				do(checked(t, m, rapid.SampledFrom([]Event{Stop{}, Cancel{}, Suspend{}}).Draw(t, "wish")))
				continue
			case len(todo) == 0:
				// Tasks that run come to their end: sources of a bounded job by
				// themselves, others behind their sources.
				if !bounded && m.state == Running {
					continue
				}
				for _, task := range tasks {
					if s, _ := m.TaskState(task.ID); s == TaskRunning && (bounded || !task.Source) {
						todo = append(todo, TaskUpdate{Task: task.ID, Attempt: m.attempt, State: TaskDrained})
					}
				}
				if len(todo) == 0 {
					t.Fatalf("stuck: %s", m.Describe())
				}
				continue
			}
			i := rapid.IntRange(0, len(todo)-1).Draw(t, "report")
			e := todo[i]
			todo = append(todo[:i], todo[i+1:]...)
			if u, ok := e.(TaskUpdate); ok {
				k := key(u.Task, u.Attempt)
				if states[k] >= u.State {
					continue
				}
				if fails > 0 && rapid.IntRange(0, 5).Draw(t, "fails") == 0 {
					fails--
					u.State = TaskFailed
					u.Failure = &flow.Failure{Message: "bad", Retryable: rapid.IntRange(0, 3).Draw(t, "retryable") > 0}
				}
				states[k] = u.State
				e = u
			}
			do(checked(t, m, e))
		}
		ends[m.state]++
		for k, s := range states {
			if !s.Terminal() {
				t.Fatalf("the job is %s and task %s is %s", m.state, k, s)
			}
		}
	}
	for range 5 {
		rapid.Check(t, run)
	}
	t.Logf("ends: %v", ends)
	for _, s := range []State{Finished, Stopped, Cancelled, Failed} {
		if ends[s] == 0 {
			t.Errorf("no job ended %s", s)
		}
	}
}
