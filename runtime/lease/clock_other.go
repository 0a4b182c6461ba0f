//go:build !linux

package lease

import "time"

// Clock is the time since the process was started. On systems other than Linux it may
// stand still while the machine is suspended.
func Clock() time.Duration { return time.Since(started) }

var started = time.Now()
