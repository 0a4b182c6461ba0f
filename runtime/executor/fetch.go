package executor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/weirflow/weir/api"
)

// Fetch opens a file that an executor has left in its directory, of at most limit bytes. The file
// is gone when the reader is closed. The name is the caller's: executors, whose code is not the
// agent's, choose nothing of it, and links of theirs lead nowhere else.
func (m *Manager) Fetch(id api.AllocID, name string, limit int64) (_ io.ReadCloser, err error) {
	if err := errors.Join(checkName("allocation", string(id)), checkName("file", name)); err != nil {
		return nil, err
	}
	m.mu.Lock()
	x := m.mu.allocs[id]
	m.mu.Unlock()
	if x == nil || x.first.Alloc.ID != id {
		return nil, fmt.Errorf("executor: %s does not run on this agent", id)
	}
	root, err := os.OpenRoot(m.localDir(x.first.Alloc))
	if err != nil {
		return nil, fmt.Errorf("executor: open the directory of %s: %w", id, err)
	}
	f := &fetched{root: root, name: name}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	// A pipe would hold up whoever opens it otherwise.
	if f.file, err = root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0); err != nil {
		return nil, fmt.Errorf("executor: open %s of %s: %w", name, id, err)
	}
	info, err := f.file.Stat()
	if err != nil {
		return nil, fmt.Errorf("executor: look at %s of %s: %w", name, id, err)
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("executor: %s of %s is no file of at most %d bytes", name, id, limit)
	}
	f.Reader = io.LimitReader(f.file, limit)
	return f, nil
}

// fetched is a file that goes when it was read.
type fetched struct {
	io.Reader
	root *os.Root
	file *os.File // nil while it is not open
	name string
}

// Close removes the file.
func (f *fetched) Close() error {
	var err error
	if f.file != nil {
		err = f.file.Close()
	}
	if rerr := f.root.Remove(f.name); !errors.Is(rerr, os.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return errors.Join(err, f.root.Close())
}

// Jobs are the jobs of all executors that run.
func (m *Manager) Jobs() map[api.AllocID]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[api.AllocID]string{}
	for id, x := range m.mu.allocs {
		if x.status.Load().State == api.AllocRunning {
			all[id] = x.first.Alloc.Job
		}
	}
	return all
}
