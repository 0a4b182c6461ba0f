package place

import (
	"fmt"
	"math/big"
	"slices"
)

// shrink chooses what stays where a job has more slots than it wants: as many as can be
// without being too many, the coordinator if it is not too large, then those on open nodes,
// then the oldest.
func (f *Fleet) shrink(now []Executor, want int) (keep, shed []Executor) {
	if sum(now) <= want {
		return now, nil
	}
	order := slices.Clone(now) // as sorted left it
	slices.SortStableFunc(order, func(a, b Executor) int { return f.last(a) - f.last(b) })
	// Mostly taking one after the other is as good as can be, or there are few.
	left := want
	for _, e := range order {
		if e.Slots <= left {
			keep = append(keep, e)
			left -= e.Slots
		} else {
			shed = append(shed, e)
		}
	}
	if left == 0 {
		return keep, shed
	}
	keep, shed, left = nil, nil, want
	if order[0].Coordinator && order[0].Slots <= left {
		keep, left, order = order[:1:1], left-order[0].Slots, order[1:]
	}
	// reach[i] has bit n where some of order[i:] have n slots together.
	reach := make([]*big.Int, len(order)+1)
	reach[len(order)] = big.NewInt(1)
	mask := new(big.Int).Lsh(big.NewInt(1), uint(left)+1)
	mask.Sub(mask, big.NewInt(1))
	for i := len(order) - 1; i >= 0; i-- {
		reach[i] = new(big.Int).Lsh(reach[i+1], uint(order[i].Slots))
		reach[i].Or(reach[i], reach[i+1])
		reach[i].And(reach[i], mask)
	}
	best := reach[0].BitLen() - 1
	for i, e := range order {
		if e.Slots <= best && reach[i+1].Bit(best-e.Slots) == 1 {
			keep = append(keep, e)
			best -= e.Slots
		} else {
			shed = append(shed, e)
		}
	}
	return keep, shed
}

// last is 1 for executors that are the first to go.
func (f *Fleet) last(e Executor) int { return truth(!e.Coordinator && f.Closed(e.Node) != "") }

// refusal is the plan for a job that does not fit.
func (f *Fleet) refusal(j Job, all []Executor, need, room int) Plan {
	ending := 0
	var free, soon, closed []string
	for i := range f.nodes {
		n := &f.nodes[i]
		if j.Zone != "" && n.Zone != j.Zone {
			continue
		}
		if n.Closed != "" {
			closed = append(closed, n.label()+" is "+n.Closed)
			continue
		}
		if c := f.candidate(n.ID); c.room > 0 {
			free = append(free, fmt.Sprintf("%d on %s", c.room, n.label()))
		}
		if n.Ending > 0 {
			ending += n.Ending
			soon = append(soon, n.label())
		}
	}
	why := fmt.Sprintf("wants %s", slots(j.Slots))
	if has := j.Slots - need; has > 0 {
		why = fmt.Sprintf("wants %d more slots (has %d of %d)", need, has, j.Slots)
		if need == 1 {
			why = fmt.Sprintf("wants 1 more slot (has %d of %d)", has, j.Slots)
		}
	}
	if j.Zone != "" {
		why += fmt.Sprintf(" in zone %s", j.Zone)
	}
	others := func(left []string) string { return fmt.Sprintf("others on %d nodes", len(left)) }
	switch {
	case len(free) == 0:
		why += ", none is free"
	case room == 1:
		why += ", 1 is free: " + list(free, 5, others)
	default:
		why += fmt.Sprintf(", %d are free: %s", room, list(free, 5, others))
	}
	if ending > 0 {
		nodes := list(soon, 5, func(left []string) string { return fmt.Sprintf("%d others", len(left)) })
		why += fmt.Sprintf("; %s will be when executors on %s have ended", slots(ending), nodes)
	}
	if len(closed) > 0 {
		why += "; " + list(closed, 3, func(left []string) string {
			return fmt.Sprintf("%d more take nothing new", len(left))
		})
	}
	return Plan{Keep: all, Missing: need - room, Soon: room+ending >= need, Reason: why}
}

func slots(n int) string {
	if n == 1 {
		return "1 slot"
	}
	return fmt.Sprintf("%d slots", n)
}
