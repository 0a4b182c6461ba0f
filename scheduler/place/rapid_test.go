package place

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/api"
)

func drawFleet(t *rapid.T) []Node {
	nodes := make([]Node, rapid.IntRange(1, 8).Draw(t, "nodes"))
	for i := range nodes {
		nodes[i] = Node{
			ID: api.NodeID(fmt.Sprintf("n%d", i)), Free: rapid.IntRange(0, 6).Draw(t, "free"),
			Zone: rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "zone"),
		}
		if rapid.IntRange(0, 5).Draw(t, "closed") == 0 {
			nodes[i].Closed = "draining"
		}
	}
	return nodes
}

func drawJob(t *rapid.T, nodes []Node) Job {
	j := Job{
		Slots:       rapid.IntRange(1, 20).Draw(t, "slots"),
		PerExecutor: rapid.IntRange(0, 3).Draw(t, "per"),
		Policy:      rapid.SampledFrom([]Policy{"", Spread, Pack, Zone}).Draw(t, "policy"),
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "now") {
		j.Now = append(j.Now, Executor{
			Alloc: api.AllocID(fmt.Sprintf("j.%d", i)), Node: nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "on")].ID,
			Slots: rapid.IntRange(1, 5).Draw(t, "has"), Coordinator: i == 0,
		})
	}
	for range rapid.IntRange(0, 2).Draw(t, "was") {
		j.Was = append(j.Was, Executor{Node: nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "on")].ID, Slots: 2})
	}
	if rapid.Bool().Draw(t, "avoids") {
		j.Avoid = []api.NodeID{nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "avoid")].ID}
	}
	return j
}

// TestPlans: what holds of every plan.
func TestPlans(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes := drawFleet(t)
		j := drawJob(t, nodes)
		for _, e := range j.Now {
			if rapid.IntRange(0, 3).Draw(t, "move") == 0 {
				j.Move = append(j.Move, e.Alloc)
			}
		}
		p := NewFleet(nodes).Place(j)
		t.Logf("%+v\n%s", j, describe(p))

		reversed, again := slices.Clone(nodes), j
		slices.Reverse(reversed)
		again.Now = slices.Clone(j.Now)
		slices.Reverse(again.Now)
		if q := NewFleet(reversed).Place(again); !reflect.DeepEqual(p, q) {
			t.Fatalf("in another order: %s", describe(q))
		}
		if !p.Fits {
			if len(p.Start)+len(p.Stop) > 0 || len(p.Keep) != len(j.Now) || p.Reason == "" || p.Missing <= 0 {
				t.Fatal("a job that does not fit changes something")
			}
			return
		}
		got := sum(p.Keep)
		room := map[api.NodeID]int{}
		for _, n := range nodes {
			if n.Closed == "" {
				room[n.ID] = n.Free
			}
		}
		for _, e := range p.Stop {
			room[e.Node] += e.Slots
		}
		for _, s := range p.Start {
			got += s.Slots
			room[s.Node] -= s.Slots
			if room[s.Node] < 0 || s.Slots < 1 || (j.PerExecutor > 0 && s.Slots > j.PerExecutor) {
				t.Fatalf("start %+v", s)
			}
		}
		if got != j.Slots || len(p.Keep)+len(p.Stop) != len(j.Now) {
			t.Fatalf("%d slots, wants %d", got, j.Slots)
		}
		for _, e := range p.Keep {
			if slices.Contains(j.Move, e.Alloc) {
				t.Fatalf("%s does not move", e.Alloc)
			}
		}
	})
}

// TestSticky: done what the plan says, there is nothing left to do; more nodes and more room
// change nothing either.
func TestSticky(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes := drawFleet(t)
		j := drawJob(t, nodes)
		p := NewFleet(nodes).Place(j)
		if !p.Fits {
			return
		}
		// Both run for a while, then only the new ones, then the cluster grows.
		after := j
		after.Now = slices.Concat(p.Keep, p.Stop)
		for i, s := range p.Start {
			after.Now = append(after.Now, Executor{Alloc: api.AllocID(fmt.Sprintf("j.1%d", i)), Node: s.Node, Slots: s.Slots})
		}
		kept := after
		kept.Now = slices.Concat(p.Keep, after.Now[len(j.Now):])
		nodes = append(nodes, Node{ID: "new", Free: 50, Zone: "new"})
		if q := NewFleet(nodes).Place(kept); len(q.Start)+len(q.Stop) > 0 || !q.Fits {
			t.Fatalf("after\n%s\ncomes\n%s", describe(p), describe(q))
		}
		if q := NewFleet(nodes).Place(after); len(q.Start) > 0 || !q.Fits {
			t.Fatalf("with both running, after\n%s\ncomes\n%s", describe(p), describe(q))
		}
	})
}

// TestMinimal: no way of getting there starts fewer slots, when the coordinator is kept or
// there is none; checked against all subsets.
func TestMinimal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes := drawFleet(t)
		j := drawJob(t, nodes)
		for i := range j.Now {
			j.Now[i].Coordinator = false
		}
		p := NewFleet(nodes).Place(j)
		best := 0
		for set := range 1 << len(j.Now) {
			n := 0
			for i, e := range j.Now {
				if set&(1<<i) != 0 {
					n += e.Slots
				}
			}
			if n <= j.Slots {
				best = max(best, n)
			}
		}
		if p.Fits && sum(p.Keep) != best {
			t.Fatalf("keeps %d of %d: %+v\n%s", sum(p.Keep), best, j, describe(p))
		}
	})
}

