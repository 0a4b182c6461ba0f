package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/checkpoint"
)

// creator is implemented by storages on this disk: what is written need not be
// copied once more.
type creator interface {
	createBlob(key string) (blobWriter, error)
}

// blobWriter writes one blob, of a length that is not known before.
type blobWriter interface {
	io.Writer
	// commit makes the blob safe under its key.
	commit(ctx context.Context) error
	// drop lets go of what was not committed. It may be called after commit.
	drop()
}

// newBlob is a writer for a blob in j's storage.
func (j *Job) newBlob(key string) (blobWriter, error) {
	if c, ok := j.st.(creator); ok {
		w, err := c.createBlob(key)
		if !errors.Is(err, errors.ErrUnsupported) {
			return w, err
		}
	}
	return &spooled{j: j, key: key}, nil
}

func (r *retrying) createBlob(key string) (blobWriter, error) {
	if c, ok := r.Storage.(creator); ok {
		return c.createBlob(key)
	}
	return nil, errors.ErrUnsupported
}

func (d *Dir) createBlob(key string) (blobWriter, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	w, err := d.create()
	if err != nil {
		return nil, fmt.Errorf("store: create %s: %w", key, err)
	}
	return &dirBlob{w, key}, nil
}

type dirBlob struct {
	*dirFile
	key string
}

func (b *dirBlob) commit(context.Context) error {
	if err := b.publish(b.key); err != nil {
		return fmt.Errorf("store: put %s: %w", b.key, err)
	}
	return nil
}

// spoolMemory is how much of a blob is kept in memory before a file is begun.
const spoolMemory = 1 << 20

// spooled keeps a blob until its length is known and it can be sent, more than once if
// need be.
type spooled struct {
	j    *Job
	key  string
	buf  bytes.Buffer
	path string
	file vfs.File
	size int64
}

func (s *spooled) Write(p []byte) (int, error) {
	if s.file == nil && s.buf.Len()+len(p) <= spoolMemory {
		s.size += int64(len(p))
		return s.buf.Write(p)
	}
	if s.file == nil {
		fs, dir := s.j.opts.FS, s.j.opts.Spool
		if dir == "" {
			dir = os.TempDir()
		}
		if err := fs.MkdirAll(dir, 0o777); err != nil {
			return 0, fmt.Errorf("store: spool: %w", err)
		}
		path := fs.PathJoin(dir, "weir-spool-"+strconv.FormatUint(rand.Uint64(), 36))
		f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			return 0, fmt.Errorf("store: spool: %w", err)
		}
		s.path, s.file = path, f
		if _, err := f.Write(s.buf.Bytes()); err != nil {
			return 0, fmt.Errorf("store: spool: %w", err)
		}
		s.buf = bytes.Buffer{}
	}
	n, err := s.file.Write(unshared(s.j.opts.FS, p))
	s.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("store: spool: %w", err)
	}
	return n, nil
}

func (s *spooled) commit(ctx context.Context) error {
	if s.file == nil {
		return s.j.st.Put(ctx, s.key, bytes.NewReader(s.buf.Bytes()), s.size)
	}
	return s.j.st.Put(ctx, s.key, io.NewSectionReader(s.file, 0, s.size), s.size)
}

func (s *spooled) drop() {
	if s.file == nil {
		return
	}
	_ = s.file.Close() // What counts was sent.
	_ = s.j.opts.FS.Remove(s.path)
	s.file = nil
}

// unshared is p, or a copy where the file system may change what it is given to write:
// vfs allows that, io.Writer does not.
func unshared(fs vfs.FS, p []byte) []byte {
	if fs == vfs.Default {
		return p
	}
	return bytes.Clone(p)
}

// summed notes what goes through it to a blob.
type summed struct {
	blobWriter
	size int64
	crc  uint32
}

func (w *summed) Write(p []byte) (int, error) {
	// In front of the write: after a part of one the blob is given up anyway.
	w.crc = crc32.Update(w.crc, castagnoli, p)
	n, err := w.blobWriter.Write(p)
	w.size += int64(n)
	return n, err
}

func (w *summed) file(name, key string) checkpoint.File {
	return checkpoint.File{Name: name, Blob: key, Size: w.size, CRC: w.crc}
}
