package hybrid

import (
	"encoding/hex"
	"testing"
)

// TestForm holds fast what docs/format/sources.md says of this source.
func TestForm(t *testing.T) {
	e := enumerator[int]{phase: 1, all: true, unfinished: map[string]bool{"b": true, "a": true}, restored: []byte{0xc3}, early: []string{"x"}}
	data, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	const golden = "1:a 86a5706861736501a3616c6cc3aa756e66696e697368656492a161a162a5626567756ec3a5696e6e6572c401c3a56561726c7991a178"
	if got := splitID(1, "a") + " " + hex.EncodeToString(data); got != golden {
		t.Errorf("the stored form is now\n%s\nand was\n%s", got, golden)
	}
}
