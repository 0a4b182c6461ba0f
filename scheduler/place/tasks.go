package place

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"github.com/weirflow/weir/api"
)

// Chain is a chain as far as its place depends on it.
type Chain struct {
	ID          string
	Parallelism int
	// Forward are the chains that feed it by a forward exchange: subtask i of both
	// belongs in one process, where a batch is handed over as it is.
	Forward []string
	// Before says where its subtasks ran last, by subtask; empty where they did not run
	// or nothing of theirs is left. Its length is the parallelism of then: after rescaling
	// a subtask looks for the one that had the beginning of its key groups.
	Before []Seat
}

// Seat is where a subtask ran.
type Seat struct {
	Alloc api.AllocID // may have ended
	Node  api.NodeID  // has its local files as long as it lives
}

// Host is an executor that takes tasks.
type Host struct {
	Alloc api.AllocID
	Node  api.NodeID
	Slots int
}

// Placed is a task and the executor that it goes to.
type Placed struct {
	Task  api.Task
	Alloc api.AllocID
}

// Tasks gives each subtask of each chain to an executor. The order is that of chains, and of
// subtasks in a chain.
//
// Slots are filled like the seats of a row: row i takes subtask i of every chain that has as many
// subtasks as there are rows. Chains with fewer take some of the rows, far from each other
// and those that have the least so far, so that the readers of one file each do not all
// run in the first process. Chains that are joined by forward exchanges take
// the same rows.
//
// A row goes to the executor that most of its tasks ran in, else to the node with their files, else to
// where it makes the load even.
func Tasks(chains []Chain, hosts []Host) ([]Placed, error) {
	rows, total := 0, 0
	index := make(map[string]int, len(chains))
	for i, c := range chains {
		if c.Parallelism < 1 {
			return nil, fmt.Errorf("place: chain %s has parallelism %d; it is at least 1", c.ID, c.Parallelism)
		}
		if _, ok := index[c.ID]; ok {
			return nil, fmt.Errorf("place: two chains are called %s", c.ID)
		}
		index[c.ID] = i
		rows = max(rows, c.Parallelism)
	}
	for _, h := range hosts {
		total += max(0, h.Slots)
	}
	if total < rows {
		return nil, fmt.Errorf("place: the job needs %s, its executors have %d: wait for more, or rescale it", slots(rows), total)
	}
	groups, err := groups(chains, index)
	if err != nil {
		return nil, err
	}
	seats := seatGroups(chains, groups, rows)
	hosts = slices.Clone(hosts)
	slices.SortFunc(hosts, func(a, b Host) int {
		return cmp.Or(cmp.Compare(len(a.Alloc), len(b.Alloc)), cmp.Compare(a.Alloc, b.Alloc))
	})
	at := seatRows(chains, groups, seats, hosts, rows, total)
	n := 0
	for _, c := range chains {
		n += c.Parallelism
	}
	placed := make([]Placed, 0, n)
	for i, c := range chains {
		for s := range c.Parallelism {
			placed = append(placed, Placed{api.Task{Chain: c.ID, Subtask: s}, hosts[at[seats[groups[i]][s]]].Alloc})
		}
	}
	return placed, nil
}

// groups numbers the sets of chains that are joined by forward exchanges; the number is
// that of the set's first chain.
func groups(chains []Chain, index map[string]int) ([]int, error) {
	group := make([]int, len(chains))
	for i := range group {
		group[i] = i
	}
	var find func(int) int
	find = func(i int) int {
		if group[i] != i {
			group[i] = find(group[i])
		}
		return group[i]
	}
	for i, c := range chains {
		for _, id := range c.Forward {
			j, ok := index[id]
			switch {
			case !ok:
				return nil, fmt.Errorf("place: chain %s is fed by %s, which is not there", c.ID, id)
			case chains[j].Parallelism != c.Parallelism:
				return nil, fmt.Errorf("place: the forward exchange from %s to %s joins %d and %d subtasks; both sides need as many",
					id, c.ID, chains[j].Parallelism, c.Parallelism)
			}
			a, b := find(i), find(j)
			group[max(a, b)] = min(a, b)
		}
	}
	for i := range group {
		group[i] = find(i)
	}
	return group, nil
}

