//go:build unix

package main

import (
	"os"
	"syscall"
)

// lock waits until no other process holds f. The lock ends when f is closed, and
// it is when the process becomes another.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }
