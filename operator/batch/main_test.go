package batch

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/weirflow/weir/flow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// left fails if there is a file or directory left.
func left(t interface {
	Helper()
	Errorf(string, ...any)
}, fs vfs.FS, dir string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil || len(names) > 0 {
		t.Errorf("left in %s: %v, %v", dir, names, err)
	}
}

// mix is a hash of numbers.
func mix(v uint64) flow.Hash {
	v ^= v >> 31
	v *= 0x9e3779b97f4a7c15
	v ^= v >> 29
	v *= 0xbf58476d1ce4e5b9
	return flow.Hash(v ^ v>>32)
}

func scratchFS() (vfs.FS, string) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("tmp", 0o700); err != nil {
		panic(fmt.Sprint("batch: ", err))
	}
	return fs, "tmp"
}
