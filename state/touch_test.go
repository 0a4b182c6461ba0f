package state_test

import (
	"testing"

	"github.com/weirflow/weir/flow"
)

// TestAhead: to say what comes next changes nothing, of entries that are there and of
// others, in small tables and in large ones.
func TestAhead(t *testing.T) {
	hash := hashFunc[uint64](t)
	c := newCells[uint64, uint64, int64](t)
	for _, keys := range []uint64{0, 10, 400_000} {
		for k := range keys {
			c.Put(hash(k), k, 7, int64(k))
		}
		var hashes []flow.Hash
		for k := range keys + 100 {
			hashes = append(hashes, hash(k))
		}
		c.Ahead(hashes, 7)
		c.Ahead(nil, 7)
		if c.Len() != int(keys) {
			t.Fatalf("%d values, there were %d", c.Len(), keys)
		}
		for k := range keys {
			if v := c.Find(hash(k), k, 7); v == nil || *v != int64(k) {
				t.Fatalf("key %d is lost", k)
			}
		}
	}
}
