package memory

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"testing"

	"github.com/weirflow/weir/flow"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// TestGolden holds the stored form: what older releases wrote must be readable,
// and what is written must not change unnoticed.
func TestGolden(t *testing.T) {
	const file = "testdata/snapshot.hex"
	got := sample(t)
	if *rewrite {
		if err := os.WriteFile(file, []byte(hex.Dump(got)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if hex.Dump(got) != string(want) {
		t.Errorf("a snapshot is now\n%s\nand was\n%s\nif that is meant, raise the version in its magic", hex.Dump(got), want)
	}
	s := New(Options{MaxParallelism: 4})
	program(t, s, false)
	if err := s.Read(bytes.NewReader(got)); err != nil {
		t.Fatal(err)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{MaxParallelism: -1}, {MaxParallelism: 40000}, {MaxParallelism: 4, KeyGroups: keyGroups(2, 5)}, {KeyGroups: keyGroups(3, 2)}} {
		if New(o).Err() == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

func keyGroups(first, end flow.KeyGroup) flow.KeyGroupRange {
	return flow.KeyGroupRange{First: first, End: end}
}
