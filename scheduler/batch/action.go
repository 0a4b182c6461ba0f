package batch

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirflow/weir/flow"
)

// Action is something to do: one of the types below.
type Action interface {
	fmt.Stringer
	action()
}

// Deploy starts an attempt.
type Deploy struct {
	Unit    flow.TaskID
	Attempt flow.Attempt
	On      Executor
	// Inputs are the outputs that it reads: for each edge those of all its producers in
	// order of their subtasks, or that of the one of a forward exchange.
	Inputs []Source
}

// Source is an output as a consumer is told of it.
type Source struct {
	Edge     flow.EdgeID
	Producer int
	Attempt  flow.Attempt
	Node     Node
}

// Cancel ends an attempt that does not count any more. Its end is to be told.
type Cancel struct {
	Unit    flow.TaskID
	Attempt flow.Attempt
	On      Executor
}

// Drop removes the outputs of an attempt, which nobody will read any more.
type Drop struct {
	Unit    flow.TaskID
	Attempt flow.Attempt
	Node    Node
}

// Again says that a unit that was finished, or ran, is to run again. What its attempt has
// prepared does not count.
type Again struct {
	Unit    flow.TaskID
	Attempt flow.Attempt // that does not count any more
	Why     string
}

// Lost says that an output is not there any more. Whether its unit runs again is another
// matter.
type Lost struct {
	Unit    flow.TaskID
	Attempt flow.Attempt
	Node    Node
	Why     string
}

// Wait asks for [Machine.Due] with the unit and its attempt after a delay.
type Wait struct {
	Unit    flow.TaskID
	Attempt flow.Attempt
	Delay   time.Duration
}

// Commit makes final what all finished attempts have prepared, after a delay.
// [Machine.Committed] or [Machine.CommitFailed] follows.
type Commit struct{ After time.Duration }

// End says that the job has ended, and nothing runs any more.
type End struct{ Cause *flow.Failure }

func (Deploy) action() {}
func (Cancel) action() {}
func (Drop) action()   {}
func (Again) action()  {}
func (Lost) action()   {}
func (Wait) action()   {}
func (Commit) action() {}
func (End) action()    {}

// String is for scripts and logs, as those that follow.
func (a Deploy) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "deploy %s as attempt %d on executor %d", a.Unit, a.Attempt, a.On)
	for i, in := range a.Inputs {
		if i == 0 || in.Edge != a.Inputs[i-1].Edge {
			fmt.Fprintf(&b, "; %s:", in.Edge)
		}
		fmt.Fprintf(&b, " %d@%s", in.Attempt, in.Node)
	}
	return b.String()
}

func (a Cancel) String() string {
	return fmt.Sprintf("cancel attempt %d of %s on executor %d", a.Attempt, a.Unit, a.On)
}

func (a Drop) String() string {
	return fmt.Sprintf("drop what attempt %d of %s has on %s", a.Attempt, a.Unit, a.Node)
}

func (a Again) String() string {
	return fmt.Sprintf("%s runs again after attempt %d: %s", a.Unit, a.Attempt, a.Why)
}

func (a Lost) String() string {
	return fmt.Sprintf("the output of attempt %d of %s on %s is lost: %s", a.Attempt, a.Unit, a.Node, a.Why)
}

func (a Wait) String() string {
	return fmt.Sprintf("wait %s after attempt %d of %s", a.Delay, a.Attempt, a.Unit)
}

func (a Commit) String() string {
	if a.After > 0 {
		return fmt.Sprintf("commit after %s", a.After)
	}
	return "commit"
}

func (a End) String() string {
	if a.Cause != nil {
		return "the job ends: " + a.Cause.Text()
	}
	return "the job ends"
}
