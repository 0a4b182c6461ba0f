package batch

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// scratch is a directory that is made when it is needed and removed in the end.
type scratch struct {
	fs   vfs.FS
	dir  string
	made bool
	next int
}

// count makes the names of directories differ within a process.
var count atomic.Uint64

func newScratch(fs vfs.FS, parent, what string) scratch {
	if fs == nil {
		fs = vfs.Default
	}
	if parent == "" {
		parent = os.TempDir()
	}
	return scratch{fs: fs, dir: fs.PathJoin(parent, fmt.Sprintf("weir-%s-%d-%d", what, os.Getpid(), count.Add(1)))}
}

// path is the name of a new file.
func (s *scratch) path() (string, error) {
	if !s.made {
		if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
			return "", fmt.Errorf("operator/batch: making the directory %s: %w", s.dir, err)
		}
		s.made = true
	}
	s.next++
	return s.fs.PathJoin(s.dir, fmt.Sprint(s.next)), nil
}

func (s *scratch) remove() error {
	if !s.made {
		return nil
	}
	s.made = false
	if err := s.fs.RemoveAll(s.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("operator/batch: removing %s: %w", s.dir, err)
	}
	return nil
}
