package checkpoint

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weirflow/weir/flow"
)

// InPlace reports whether a task that owns groups can open its keyed state from the
// files as they are: they are those of one former task that owned the same groups,
// and all states in them are taken.
func (t *TaskRestore) InPlace(groups flow.KeyGroupRange) bool {
	return len(t.Keyed) == 1 && t.Keyed[0].Operators == nil &&
		groups == flow.KeyGroupRange{First: flow.KeyGroup(t.Keyed[0].First), End: flow.KeyGroup(t.Keyed[0].End)}
}

// keyed gives each task the snapshots of those former tasks that had states of its
// operators in some of its key groups.
func (r *resolver) keyed() error {
	for _, t := range r.tasks {
		if t.Keyed == nil {
			continue
		}
		// of is the operators with state in this snapshot by their chains now.
		of := map[*TargetChain][]string{}
		var order []*TargetChain
		all := 0
		for _, s := range t.Keyed.States {
			op := flow.OperatorID(s.Operator)
			if err := r.owns(op, t); err != nil {
				return err
			}
			c := r.chains[op]
			if c == nil {
				r.drop(op, "%s %q", kindName(s.Kind), s.Name)
				all++
				continue
			}
			if len(of[c]) == 0 {
				order = append(order, c)
			}
			if !slices.Contains(of[c], s.Operator) {
				of[c] = append(of[c], s.Operator)
				all++
			}
		}
		for _, c := range order {
			ops := of[c]
			if len(ops) == all {
				ops = nil
			}
			first := flow.SubtaskOf(flow.KeyGroup(t.First), r.m.MaxParallelism, c.Parallelism)
			last := flow.SubtaskOf(flow.KeyGroup(t.End-1), r.m.MaxParallelism, c.Parallelism)
			for s := first; s <= last; s++ {
				to := r.task(c, s)
				to.Keyed = append(to.Keyed, KeyedRestore{First: t.First, End: t.End, Keyed: *t.Keyed, Operators: ops})
			}
		}
	}
	return nil
}

// kindName is the name of a state.Kind.
func kindName(kind uint8) string {
	switch kind {
	case 1:
		return "value"
	case 2:
		return "list"
	case 3:
		return "map"
	case 4:
		return "timers"
	}
	return fmt.Sprintf("state of kind %d", kind)
}

// stateOf is the parts of one operator state, by former subtask.
type stateOf struct {
	operator flow.OperatorID
	name     string
	mode     Mode
	parts    [][][]byte // items of each subtask
}

// operators deals out what operators keep beside keyed state.
func (r *resolver) operators() error {
	var err error
	if r.states, err = r.gather(); err != nil {
		return err
	}
	for _, s := range r.states {
		c := r.chains[s.operator]
		if s.mode == Splits {
			continue // see sources
		}
		if c == nil {
			if s.items() > 0 {
				r.drop(s.operator, "operator state %q", s.name)
			}
			continue
		}
		for subtask, items := range s.deal(c.Parallelism) {
			if len(items) > 0 {
				to := r.task(c, subtask)
				to.Operators = append(to.Operators, OperatorState{string(s.operator), s.name, s.mode, items})
			}
		}
	}
	return nil
}

// gather puts together what the subtasks of an operator had, in the order of operator
// and name.
func (r *resolver) gather() ([]*stateOf, error) {
	type key struct{ operator, name string }
	found := map[key]*stateOf{}
	var out []*stateOf
	for _, t := range r.tasks {
		for _, s := range t.Operators {
			if s.Mode < Split || s.Mode > Splits {
				return nil, r.inconsistent("state %q of operator %s is of mode %d, which this version does not know",
					s.Name, s.Operator, s.Mode)
			}
			if err := r.owns(flow.OperatorID(s.Operator), t); err != nil {
				return nil, err
			}
			k := key{s.Operator, s.Name}
			of := found[k]
			if of == nil {
				of = &stateOf{flow.OperatorID(s.Operator), s.Name, s.Mode, make([][][]byte, t.Parallelism)}
				found[k] = of
				out = append(out, of)
			}
			if of.mode != s.Mode || of.parts[t.Subtask] != nil {
				return nil, r.inconsistent("state %q of operator %s is there twice, or in two modes", s.Name, s.Operator)
			}
			of.parts[t.Subtask] = append([][]byte{}, s.Items...)
		}
	}
	slices.SortFunc(out, func(a, b *stateOf) int {
		return cmp.Or(cmp.Compare(a.operator, b.operator), cmp.Compare(a.name, b.name))
	})
	return out, nil
}

func (s *stateOf) items() int {
	n := 0
	for _, p := range s.parts {
		n += len(p)
	}
	return n
}

// deal gives the items to n subtasks.
func (s *stateOf) deal(n int) [][][]byte {
	if len(s.parts) == n && s.mode != Union {
		return s.parts
	}
	out := make([][][]byte, n)
	if s.mode == Broadcast {
		for i := range out {
			out[i] = s.parts[0]
		}
		return out
	}
	all := slices.Concat(s.parts...)
	for i, item := range all {
		if s.mode == Split {
			out[i%n] = append(out[i%n], item)
		}
	}
	if s.mode == Union {
		for i := range out {
			out[i] = all
		}
	}
	return out
}

// inOrder puts splits, whose ids are given, into the order in which they were found.
// Fewer readers than before would read them one after another in that of the tasks
// that held them, and records would come later than the source promises.
func inOrder(splits [][]byte, ids, found []string) {
	place := make(map[string]int, len(found))
	for i, id := range found {
		place[id] = i - len(found) // in front of what is unknown
	}
	type item struct {
		split []byte
		at    int
	}
	items := make([]item, len(splits))
	for i := range splits {
		items[i] = item{splits[i], place[ids[i]]}
	}
	slices.SortStableFunc(items, func(a, b item) int { return cmp.Compare(a.at, b.at) })
	for i := range items {
		splits[i] = items[i].split
	}
}

// sources puts the splits of readers and of the job's side together.
func (r *resolver) sources() error {
	read := map[flow.OperatorID][][]byte{}
	for _, s := range r.states {
		if s.mode == Splits {
			read[s.operator] = append(read[s.operator], slices.Concat(s.parts...)...)
		}
	}
	for i := range r.m.Sources {
		s := &r.m.Sources[i]
		op := flow.OperatorID(s.Operator)
		if _, twice := r.out.Sources[op]; twice {
			return r.inconsistent("source %s is there twice", op)
		}
		held := read[op]
		delete(read, op)
		if o := r.byID[op]; o == nil || !o.Source {
			r.drop(op, "the positions of a source")
			continue
		}
		restore := SourceRestore{Enumerator: s.Enumerator, Done: s.Done, Splits: slices.Concat(held, s.Unassigned)}
		ids, order := map[string]bool{}, make([]string, len(restore.Splits))
		for i, b := range restore.Splits {
			sp, err := DecodeSplit(b)
			if err != nil {
				return r.inconsistent("source %s: %w", op, err)
			}
			if ids[sp.ID] {
				return r.inconsistent("source %s has split %q twice", op, sp.ID)
			}
			ids[sp.ID], order[i] = true, sp.ID
		}
		inOrder(restore.Splits[:len(held)], order, s.Assigned)
		for _, id := range s.Assigned {
			if !ids[id] {
				restore.Finished = append(restore.Finished, id)
			}
		}
		r.out.Sources[op] = restore
	}
	for op, splits := range read {
		if len(splits) > 0 {
			return r.inconsistent("readers of %s hold splits, and its job's side is not there", op)
		}
	}
	return nil
}
