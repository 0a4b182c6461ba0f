package codec_test

import (
	"sync"
	"testing"

	"github.com/weirflow/weir/flow/codec"
)

type onStack struct {
	A, B int64
	S    string
}

// TestValuesOnAStackThatMoves: values live on the caller's stack, which is moved when
// it grows, at whatever call. Under the race detector there are calls where nobody
// would look for them.
func TestValuesOnAStackThatMoves(t *testing.T) {
	c, err := codec.For[onStack]()
	if err != nil {
		t.Fatal(err)
	}
	want := onStack{A: 1, B: -2, S: "three"}
	data := c.Append(nil, &want)
	var group sync.WaitGroup
	for range 200 {
		group.Go(func() { // with a small stack of its own
			if got := deeper(c, data, 200); got != 201 {
				t.Errorf("%d of 201 values came back", got)
			}
		})
	}
	group.Wait()
}

// deeper decodes a value into each frame on its way down and encodes it again.
func deeper(c *codec.Codec[onStack], data []byte, n int) (good int) {
	var v onStack
	var buf [64]byte
	if _, err := c.Decode(data, &v); err == nil && v.A == 1 && v.B == -2 && v.S == "three" && string(c.Append(buf[:0], &v)) == string(data) {
		good = 1
	}
	if n > 0 {
		good += deeper(c, data, n-1)
	}
	return good
}
