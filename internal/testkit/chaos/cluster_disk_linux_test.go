//go:build integration

package chaos

import (
	"fmt"
	"os"
	"syscall"

	"github.com/weirflow/weir/internal/testkit/netns"
)

// smallSize is the size of a small disk: room for the program, raft's log, and some state.
const smallSize = "192m"

// smallDisk makes a file system in memory at a directory. The function that it returns
// removes it.
func smallDisk(dir string) (func() error, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: small disks want root", netns.ErrUnsupported)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size="+smallSize); err != nil {
		return nil, fmt.Errorf("%w: a small disk: %w", netns.ErrUnsupported, err)
	}
	return func() error { return syscall.Unmount(dir, 0) }, nil
}
