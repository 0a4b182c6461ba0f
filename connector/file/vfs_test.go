package file

import (
	"errors"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleFS lets the connector run on Pebble's file systems, which can fail and
// lose what was not synced.
type pebbleFS struct{ vfs.FS }

func (p pebbleFS) Open(name string) (inFile, error) {
	f, err := p.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &pebbleFile{File: f}, nil
}

// pebbleFile adds Seek, by means of ReadAt.
type pebbleFile struct {
	vfs.File
	at int64
}

func (f *pebbleFile) Read(b []byte) (int, error) {
	n, err := f.ReadAt(b, f.at)
	f.at += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *pebbleFile) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
		f.at = off
	case io.SeekCurrent:
		f.at += off
	case io.SeekEnd:
		info, err := f.File.Stat()
		if err != nil {
			return 0, err
		}
		f.at = info.Size() + off
	}
	return f.at, nil
}

func (f *pebbleFile) Stat() (fs.FileInfo, error) { return f.File.Stat() }

func (p pebbleFS) Create(name string) (outFile, error) {
	if _, err := p.FS.Stat(name); err == nil {
		return nil, fs.ErrExist
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := p.FS.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (p pebbleFS) Stat(name string) (fs.FileInfo, error) { return p.FS.Stat(name) }

func (p pebbleFS) MkdirAll(dir string) error { return p.FS.MkdirAll(dir, 0o777) }

func (p pebbleFS) SyncDir(dir string) error {
	d, err := p.FS.OpenDir(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return err
	}
	return d.Close()
}

func sinkFS(f vfs.FS) SinkOption { return func(s *sinkSettings) { s.testing.fs = pebbleFS{f} } }
