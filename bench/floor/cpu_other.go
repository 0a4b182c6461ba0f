//go:build !unix

package floor

import "time"

// cpuTime can't be read here.
func cpuTime() time.Duration { return 0 }
