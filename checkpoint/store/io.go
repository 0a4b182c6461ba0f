package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/checkpoint"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// copySize is large because most bytes go through here once, in order.
const copySize = 256 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// copyAll is io.Copy with a large buffer that is used again, and nothing else: files
// would copy in ways that skip what looks at the bytes.
func copyAll(w io.Writer, r io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[copySize]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, buf[:])
}

// contextReader ends a stream of reads with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func withContext(ctx context.Context, r io.Reader) io.Reader { return &contextReader{ctx, r} }

func (r *contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// verifier passes bytes through and gives an error in place of io.EOF when they
// are not those of the file.
type verifier struct {
	file checkpoint.File
	r    io.ReadCloser
	n    int64
	crc  uint32
	err  error
}

// verify makes r, which it owns, give the bytes of file or an error.
func verify(file checkpoint.File, r io.ReadCloser) io.ReadCloser { return &verifier{file: file, r: r} }

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(p)
	v.n += int64(n)
	v.crc = crc32.Update(v.crc, castagnoli, p[:n])
	switch {
	case v.n > v.file.Size:
		v.err = fmt.Errorf("%w: %s (%s) is longer than %d bytes", checkpoint.ErrCorrupt, v.file.Name, v.file.Blob, v.file.Size)
		return 0, v.err
	case errors.Is(err, io.EOF) && v.n < v.file.Size:
		err = fmt.Errorf("%w: %s (%s) has %d bytes and not %d", checkpoint.ErrCorrupt, v.file.Name, v.file.Blob, v.n, v.file.Size)
	case errors.Is(err, io.EOF) && v.crc != v.file.CRC:
		err = fmt.Errorf("%w: %s (%s) has the sum %08x and not %08x", checkpoint.ErrCorrupt, v.file.Name, v.file.Blob, v.crc, v.file.CRC)
	}
	v.err = err
	return n, err
}

func (v *verifier) Close() error { return v.r.Close() }

// sumFile reads a file of the local disk for its length and sum.
func sumFile(ctx context.Context, fs vfs.FS, path string) (size int64, crc uint32, err error) {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	sum := crc32.New(castagnoli)
	size, err = copyAll(sum, withContext(ctx, f))
	return size, sum.Sum32(), err
}

// WriteFile is for implementations of Fetch. It makes a file out of r, which it closes, and removes it after an error.
func WriteFile(fs vfs.FS, path string, r io.ReadCloser) (err error) {
	defer r.Close()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("store: fetch: %w", err)
	}
	_, err = copyAll(f, r)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = fs.Remove(path) // The first error is the one to tell.
		return fmt.Errorf("store: fetch %s: %w", path, err)
	}
	return nil
}
