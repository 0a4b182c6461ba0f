package window

import (
	"testing"

	"github.com/weirflow/weir/flow/codec"
)

func schema[T any](t *testing.T) string {
	t.Helper()
	c, err := codec.For[T]()
	if err != nil {
		t.Fatal(err)
	}
	return c.Schema().String()
}

// TestForm holds fast what windows keep: fields are found by their names in the
// checkpoints of older releases. docs/format/operators.md says what they are.
func TestForm(t *testing.T) {
	for _, c := range [][2]string{
		{schema[cell[int32]](t), "{a int32, p int32, d bool}"},
		{schema[tally[int32]](t), "{n int64, p []{n int64, a int32}}"},
		{schema[panes[int32]](t), "{p []{n int64, a int32}, n int64, a []{w int64, p int64}}"},
		{schema[session[int32]](t), "{s {Start int64, End int64}, a int32, c int64, p int32, t int64, w [4]int64}"},
		{schema[entry[int32]](t), "{a int32, c int64, p int32, w [4]int64}"},
		{schema[[]member[string]](t), "[]{h uint64, k string}"},
	} {
		if c[0] != c[1] {
			t.Errorf("it is now %s, and was %s", c[0], c[1])
		}
	}
}
