package statetest

import (
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// testSizes looks whether a store tells its operators' states apart.
func testSizes(t *testing.T, open Open) {
	s := open(t, flow.DefaultMaxParallelism, all(flow.DefaultMaxParallelism))
	sized, ok := s.(state.Sized)
	if !ok {
		t.Skip("it does not tell sizes")
	}
	if got := sized.Sizes(); len(got) != 0 {
		t.Fatalf("nothing is declared, and there is %v", got)
	}
	hash := hashOf[uint64]
	declare := func(op flow.OperatorID, name string) *state.Cells[uint64, window, int64] {
		return must(state.NewCells[uint64, window, int64](s, state.Descriptor{Operator: op, Name: name}))
	}
	a1, a2, b := declare("a", "one"), declare("a", "two"), declare("b", "one")
	var before int64
	for _, z := range sized.Sizes() {
		before += z.Memory
	}
	for i := range uint64(20_000) {
		a1.Ref(hash(i), i, window{})
		if i%2 == 0 {
			a2.Ref(hash(i), i, window{})
		}
	}
	b.Ref(hash(1), 1, window{})
	for s.Step() {
	}
	got := sized.Sizes()
	if len(got) != 2 {
		t.Fatalf("two operators are declared: %v", got)
	}
	least := func(z state.Size) int64 { return z.Memory + z.Disk }
	if x, y := least(got["a"]), least(got["b"]); x <= y || x < 20_000*16 {
		t.Errorf("30,000 values take %d bytes, one takes %d", x, y)
	}
	var memory int64
	for _, z := range got {
		if z.Memory < 0 || z.Disk < 0 {
			t.Errorf("a negative size: %v", got)
		}
		memory += z.Memory
	}
	if memory <= before {
		t.Errorf("values were added, and memory went from %d to %d", before, memory)
	}
}
