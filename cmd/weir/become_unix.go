//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"
)

// become replaces this process by the program. Compared with a child process,
// that leaves nothing to forward: a Ctrl-C at the terminal reaches the program
// once, job control and the exit code are its own.
func become(path string, args []string) error {
	err := syscall.Exec(path, append([]string{path}, args...), os.Environ())
	return fmt.Errorf("starting %s: %w", path, err)
}