// seatGroups says for each group which row its subtasks take.
func seatGroups(chains []Chain, groups []int, rows int) map[int][]int {
	weight := map[int]int{} // chains of the group
	for _, g := range groups {
		weight[g]++
	}
	seats := map[int][]int{}
	load := make([]int, rows)
	for i, c := range chains {
		if groups[i] != i {
			continue
		}
		row := make([]int, c.Parallelism)
		// Steps of equal length, begun where the load is least. All starts within a step
		// give different rows; they are tried far ones first (0, 4, 2, 6, 1, ...), since
		// neighbours are in one process.
		start, least := 0, -1
		step := max(1, rows/c.Parallelism)
		width := bits.Len(uint(step - 1))
		for k := range 1 << width {
			s := int(bits.Reverse(uint(k)) >> (bits.UintSize - width))
			if s >= step {
				continue
			}
			n := 0
			for t := range c.Parallelism {
				n += load[t*rows/c.Parallelism+s]
			}
			if least < 0 || n < least {
				start, least = s, n
			}
		}
		for t := range row {
			row[t] = t*rows/c.Parallelism + start
			load[row[t]] += weight[i]
		}
		seats[i] = row
	}
	return seats
}

// seatRows gives rows to hosts: the result has a host for each row.
func seatRows(chains []Chain, groups []int, seats map[int][]int, hosts []Host, rows, total int) []int {
	byAlloc, byNode := map[api.AllocID][]int{}, map[api.NodeID][]int{}
	for i, h := range hosts {
		byAlloc[h.Alloc] = append(byAlloc[h.Alloc], i)
		byNode[h.Node] = append(byNode[h.Node], i)
	}
	before := make([][]Seat, rows)
	for i, c := range chains {
		if len(c.Before) == 0 {
			continue
		}
		for s := range c.Parallelism {
			if seat := c.Before[s*len(c.Before)/c.Parallelism]; seat != (Seat{}) {
				row := seats[groups[i]][s]
				before[row] = append(before[row], seat)
			}
		}
	}
	left := make([]int, len(hosts))
	for i, h := range hosts {
		left[i] = max(0, h.Slots)
	}
	at := make([]int, rows)
	for r := range at {
		at[r] = -1
	}
	// Those that find their process come before those that find their disk.
	claim := func(candidates func(Seat) []int) {
		for r := range at {
			if at[r] >= 0 {
				continue
			}
			if h := favourite(before[r], left, candidates); h >= 0 {
				at[r] = h
				left[h]--
			}
		}
	}
	claim(func(s Seat) []int { return byAlloc[s.Alloc] })
	claim(func(s Seat) []int { return byNode[s.Node] })
	// The rest: neighbours together, each host up to its share, then whoever has room.
	next := 0
	for _, full := range []bool{false, true} {
		for h := range hosts {
			most := left[h]
			if !full {
				used := max(0, hosts[h].Slots) - left[h]
				most = min(most, share(hosts, h, rows, total)-used)
			}
			for ; most > 0; most-- {
				for next < rows && at[next] >= 0 {
					next++
				}
				if next == rows {
					return at
				}
				at[next] = h
				left[h]--
			}
		}
	}
	return at
}

// share is how many rows a host gets where all get the same part of their slots.
func share(hosts []Host, h, rows, total int) int {
	before := 0
	for _, x := range hosts[:h] {
		before += max(0, x.Slots)
	}
	return (before+max(0, hosts[h].Slots))*rows/total - before*rows/total
}

// favourite is the host with room that most of the seats name, -1 if none does.
func favourite(seats []Seat, left []int, candidates func(Seat) []int) int {
	best, votes := -1, 0
	for i, s := range seats {
		if slices.Contains(seats[:i], s) {
			continue
		}
		n := 0
		for _, t := range seats {
			if t == s {
				n++
			}
		}
		for _, h := range candidates(s) {
			if left[h] > 0 && n > votes {
				best, votes = h, n
				break
			}
		}
	}
	return best
}
