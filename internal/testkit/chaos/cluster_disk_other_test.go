//go:build integration && !linux

package chaos

import (
	"fmt"

	"github.com/weirflow/weir/internal/testkit/netns"
)

// smallDisk says that there are none.
func smallDisk(string) (func() error, error) {
	return nil, fmt.Errorf("%w: small disks are made on Linux", netns.ErrUnsupported)
}
