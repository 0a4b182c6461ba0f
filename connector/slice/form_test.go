package slice

import (
	"encoding/hex"
	"testing"
)

// TestForm holds fast what docs/format/sources.md says of this source.
func TestForm(t *testing.T) {
	s, err := position{Split: 3, Next: 300}.split(1000, false)
	if err != nil {
		t.Fatal(err)
	}
	e := enumerator{discovered: true}
	state, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	const golden = "3 82a573706c697403a46e657874cd012c c3"
	if got := s.ID + " " + hex.EncodeToString(s.Data) + " " + hex.EncodeToString(state); got != golden {
		t.Errorf("the stored form is now\n%s\nand was\n%s", got, golden)
	}
}
