package state

import (
	"strings"
	"testing"
	"unsafe"
)

type ownKey struct {
	N    int
	Name string
	In   [2]struct{ S string }
}

func TestOwnCopiesStrings(t *testing.T) {
	if Own[int]() != nil || Own[struct{ A, B uint64 }]() != nil {
		t.Error("a type without strings has nothing to copy")
	}
	block := strings.Repeat("x", 100)
	part := block[10:20]
	if s := Own[string]()(part); s != part || unsafe.StringData(s) == unsafe.StringData(part) {
		t.Errorf("%q was not copied", s)
	}
	k := ownKey{N: 1, Name: part}
	k.In[1].S = block[50:60]
	c := Own[ownKey]()(k)
	if c != k || unsafe.StringData(c.Name) == unsafe.StringData(k.Name) || unsafe.StringData(c.In[1].S) == unsafe.StringData(k.In[1].S) {
		t.Errorf("%v was not copied", c)
	}
}

// TestTablesOwnTheirKeys: no state may keep the block that a key is a part of.
func TestTablesOwnTheirKeys(t *testing.T) {
	var tab table[string, struct{}, int]
	tab.init(nil)
	block := strings.Repeat("x", 100)
	tab.ref(7, block[10:20], struct{}{})
	_, e, _ := tab.find(7, block[10:20], struct{}{})
	if e == nil || unsafe.StringData(e.k) == unsafe.StringData(block[10:20]) {
		t.Error("the table keeps the caller's memory")
	}
}
