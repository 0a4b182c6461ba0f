package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/api"
)

// TestScripts runs the scripts in testdata. Rewrite them with
//
//	go test ./scheduler/fleet -run Scripts -rewrite
func TestScripts(t *testing.T) {
	var r Roster
	datadriven.RunTest(t, "testdata/roster.txt", func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		switch d.Cmd {
		case "new":
			r = Roster{}
		case "join":
			for line := range strings.Lines(d.Input) {
				var h api.Hello
				fmt.Sscan(line, &h.Alloc, &h.Slots, &h.Zone)
				h.Data = string(h.Alloc) + ":1"
				fmt.Fprintf(&out, "%s is %d\n", h.Alloc, r.Join(h))
			}
			fmt.Fprintf(&out, "%d slots\n", r.Slots())
		case "leave":
			var id ID
			d.ScanArgs(t, "id", &id)
			attempt, lost := r.Leave(id)
			fmt.Fprintf(&out, "attempt %d loses %v; %d slots\n", attempt, lost, r.Slots())
		case "deploy":
			m := &api.Deploy{Job: "j"}
			d.ScanArgs(t, "attempt", &m.Attempt)
			for line := range strings.Lines(d.Input) {
				var chain string
				var n int
				fmt.Sscan(line, &chain, &n)
				for i := range n {
					m.Tasks = append(m.Tasks, api.Task{Chain: chain, Subtask: i})
					if d.HasArg("restore") {
						m.Restore = append(m.Restore, fmt.Append(nil, chain, i))
					}
				}
			}
			if d.HasArg("wrong") {
				m.Restore = m.Restore[1:]
			}
			parts, err := r.Deploy(m)
			if err != nil {
				return err.Error() + "\n"
			}
			for _, p := range parts {
				fmt.Fprintf(&out, "to %d: %v", p.To, p.Deploy.Tasks)
				if p.Deploy.Restore != nil {
					fmt.Fprintf(&out, " from %s", p.Deploy.Restore)
				}
				fmt.Fprintln(&out)
			}
			for _, p := range parts[0].Deploy.Places {
				fmt.Fprintf(&out, "%v at %s\n", p.Task, p.Data)
			}
		case "heard":
			var from ID
			var attempt uint64
			d.ScanArgs(t, "from", &from)
			d.ScanArgs(t, "attempt", &attempt)
			for line := range strings.Lines(d.Input) {
				var task api.Task
				fmt.Sscan(line, &task.Chain, &task.Subtask)
				fmt.Fprintln(&out, task, r.Heard(from, attempt, task, d.HasArg("ended")))
			}
		case "split":
			var attempt uint64
			d.ScanArgs(t, "attempt", &attempt)
			var tasks []api.Task
			for line := range strings.Lines(d.Input) {
				var task api.Task
				fmt.Sscan(line, &task.Chain, &task.Subtask)
				tasks = append(tasks, task)
			}
			shares, rest := r.Split(attempt, tasks)
			for _, s := range shares {
				fmt.Fprintf(&out, "%d has %v\n", s.To, s.Tasks)
			}
			fmt.Fprintf(&out, "nobody has %v; never deployed: %v\n", rest, r.Unknown(attempt, tasks))
		default:
			d.Fatalf(t, "unknown command %s", d.Cmd)
		}
		return out.String()
	})
}

// TestPlaces wants of any deployment that every task has one place, forward neighbours
// the same one, no executor more than its slots, and none idle while another has two more, if
// all slots are needed.
func TestPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Roster
		slots := map[ID]int{}
		for i := range rapid.IntRange(1, 8).Draw(t, "executors") {
			n := rapid.IntRange(0, 5).Draw(t, "slots")
			slots[r.Join(api.Hello{Alloc: api.AllocID(fmt.Sprint(i)), Slots: n, Zone: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone")})] = n
		}
		m := &api.Deploy{Attempt: 1}
		for c := range rapid.IntRange(1, 4).Draw(t, "chains") {
			for i := range rapid.IntRange(1, 12).Draw(t, "parallelism") {
				m.Tasks = append(m.Tasks, api.Task{Chain: fmt.Sprint(c), Subtask: i})
			}
		}
		parts, err := r.Deploy(m)
		if (err == nil) != (Need(m.Tasks) <= r.Slots()) {
			t.Fatal(err)
		}
		if err != nil {
			return
		}
		at, used, total := map[int]ID{}, map[ID]map[int]bool{}, 0
		for _, p := range parts {
			used[p.To] = map[int]bool{}
			for _, task := range p.Deploy.Tasks {
				if was, ok := at[task.Subtask]; ok && was != p.To {
					t.Fatalf("subtasks %d are apart", task.Subtask)
				}
				at[task.Subtask] = p.To
				used[p.To][task.Subtask] = true
				total++
			}
		}
		if total != len(m.Tasks) {
			t.Fatalf("%d places of %d", total, len(m.Tasks))
		}
		for id, n := range slots {
			if len(used[id]) > n {
				t.Fatalf("%d slots of %d are used", len(used[id]), n)
			}
			for other := range slots {
				if r.Slots() > Need(m.Tasks) {
					break // some may be left out
				}
				if len(used[other]) > len(used[id])+1 && len(used[id]) < n {
					t.Fatalf("%d slots here, %d there", len(used[other]), len(used[id]))
				}
			}
		}
		// The end of each task is heard once, whoever leaves.
		ended := map[api.Task]int{}
		for _, task := range rapid.Permutation(m.Tasks).Draw(t, "order") {
			if id, ok := r.Owner(1, task); ok && rapid.Bool().Draw(t, "ends") {
				if r.Heard(id, 1, task, true) {
					ended[task]++
				}
			} else if ok {
				_, lost := r.Leave(id)
				for _, l := range lost {
					ended[l]++
				}
			}
		}
		for _, task := range m.Tasks {
			if ended[task] != 1 || slices.Contains(r.All(), 0) {
				t.Fatalf("%v has ended %d times", task, ended[task])
			}
		}
	})
}
