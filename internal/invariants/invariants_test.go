package invariants

import (
	"bytes"
	"testing"
)

func TestLenderMangledAfterReturn(t *testing.T) {
	var l Lender
	own := []byte("first")
	first := l.Lend(own)
	if string(first) != "first" {
		t.Fatalf("lent %q", first)
	}
	second := l.Lend([]byte("second"))
	if Enabled == (string(first) == "first") {
		t.Fatalf("Enabled=%t, and the returned loan reads %q", Enabled, first)
	}
	if string(own) != "first" || string(second) != "second" {
		t.Fatalf("own %q, second %q", own, second)
	}
	l.Revoke()
	if Enabled == (string(second) == "second") {
		t.Fatalf("Enabled=%t, and the revoked loan reads %q", Enabled, second)
	}
	if l.Lend(nil) != nil {
		t.Fatal("nil was lent as something")
	}
}

func TestMangleReachesCapacity(t *testing.T) {
	b := append(make([]byte, 0, 8), "abcdefgh"...)
	Bytes(b[:2])
	if got := bytes.Equal(b, []byte("abcdefgh")); got == Enabled {
		t.Fatalf("Enabled=%t, bytes %q", Enabled, b)
	}
	v := []int{1, 2, 3}
	Values(v[:1], -1)
	if (v[2] == -1) != Enabled {
		t.Fatalf("Enabled=%t, values %v", Enabled, v)
	}
}

func TestOrdinaryBuildCostsNothing(t *testing.T) {
	if Enabled || Race {
		t.Skip("only an ordinary build is free of cost")
	}
	var l Lender
	b := []byte("record")
	if n := testing.AllocsPerRun(100, func() { Bytes(l.Lend(b)) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
