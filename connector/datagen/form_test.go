package datagen

import (
	"encoding/hex"
	"testing"
)

// TestForm holds fast what docs/format/sources.md says of this source.
func TestForm(t *testing.T) {
	s, err := (&part{Part: 1, Parts: 4, Block: 1024, Next: 5120, End: 1 << 40, Base: 77}).split()
	if err != nil {
		t.Fatal(err)
	}
	e := enumerator{discovered: true}
	state, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	const golden = "1/4 86a470617274d30000000000000001a57061727473d30000000000000004a5626c6f636bd30000000000000400" +
		"a46e657874d30000000000001400a3656e64d30000010000000000a462617365d3000000000000004d c3"
	if got := s.ID + " " + hex.EncodeToString(s.Data) + " " + hex.EncodeToString(state); got != golden {
		t.Errorf("the stored form is now\n%s\nand was\n%s", got, golden)
	}
	if p, err := parsePart(s); err != nil || p.Next != 5120 || p.Base != 77 {
		t.Errorf("%+v, %v", p, err)
	}
}
