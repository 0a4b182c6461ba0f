//go:build unix

package raft

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockDir refuses a directory that another server has open. Without it the log's library
// would wait for that one's end, without a word.
func lockDir(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("raft: lock %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("raft: %s is in use by another agent: end that one, or give this one a directory of its own: %w", dir, err)
	}
	return f.Close, nil
}
