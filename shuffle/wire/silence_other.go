//go:build !linux

package wire

import "syscall"

// unanswered is as the system has it.
func unanswered(syscall.RawConn) error { return nil }
