package file

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// fileSystem is what the connector needs of a file system. It is small so that
// tests can put one in its place that fails, or loses what was not synced.
type fileSystem interface {
	Open(name string) (inFile, error)
	// Create makes a new file; it is an error if there is one already.
	Create(name string) (outFile, error)
	Rename(from, to string) error
	Remove(name string) error
	Stat(name string) (fs.FileInfo, error)
	// List returns the names in a folder, in any order.
	List(dir string) ([]string, error)
	// MkdirAll makes a folder and those above it.
	MkdirAll(dir string) error
	// SyncDir makes the names in a folder survive a power cut.
	SyncDir(dir string) error
}

// inFile is a file open for reading.
type inFile interface {
	io.Reader
	io.ReaderAt
	io.Seeker
	io.Closer
	Stat() (fs.FileInfo, error)
}

// outFile is a file open for writing.
type outFile interface {
	io.Writer
	io.Closer
	Sync() error
}

// osFS is the operating system's.
type osFS struct{}

func (osFS) Open(name string) (inFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osFS) Create(name string) (outFile, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osFS) Rename(from, to string) error          { return os.Rename(from, to) }
func (osFS) Remove(name string) error              { return os.Remove(name) }
func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }
func (osFS) MkdirAll(dir string) error             { return os.MkdirAll(dir, 0o777) }

func (osFS) List(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	return names, errors.Join(err, d.Close())
}

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// syncUp syncs dir and the folders above it: any of them may be new, and then its
// name is kept in the one above. Those in done have been synced before. Above root
// a folder that may not be opened is passed over; it is not ours.
func syncUp(fsys fileSystem, dir, root string, done map[string]bool) error {
	for {
		if !done[dir] {
			err := fsys.SyncDir(dir)
			if err != nil && !(errors.Is(err, fs.ErrPermission) && len(dir) < len(root)) {
				return err
			}
			done[dir] = true
		}
		up := filepath.Dir(dir)
		if up == dir {
			return nil
		}
		dir = up
	}
}
