package spill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/shuffle"
)

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// contents is what a file's ends say.
type contents struct {
	head  *header
	start []byte // the header as it is stored, with the magic
	index *index
	size  int64
	count shuffle.Count
}

func (x *contents) summary() Summary {
	return Summary{ID: x.head.ID, Partitions: x.index.parts, Count: x.count, FileBytes: x.size}
}

// maxHeader is the largest header, which is mostly a schema.
const maxHeader = 1 << 20

// openContents opens a file and reads header, footer and index.
func openContents(fs vfs.FS, path string) (vfs.File, *contents, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("shuffle/spill: opening it: %w", err)
	}
	x, err := readContents(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, x, nil
}

func readContents(f vfs.File) (*contents, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("shuffle/spill: its size: %w", err)
	}
	x := &contents{size: info.Size()}
	if x.size < footerSize+int64(len(magic)) {
		return nil, fmt.Errorf("%w: it has %d bytes: it was not written to the end", ErrCorrupt, x.size)
	}
	var foot [footerSize]byte
	if err := readAt(f, foot[:], x.size-footerSize); err != nil {
		return nil, err
	}
	indexAt, count, err := parseFooter(foot[:], x.size)
	if err != nil {
		return nil, err
	}
	x.count = count
	blocks, head, err := readHeader(io.NewSectionReader(f, 0, min(maxHeader, indexAt)))
	if err != nil {
		return nil, err
	}
	x.head = head
	x.start = make([]byte, blocks.Offset())
	if err := readAt(f, x.start, 0); err != nil {
		return nil, err
	}
	tail := NewBlockReader(io.NewSectionReader(f, indexAt, x.size-footerSize-indexAt))
	body, _, err := tail.Next()
	if err != nil {
		return nil, fmt.Errorf("the index: %w", err)
	}
	if rest := x.size - footerSize - indexAt - tail.Offset(); rest != 0 {
		return nil, fmt.Errorf("%w: %d bytes between index and footer", ErrCorrupt, rest)
	}
	if x.index, err = parseIndex(body, int64(len(x.start)), indexAt); err != nil {
		return nil, err
	}
	if len(x.index.parts) != head.Partitions || x.index.total() != count {
		return nil, fmt.Errorf("%w: header and footer have %d sub-partitions with %v, the index has %d with %v",
			ErrCorrupt, head.Partitions, count, len(x.index.parts), x.index.total())
	}
	return x, nil
}

func readAt(f io.ReaderAt, p []byte, at int64) error {
	n, err := f.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %d bytes at byte %d, and %d are there", ErrCorrupt, len(p), at, n)
	}
	return fmt.Errorf("shuffle/spill: reading %d bytes at byte %d: %w", len(p), at, err)
}

// OpenRange opens a range of a finished output as a stream of bytes: header, blocks,
// and an end with the number of records. The sums in it are for the reader to check.
// What is removed meanwhile can be read on.
func (s *Store) OpenRange(ctx context.Context, id ID, r Range) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	sum, ok := s.mu.done[id]
	newest := s.mu.newest[id.line()]
	s.mu.Unlock()
	switch {
	case newest > id.Attempt:
		return nil, fmt.Errorf("%w: %s: there is attempt %d", ErrStale, id, newest)
	case !ok:
		return nil, fmt.Errorf("%w: %s", ErrUnknown, id)
	case r.First < 0 || r.End > len(sum.Partitions) || r.First >= r.End:
		return nil, fmt.Errorf("shuffle/spill: %s: sub-partitions %s of %d", id, r, len(sum.Partitions))
	}
	return OpenFile(ctx, s.fs, s.path(id), sum, r)
}

// OpenFile is OpenRange for a file that is in no store, given its summary.
func OpenFile(ctx context.Context, fs vfs.FS, path string, sum Summary, r Range) (io.ReadCloser, error) {
	f, x, err := openContents(fs, path)
	if err != nil {
		return nil, fmt.Errorf("shuffle/spill: %s: %w", sum.ID, err)
	}
	if got := x.summary(); got.ID != sum.ID || got.Count != sum.Count || got.FileBytes != sum.FileBytes {
		return nil, errors.Join(fmt.Errorf("%w: %s: the file is not the one that was written: %d records of %s", ErrCorrupt, sum.ID, got.Records, got.ID), f.Close())
	}
	parts := []io.Reader{bytes.NewReader(x.start)}
	for _, e := range x.index.extents(r) {
		parts = append(parts, io.NewSectionReader(f, e.offset, e.length))
	}
	count := sum.Range(r)
	parts = append(parts, bytes.NewReader(AppendEnd(nil, count.Records)))
	return &stream{io.MultiReader(parts...), ctx, f}, nil
}

// stream ends with its context.
type stream struct {
	io.Reader
	ctx  context.Context
	file vfs.File
}

func (s *stream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Reader.Read(p)
}

func (s *stream) Close() error { return s.file.Close() }
