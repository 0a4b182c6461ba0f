package wire

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// unanswered limits how long bytes that were sent may wait for their acknowledgement:
// keepAlive asks only where nothing is under way, and without a limit the kernel sends
// again for a quarter of an hour, while the job stands.
func unanswered(c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(patience().Milliseconds()))
	}); cerr != nil {
		return cerr
	}
	return err
}
