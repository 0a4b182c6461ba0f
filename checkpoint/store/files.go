package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/checkpoint"
)

// Files gives stored files back.
//
// What is read is checked against length and sum while it is read. Fetch links files
// where storage is on the same disk, and reading ten gigabytes to check a link would
// take longer than the restart may. So of a linked file the length is always checked,
// and the sum as well, except where the file is 1 MiB or more and was not written to
// since a manifest that the Job has read or committed: then its bytes are those whose
// sum was taken. Bits that rot on a disk without a write are found by the sums that an
// LSM tree keeps in each block of its files, when the block is read, and by
// [Job.Verify].
type Files struct {
	names  []string
	byName map[string]checkpoint.File
	where  func(blob string) (st Storage, key string, err error)
	fs     vfs.FS
	// trusted is the newest time at which files were as they should be.
	trusted func() time.Time
}

// alwaysSummed is below which a linked file is read at once.
const alwaysSummed = 1 << 20

// Files gives back files that manifests of the job name, also those of a savepoint that
// [LoadSavepoint] has read.
func (j *Job) Files(files []checkpoint.File) *Files {
	return newFiles(files, j.where, j.opts.FS, func() time.Time {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.mu.trusted
	})
}

// FilesIn gives back files out of st: those of a savepoint, with the storage that
// [LoadSavepoint] returned. All sums are checked.
func FilesIn(st Storage, files []checkpoint.File) *Files {
	st = Retry(st, RetryPolicy{})
	return newFiles(files, func(blob string) (Storage, string, error) {
		return st, blob[strings.LastIndexByte(blob, '#')+1:], nil
	}, vfs.Default, func() time.Time { return time.Time{} })
}

func newFiles(files []checkpoint.File, where func(string) (Storage, string, error), fs vfs.FS, trusted func() time.Time) *Files {
	f := &Files{byName: make(map[string]checkpoint.File, len(files)), where: where, fs: fs, trusted: trusted}
	for _, file := range files {
		f.names = append(f.names, file.Name)
		f.byName[file.Name] = file
	}
	return f
}

// where finds the storage and key of a blob: the job's own, or, for "URL#key", another.
func (j *Job) where(blob string) (Storage, string, error) {
	i := strings.LastIndexByte(blob, '#')
	if i < 0 {
		return j.st, blob, nil
	}
	location, key := blob[:i], blob[i+1:]
	j.mu.Lock()
	defer j.mu.Unlock()
	st := j.mu.foreign[location]
	if st == nil {
		opened, err := Open(context.Background(), location)
		if err != nil {
			return nil, "", err
		}
		st = Retry(opened, j.opts.Retry)
		if j.mu.foreign == nil {
			j.mu.foreign = map[string]Storage{}
		}
		j.mu.foreign[location] = st
	}
	return st, key, nil
}

// Names are those of the files, in their order.
func (f *Files) Names() []string { return f.names }

func (f *Files) find(name string) (checkpoint.File, Storage, string, error) {
	file, ok := f.byName[name]
	if !ok {
		return file, nil, "", fmt.Errorf("%w: the snapshot has no file %q", ErrNotFound, name)
	}
	st, key, err := f.where(file.Blob)
	return file, st, key, err
}

// lost makes an error that says which file is gone.
func lost(file checkpoint.File, err error) error {
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("store: file %s of a checkpoint is gone from storage: %w", file.Name, err)
	}
	return err
}

// Open reads a file. In place of io.EOF there is an error when its bytes are not those
// that were stored; it wraps checkpoint.ErrCorrupt.
func (f *Files) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	file, st, key, err := f.find(name)
	if err != nil {
		return nil, err
	}
	r, err := st.Get(ctx, key)
	if err != nil {
		return nil, lost(file, err)
	}
	return verify(file, r), nil
}

// Fetch puts a file at path, which does not exist. It must not be written to: it may be
// a link to what is stored.
func (f *Files) Fetch(ctx context.Context, name, path string) error {
	file, st, key, err := f.find(name)
	if err != nil {
		return err
	}
	info, err := Info{}, errors.ErrUnsupported
	if s, ok := st.(Stamper); ok {
		info, err = s.Stat(ctx, key)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		r, err := f.Open(ctx, name)
		if err != nil {
			return err
		}
		return WriteFile(f.fs, path, r)
	}
	if err != nil {
		return lost(file, err)
	}
	if info.Size != file.Size {
		return fmt.Errorf("%w: %s (%s) has %d bytes and not %d", checkpoint.ErrCorrupt, name, file.Blob, info.Size, file.Size)
	}
	if err := st.Fetch(ctx, key, path); err != nil {
		return lost(file, err)
	}
	if file.Size >= alwaysSummed && !info.Modified.After(f.trusted()) {
		return nil
	}
	size, crc, err := sumFile(ctx, f.fs, path)
	if err == nil && (size != file.Size || crc != file.CRC) {
		err = fmt.Errorf("%w: %s (%s) has %d bytes with the sum %08x and not %d with %08x", checkpoint.ErrCorrupt,
			name, file.Blob, size, crc, file.Size, file.CRC)
	}
	if err != nil {
		_ = f.fs.Remove(path) // It is of no use to anybody; the error says why.
	}
	return err
}
