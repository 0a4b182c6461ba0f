package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weirflow/weir/flow"
)

// Exchange is how an edge spreads records over the consumer's subtasks. The numbers
// are those of graph.ExchangeKind, and are stored.
type Exchange uint8

const (
	ExchangeForward   Exchange = 0
	ExchangeHash      Exchange = 1
	ExchangeRebalance Exchange = 2
	ExchangeBroadcast Exchange = 3
)

// Target is what [Resolve] and [Books] need to know of a plan.
type Target struct {
	MaxParallelism int
	Chains         []TargetChain
}

// TargetChain is one chain of a plan.
type TargetChain struct {
	ID          flow.ChainID
	Parallelism int
	// Operators are in the plan's order, the head first.
	Operators []TargetOperator
}

// TargetOperator is one operator of a chain.
type TargetOperator struct {
	ID flow.OperatorID
	// Name is for messages. Default: the id.
	Name   string
	Source bool
	// Inputs are its edges. Those of an operator that is not the head are links
	// inside the chain.
	Inputs []TargetInput
}

// TargetInput is an edge that ends at an operator.
type TargetInput struct {
	Port     flow.Port
	Index    int
	From     flow.OperatorID
	Outlet   flow.Outlet
	Exchange Exchange
}

// ResolveOptions are choices of [Resolve].
type ResolveOptions struct {
	// AllowDroppedState goes on without state that belongs to no operator of the
	// plan. Default: refuse it with a [*DroppedStateError].
	AllowDroppedState bool
}

// Restore says what each part of a job starts from.
type Restore struct {
	Epoch flow.Epoch
	// Tasks has every task of the plan.
	Tasks map[flow.TaskID]*TaskRestore
	// Sources has the sources that the manifest knows; others start anew.
	Sources map[flow.OperatorID]SourceRestore
	// Committables are committed once more before any task starts: perhaps the
	// attempt that wrote the manifest did not come to it.
	Committables []OperatorCommit
	// Replay is what tasks have to take in of records that were under way: an entry of
	// AccountReplayed for each port of an operator.
	Replay []Entry
	// Dropped is what is left out, where that is allowed.
	Dropped []Dropped
}

// SourceRestore is what the job's side of a source starts from.
type SourceRestore struct {
	Enumerator []byte
	Done       bool
	// Splits, encoded, are to be assigned: those that readers held first, then those
	// that no task had yet, both in the order in which they were found.
	Splits [][]byte
	// Finished are the splits of whose end the enumerator has not been told.
	Finished []string
}

// ErrMaxParallelism refuses a plan with another number of key groups than the
// snapshot's; errors.Is finds it.
var ErrMaxParallelism = errors.New("checkpoint: max-parallelism is not the snapshot's")

// ErrInconsistent refuses a manifest that says different things in different places;
// errors.Is finds it.
var ErrInconsistent = errors.New("checkpoint: the manifest contradicts itself")

// Dropped is state that has no operator.
type Dropped struct {
	Operator flow.OperatorID
	What     string // such as `value "sum"`
}

// DroppedStateError refuses a plan that lacks operators of which there is state.
type DroppedStateError struct {
	Epoch flow.Epoch
	State []Dropped
}

// Error lists the state by operator.
func (e *DroppedStateError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "checkpoint: epoch %d holds state for which the program has no operator: ", e.Epoch)
	for i, d := range e.State {
		switch {
		case i == 0:
			fmt.Fprintf(&b, "%s (%s", d.Operator, d.What)
		case e.State[i-1].Operator == d.Operator:
			fmt.Fprintf(&b, ", %s", d.What)
		default:
			fmt.Fprintf(&b, "), %s (%s", d.Operator, d.What)
		}
	}
	b.WriteString("); give the operators these ids again, or allow dropped state (--allow-dropped-state) to go on without it")
	return b.String()
}

// Resolve deals a committed epoch out to the tasks of a plan: the same plan, one of
// another parallelism, or that of a changed program.
//
//   - Keyed state goes by key groups, whichever chain its operator is in now.
//   - Operator state goes as its [Mode] says. Where the parallelism stayed, each
//     subtask of a split or broadcast state gets back what it had.
//   - Splits of sources go to the job's side.
//   - Records under way on a hash exchange go to every task that owns a part of the
//     former task's key groups, which takes those of its own. On a forward or
//     rebalanced edge whole channels are dealt out. On a broadcast edge those that
//     the first subtask had not taken yet go to all, as its state does.
//
// Operators are matched by their ids; one that is new starts empty.
func Resolve(m *Manifest, p Target, o ResolveOptions) (*Restore, error) {
	r := &resolver{m: m, plan: p, out: &Restore{
		Epoch: flow.Epoch(m.Epoch), Tasks: map[flow.TaskID]*TaskRestore{}, Sources: map[flow.OperatorID]SourceRestore{},
	}}
	for _, step := range []func() error{r.targets, r.former, r.keyed, r.operators, r.inFlight, r.sources, r.committables} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	d := r.dropped
	slices.SortFunc(d, func(a, b Dropped) int {
		return cmp.Or(cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.What, b.What))
	})
	d = slices.Compact(d)
	if len(d) > 0 && !o.AllowDroppedState {
		return nil, &DroppedStateError{r.out.Epoch, d}
	}
	r.out.Dropped = d
	return r.out, nil
}

