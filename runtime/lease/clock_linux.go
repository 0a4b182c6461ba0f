package lease

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock is the time since the machine was started. Unlike the monotonic clock of package
// time it goes on while the machine is suspended, and unlike the wall clock nobody
// can set it. What stops a virtual machine with its clocks is seen by nobody inside;
// that is what attempt numbers are for.
func Clock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Since(started) // kernels since 2.6.39 have it
	}
	return time.Duration(ts.Nano())
}

var started = time.Now()
