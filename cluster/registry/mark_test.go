package registry

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/api"
)

// concern is what a leader tells an agent from.
func concern(v *View, node api.NodeID) string {
	text := fmt.Sprint(v.Node(node))
	for _, a := range v.AllocsOn(node) {
		j := v.Job(a.Alloc.Job)
		text += fmt.Sprintf("\n%+v\n%+v\n%s", *a, *j, v.Control(j.Name))
	}
	return text
}

// TestMark applies random commands: while a mark of an agent holds, all that concerns the agent is
// what it was; and it does hold where only other agents are concerned.
func TestMark(t *testing.T) {
	held, broken := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := New()
		marks, was := map[api.NodeID]*Mark{}, map[api.NodeID]string{}
		for index := uint64(1); index <= uint64(rapid.IntRange(1, 80).Draw(t, "entries")); index++ {
			data, err := Encode(drawCommand(t, r.View()), int64(index), "x")
			if err != nil {
				t.Fatal(err)
			}
			before := r.Index()
			r.Apply(index, data)
			v := r.View()
			for i := range 3 {
				id := api.NodeID(fmt.Sprint("n", i))
				now := concern(v, id)
				switch m := marks[id]; {
				case m == nil || !v.Still(m):
					if m != nil {
						broken++
					}
					marks[id], was[id] = v.Mark(id), now
					if !v.Still(marks[id]) {
						t.Fatalf("the mark of %s does not hold at once", id)
					}
				case now != was[id]:
					t.Fatalf("entry %d: the mark of %s holds, and what concerns it was\n%s\nand is\n%s", index, id, was[id], now)
				case r.Index() != before:
					held++
				}
			}
		}
	})
	if held == 0 || broken == 0 {
		t.Errorf("marks held through %d changes and broke at %d", held, broken)
	}
}
