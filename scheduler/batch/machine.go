package batch

import (
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/scheduler/job"
)

// Executor is an executor for as long as it has joined.
type Executor uint64

// Node is where outputs lie.
type Node string

// Options are those of a Machine.
type Options struct {
	// First is the number of the first attempt; those that follow count up.
	First flow.Attempt
	// Restart decides what follows a failure of a unit, or of the loss of an executor or an
	// output. Default: the job fails with the first failure. Losses are always made good.
	Restart job.RestartPolicy
}

// Machine is a job's units.
type Machine struct {
	opt       Options
	chains    []*chain // in topological order
	byID      map[flow.ChainID]*chain
	executors []*executor // in order of joining
	attempts  map[flow.Attempt]*attempt
	next      flow.Attempt
	phase     phase
	cause     *flow.Failure
	acts      []Action
	// lossesInRow counts executors that have left since a unit finished last, and commits
	// those that have failed.
	lossesInRow, commits int
}

type phase uint8

const (
	working phase = iota
	committing
	ending // attempts are being cancelled
	over
)

// chain is a chain of the plan.
type chain struct {
	id        flow.ChainID
	inputs    []input
	consumers []consumer
	units     []*unit
	idle      int // units that wait or are delayed
	finished  int
}

type input struct {
	edge    flow.EdgeID
	from    *chain
	forward bool
}

type consumer struct {
	to      *chain
	forward bool
}

type unitState uint8

const (
	waiting unitState = iota
	delayed           // waits for its time after a failure
	running
	finished
)

var unitStates = [...]string{"waiting", "delayed", "running", "finished"}

// unit is one subtask of a chain.
type unit struct {
	id      flow.TaskID
	of      *chain
	state   unitState
	attempt flow.Attempt // the newest
	node    Node         // where its output lies, when finished
	bytes   int64
	lost    bool // finished, and its output is not there any more
	dropped bool // finished, and its output was not needed any more
	live    int  // attempts that have not ended
	// failures are those in a row, losses those of its outputs.
	failures, losses int
}

// attempt is one that has not ended.
type attempt struct {
	number flow.Attempt
	unit   *unit
	on     *executor
}

type executor struct {
	id    Executor
	node  Node
	slots int
	used  int
}

// New makes the machine of a plan in batch mode.
func New(p *graph.Plan, opt Options) *Machine {
	if opt.Restart == nil {
		opt.Restart = job.NoRestart{}
	}
	m := &Machine{opt: opt, byID: map[flow.ChainID]*chain{}, attempts: map[flow.Attempt]*attempt{}, next: max(opt.First, 1)}
	for i := range p.Chains {
		pc := &p.Chains[i]
		c := &chain{id: pc.ID, idle: pc.Parallelism}
		for n := range pc.Parallelism {
			c.units = append(c.units, &unit{id: flow.TaskID{Chain: pc.ID, Subtask: n}, of: c})
		}
		for _, in := range pc.Inputs {
			from := m.byID[in.FromChain]
			forward := in.Exchange.Kind == graph.Forward
			c.inputs = append(c.inputs, input{in.Edge, from, forward})
			from.consumers = append(from.consumers, consumer{c, forward})
		}
		m.chains = append(m.chains, c)
		m.byID[c.id] = c
	}
	return m
}

// Over reports whether the job has ended.
func (m *Machine) Over() bool { return m.phase == over }

// Current reports whether an attempt is its unit's newest, and counts.
func (m *Machine) Current(at flow.Attempt) bool {
	a := m.attempts[at]
	return a != nil && a.unit.state == running && a.unit.attempt == at
}

// Finished are the attempts that count, in the order of chains and subtasks.
func (m *Machine) Finished() (all []flow.Attempt) {
	for _, c := range m.chains {
		for _, u := range c.units {
			if u.state == finished {
				all = append(all, u.attempt)
			}
		}
	}
	return all
}

// Progress counts units.
type Progress struct{ Waiting, Running, Finished int }

// Progress is how far the job is.
func (m *Machine) Progress() (p Progress) {
	for _, c := range m.chains {
		p.Waiting += c.idle
		p.Finished += c.finished
		p.Running += len(c.units) - c.idle - c.finished
	}
	return p
}

// Started reports whether a unit runs or has.
func (m *Machine) Started() bool { return m.next > max(m.opt.First, 1) }

// Slots counts those of all executors.
func (m *Machine) Slots() (n int) {
	for _, e := range m.executors {
		n += e.slots
	}
	return n
}

func (u *unit) to(s unitState) {
	count := func(d int) {
		switch u.state {
		case waiting, delayed:
			u.of.idle += d
		case finished:
			u.of.finished += d
		case running:
		}
	}
	count(-1)
	u.state = s
	count(1)
}

// present reports whether a unit's output can be read.
func (u *unit) present() bool { return u.state == finished && !u.lost && !u.dropped }

// each calls f with the units of an input's producer that a subtask reads from.
func (in *input) each(subtask int, f func(*unit)) {
	if in.forward {
		f(in.from.units[subtask])
		return
	}
	for _, u := range in.from.units {
		f(u)
	}
}

// each calls f with the units that read from a subtask.
func (k *consumer) each(subtask int, f func(*unit)) {
	if k.forward {
		f(k.to.units[subtask])
		return
	}
	for _, u := range k.to.units {
		f(u)
	}
}

func (m *Machine) act(a Action) { m.acts = append(m.acts, a) }

// take ends a step.
func (m *Machine) take() []Action {
	m.settle()
	a := m.acts
	m.acts = nil
	return a
}

// String lists units that are not waiting, for scripts.
func (u *unit) String() string {
	s := fmt.Sprintf("%s %s", u.id, unitStates[u.state])
	switch u.state {
	case running, finished:
		s += fmt.Sprintf(" attempt %d", u.attempt)
	case waiting, delayed:
	}
	if u.state == finished && u.node != "" {
		s += " on " + string(u.node)
		switch {
		case u.lost:
			s += ", lost"
		case u.dropped:
			s += ", dropped"
		}
	}
	return s
}
