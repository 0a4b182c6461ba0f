package join

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

// TestForm holds fast what joins keep: fields are found by their names in the
// checkpoints of older releases. docs/format/operators.md says what they are.
func TestForm(t *testing.T) {
	for _, c := range [][2]string{
		{schema[nearby[string, bool]](t), "{l []{t int64, v string}, r []{t int64, v bool}, t bool}"},
		{schema[history[string, bool]](t), "{w []{t int64, v string}, v []{t int64, v bool}, t int64}"},
		{schema[met[string, bool]](t), "{l []string, r []bool}"},
	} {
		if c[0] != c[1] {
			t.Errorf("it is now %s, and was %s", c[0], c[1])
		}
	}
}