// resolver is one Resolve.
type resolver struct {
	m       *Manifest
	plan    Target
	out     *Restore
	dropped []Dropped

	chains map[flow.OperatorID]*TargetChain
	byID   map[flow.OperatorID]*TargetOperator
	// tasks are the manifest's, in the order of chain and subtask.
	tasks []*TaskSnapshot
	// owner is the former chain of each operator that has state.
	owner map[flow.OperatorID]string
	// states is the manifest's operator state.
	states []*stateOf
}

func (r *resolver) inconsistent(format string, args ...any) error {
	return fmt.Errorf("%w: epoch %d: %w", ErrInconsistent, r.m.Epoch, fmt.Errorf(format, args...))
}

func (r *resolver) drop(op flow.OperatorID, format string, args ...any) {
	r.dropped = append(r.dropped, Dropped{op, fmt.Sprintf(format, args...)})
}

// targets looks at the plan and makes a TaskRestore of each of its tasks.
func (r *resolver) targets() error {
	p := r.plan
	if p.MaxParallelism != r.m.MaxParallelism {
		return fmt.Errorf("%w: epoch %d was written with %d key groups and the program has %d; "+
			"set max-parallelism to %d, it cannot change once there is state",
			ErrMaxParallelism, r.m.Epoch, r.m.MaxParallelism, p.MaxParallelism, r.m.MaxParallelism)
	}
	r.chains = map[flow.OperatorID]*TargetChain{}
	r.byID = map[flow.OperatorID]*TargetOperator{}
	for i := range p.Chains {
		c := &p.Chains[i]
		if c.Parallelism < 1 || c.Parallelism > p.MaxParallelism {
			return fmt.Errorf("checkpoint: chain %s has parallelism %d, it must be from 1 to max-parallelism, %d",
				c.ID, c.Parallelism, p.MaxParallelism)
		}
		for j := range c.Operators {
			id := c.Operators[j].ID
			if r.chains[id] != nil {
				return fmt.Errorf("checkpoint: operator %s is in the plan twice", id)
			}
			r.chains[id], r.byID[id] = c, &c.Operators[j]
		}
		for s := range c.Parallelism {
			r.out.Tasks[flow.TaskID{Chain: c.ID, Subtask: s}] = &TaskRestore{Epoch: r.m.Epoch}
		}
	}
	return nil
}

// former checks that the manifest has all tasks of its own plan, once.
func (r *resolver) former() error {
	if r.m.MaxParallelism < 1 || r.m.MaxParallelism > flow.MaxMaxParallelism {
		return r.inconsistent("%d key groups", r.m.MaxParallelism)
	}
	for i := range r.m.Tasks {
		r.tasks = append(r.tasks, &r.m.Tasks[i])
	}
	slices.SortFunc(r.tasks, func(a, b *TaskSnapshot) int {
		return cmp.Or(cmp.Compare(a.Chain, b.Chain), cmp.Compare(a.Subtask, b.Subtask))
	})
	for i, t := range r.tasks {
		want := 0
		if i > 0 && r.tasks[i-1].Chain == t.Chain {
			want = r.tasks[i-1].Subtask + 1
			if r.tasks[i-1].Parallelism != t.Parallelism {
				return r.inconsistent("chain %s has parallelism %d and %d", t.Chain, r.tasks[i-1].Parallelism, t.Parallelism)
			}
		}
		last := i+1 == len(r.tasks) || r.tasks[i+1].Chain != t.Chain
		if t.Parallelism < 1 || t.Parallelism > r.m.MaxParallelism || t.Subtask != want ||
			last && t.Subtask != t.Parallelism-1 {
			return r.inconsistent("chain %s of parallelism %d does not have each subtask once", t.Chain, t.Parallelism)
		}
		if g := flow.RangeOf(r.m.MaxParallelism, t.Parallelism, t.Subtask); g != t.KeyGroups() {
			return r.inconsistent("task %s has the key groups %s, not %s", t.Task(), t.KeyGroups(), g)
		}
	}
	return nil
}

// task is what a task of the plan starts from.
func (r *resolver) task(c *TargetChain, subtask int) *TaskRestore {
	return r.out.Tasks[flow.TaskID{Chain: c.ID, Subtask: subtask}]
}

// owns notes that an operator's state is in a chain: it can be in one only.
func (r *resolver) owns(op flow.OperatorID, t *TaskSnapshot) error {
	if r.owner == nil {
		r.owner = map[flow.OperatorID]string{}
	}
	if c, ok := r.owner[op]; ok && c != t.Chain {
		return r.inconsistent("state of operator %s is in the chains %s and %s", op, c, t.Chain)
	}
	r.owner[op] = t.Chain
	return nil
}

func (r *resolver) committables() error {
	cs := slices.Clone(r.m.Committables)
	slices.SortStableFunc(cs, func(a, b Committable) int {
		return cmp.Or(cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Subtask, b.Subtask))
	})
	for len(cs) > 0 {
		n := 1
		for n < len(cs) && cs[n].Operator == cs[0].Operator {
			n++
		}
		if op := cs[0].Operator; r.chains[op] == nil {
			r.drop(op, "output that was prepared and is perhaps not committed")
		} else {
			r.out.Committables = append(r.out.Committables, OperatorCommit{op, cs[:n:n]})
		}
		cs = cs[n:]
	}
	return nil
}