// TestPolicies: what each policy promises for a job that starts anew.
func TestPolicies(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes := drawFleet(t)
		j := Job{Slots: rapid.IntRange(1, 20).Draw(t, "slots"), Policy: rapid.SampledFrom([]Policy{Spread, Pack, Zone}).Draw(t, "policy")}
		p := NewFleet(nodes).Place(j)
		if !p.Fits {
			return
		}
		got, zones, room := map[api.NodeID]int{}, map[string]int{}, map[string]int{}
		for _, s := range p.Start {
			got[s.Node] += s.Slots
		}
		var free []int
		for _, n := range nodes {
			if n.Closed != "" {
				continue
			}
			free = append(free, n.Free)
			zones[n.Zone] += got[n.ID]
			room[n.Zone] += n.Free
			for _, m := range nodes {
				if j.Policy == Spread && m.Closed == "" && got[n.ID] > got[m.ID]+1 && got[m.ID] < m.Free {
					t.Fatalf("%s has %d, %s has %d of %d", n.ID, got[n.ID], m.ID, got[m.ID], m.Free)
				}
			}
		}
		for a, n := range zones {
			for b, m := range zones {
				if j.Policy == Zone && n > m+1 && m < room[b] {
					t.Fatalf("zone %s has %d, zone %s has %d of %d", a, n, b, m, room[b])
				}
			}
		}
		if j.Policy == Pack {
			slices.SortFunc(free, func(a, b int) int { return cmp.Compare(b, a) })
			fewest, n := 0, 0
			for ; n < j.Slots; fewest++ {
				n += free[fewest]
			}
			if len(got) != fewest {
				t.Fatalf("takes %d nodes, %d would do", len(got), fewest)
			}
		}
	})
}

// TestTasksRandom: each task has one place, no executor has more subtasks of a chain than slots,
// forward neighbours are together, and what could stay stays.
func TestTasksRandom(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var chains []Chain
		most := 0
		for i := range rapid.IntRange(1, 6).Draw(t, "chains") {
			c := Chain{ID: fmt.Sprintf("c%d", i), Parallelism: rapid.IntRange(1, 9).Draw(t, "parallelism")}
			if i > 0 && rapid.IntRange(0, 2).Draw(t, "forward") == 0 {
				from := chains[rapid.IntRange(0, i-1).Draw(t, "from")]
				c.Parallelism, c.Forward = from.Parallelism, []string{from.ID}
			}
			most = max(most, c.Parallelism)
			chains = append(chains, c)
		}
		var hosts []Host
		for total := 0; total < most; {
			h := Host{api.AllocID(fmt.Sprintf("j.%d", len(hosts))), api.NodeID(fmt.Sprintf("n%d", rapid.IntRange(0, 3).Draw(t, "node"))), rapid.IntRange(1, 4).Draw(t, "slots")}
			hosts = append(hosts, h)
			total += h.Slots
		}
		check := func() map[api.Task]api.AllocID {
			placed, err := Tasks(chains, hosts)
			if err != nil {
				t.Fatal(err)
			}
			at := map[api.Task]api.AllocID{}
			load := map[string]int{}
			for _, p := range placed {
				at[p.Task] = p.Alloc
				load[p.Task.Chain+string(p.Alloc)]++
			}
			for _, c := range chains {
				for _, h := range hosts {
					if load[c.ID+string(h.Alloc)] > h.Slots {
						t.Fatalf("%s has %d of chain %s", h.Alloc, load[c.ID+string(h.Alloc)], c.ID)
					}
				}
				for s := range c.Parallelism {
					task := api.Task{Chain: c.ID, Subtask: s}
					if at[task] == "" {
						t.Fatalf("%v has no place", task)
					}
					for _, f := range c.Forward {
						if at[task] != at[api.Task{Chain: f, Subtask: s}] {
							t.Fatalf("%v is not with its neighbour of %s", task, f)
						}
					}
				}
			}
			if len(at) != len(placed) {
				t.Fatal("a task has two places")
			}
			return at
		}
		at := check()
		node := map[api.AllocID]api.NodeID{}
		for _, h := range hosts {
			node[h.Alloc] = h.Node
		}
		for i := range chains {
			for s := range chains[i].Parallelism {
				a := at[api.Task{Chain: chains[i].ID, Subtask: s}]
				chains[i].Before = append(chains[i].Before, Seat{a, node[a]})
			}
		}
		// Another attempt with the same executors: everything stays.
		if again := check(); !reflect.DeepEqual(at, again) {
			t.Fatalf("moved: %v, %v", at, again)
		}
		// One executor is replaced, somewhere: the others keep what they had, and those with
		// room may take some of its own.
		gone := hosts[0]
		hosts[0].Alloc, hosts[0].Node = "j.new", "elsewhere"
		slices.Reverse(hosts)
		for task, a := range check() {
			if was := at[task]; was != a && was != gone.Alloc {
				t.Fatalf("%v moved from %s to %s", task, was, a)
			}
		}
	})
}
