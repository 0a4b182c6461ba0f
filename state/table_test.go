package state_test

import (
	"math/rand/v2"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/memory"
)

func hash(x uint64) flow.Hash {
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	return flow.Hash(x)
}

func TestCellsSmoke(t *testing.T) {
	c, err := state.NewCells[uint64, [2]int64, int64](memory.New(memory.Options{}), state.Descriptor{Operator: "o", Name: "n"})
	if err != nil {
		t.Fatal(err)
	}
	type kk struct {
		k uint64
		n int64
	}
	m := map[kk]int64{}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 2_000_000 {
		k := kk{r.Uint64N(100000), r.Int64N(3)}
		if r.IntN(4) == 0 {
			_, had := m[k]
			if c.Delete(hash(k.k), k.k, [2]int64{k.n}) != had {
				t.Fatal(i, had)
			}
			delete(m, k)
			continue
		}
		v, _ := c.Ref(hash(k.k), k.k, [2]int64{k.n})
		*v++
		m[k]++
	}
	if c.Len() != len(m) {
		t.Fatal(c.Len(), len(m))
	}
	for k, v := range m {
		if p := c.Find(hash(k.k), k.k, [2]int64{k.n}); p == nil || *p != v {
			t.Fatal(k, p, v)
		}
	}
	n := 0
	c.Each(func(h flow.Hash, k uint64, w [2]int64, v *int64) bool {
		n++
		if m[kk{k, w[0]}] != *v {
			t.Fatal(k)
		}
		return true
	})
	if n != len(m) {
		t.Fatal(n, len(m))
	}
}
