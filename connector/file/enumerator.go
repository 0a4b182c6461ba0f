package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/operator"
)

// enumerator lists the source's path and cuts what it finds into splits.
//
// What it remembers of a file is its path, size and time. That is needed for as
// long as the file is in place; a file that is missing from a listing is
// forgotten, so the memory is bounded by what the folder holds, and by MaxFiles.
type enumerator struct {
	path string
	set  settings
	plan planner
	now  func() time.Time

	listed bool // a bounded source has been listed
	seen   map[string]stamp
	// fresh are the files of the last listing that were not old enough to be taken.
	fresh map[string]stamp
}

// planner cuts a file into splits: ranges whose meaning is the format's.
type planner func(fsys fileSystem, f found, set *settings) ([]extent, error)

// extent is a part of a file, and the work in it.
type extent struct{ start, end, work int64 }

// stamp tells two versions of a file apart.
type stamp struct{ size, modTime int64 }

// Discover lists the path.
func (e *enumerator) Discover(ctx context.Context) (operator.Discovery, error) {
	if e.listed && e.set.watch == 0 {
		return operator.Discovery{Done: true}, nil
	}
	files, err := list(ctx, e.set.testing.fs, e.path, e.set.recursive, e.set.maxFiles)
	if err != nil {
		return operator.Discovery{}, external(!errors.Is(err, fs.ErrNotExist), fmt.Errorf("file: %w", err))
	}
	if e.set.watch > 0 {
		return e.watch(ctx, files)
	}
	if len(files) == 0 && hasGlob(e.path) {
		return operator.Discovery{}, external(false, fmt.Errorf("file: no file matches %q; names that begin with '.' or '_' or end in .tmp or .inprogress are left out", e.path))
	}
	d := operator.Discovery{Done: true}
	for _, f := range files {
		if err := e.cut(ctx, &d, f); err != nil {
			return operator.Discovery{}, err
		}
	}
	e.listed = true
	return d, nil
}

// watch takes the files that are new and complete.
func (e *enumerator) watch(ctx context.Context, files []found) (operator.Discovery, error) {
	d := operator.Discovery{After: e.set.watch}
	old := e.now().Add(-e.set.watch).UnixNano()
	here := make(map[string]stamp, len(files))
	fresh := map[string]stamp{}
	var take []found
	for _, f := range files {
		s := stamp{f.size, f.modTime}
		was, known := e.seen[f.path]
		switch {
		case known && was != s && !e.set.ignoreChanged:
			return d, external(false, fmt.Errorf("file: %w: %s had %d bytes when it was found and has %d now; a watched file is read once: write what is new under a new name, or set IgnoreChanged to leave it out",
				ErrChanged, f.path, was.size, f.size))
		case known:
			here[f.path] = was
		case f.size == 0:
			// It holds nothing yet; what is written later makes it a file to take.
		case s.modTime <= old || settled(e.fresh, f.path, s):
			take = append(take, f)
			here[f.path] = s
		default:
			fresh[f.path] = s
		}
	}
	slices.SortStableFunc(take, func(a, b found) int { return cmp.Compare(a.modTime, b.modTime) })
	for _, f := range take {
		if err := e.cut(ctx, &d, f); err != nil {
			return operator.Discovery{}, err
		}
	}
	e.seen, e.fresh = here, fresh
	return d, nil
}

func settled(fresh map[string]stamp, path string, s stamp) bool {
	was, ok := fresh[path]
	return ok && was == s
}

// cut adds the splits of f to d.
func (e *enumerator) cut(ctx context.Context, d *operator.Discovery, f found) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.size == 0 {
		return nil
	}
	parts, err := e.plan(e.set.testing.fs, f, &e.set)
	if err != nil {
		return err
	}
	for _, p := range parts {
		data := splitData{Path: f.path, Start: p.start, End: p.end, Size: f.size, ModTime: f.modTime, Work: p.work}
		id := f.path + ":" + strconv.FormatInt(p.start, 10) + "-" + strconv.FormatInt(p.end, 10)
		if e.set.watch > 0 {
			// A file that takes a removed one's name is another.
			id += "@" + strconv.FormatInt(f.modTime, 36)
		}
		s, err := data.split(id)
		if err != nil {
			return err
		}
		d.Splits = append(d.Splits, s)
	}
	return nil
}

// planBytes cuts files of lines. The last split takes the rest, so that no split
// is much smaller than the others.
func planBytes(fsys fileSystem, f found, set *settings) ([]extent, error) {
	n := f.size / set.splitSize
	if n > 1 {
		c, err := codecOf(fsys, f.path)
		if err != nil {
			return nil, err
		}
		if c != plain {
			n = 1
		}
	}
	return even(f.size, max(n, 1)), nil
}

// planWhole does not cut.
func planWhole(_ fileSystem, f found, _ *settings) ([]extent, error) { return even(f.size, 1), nil }

func even(size, n int64) []extent {
	parts := make([]extent, 0, n)
	each := size / n
	for i := range n {
		p := extent{start: i * each, end: (i + 1) * each}
		if i == n-1 {
			p.end = size
		}
		p.work = p.end - p.start
		parts = append(parts, p)
	}
	return parts
}

func codecOf(fsys fileSystem, path string) (codec, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return plain, external(true, fmt.Errorf("file: opening %s to see how it is compressed: %w", path, err))
	}
	c, err := sniff(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return plain, external(true, fmt.Errorf("file: reading the beginning of %s: %w", path, err))
	}
	return c, nil
}

// Finished does nothing: what was found is remembered, not what was read.
func (e *enumerator) Finished([]string) {}

// listing is the enumerator's snapshot: msgpack, packed with zstd.
type listing struct {
	Listed bool         `msgpack:"listed"`
	Files  []listedFile `msgpack:"files"` // sorted by path
}

type listedFile struct {
	_msgpack struct{} `msgpack:",as_array"` //nolint:unused // read by msgpack: fields in order, no names
	Path     string
	Size     int64
	ModTime  int64
}

// Snapshot says what was discovered.
func (e *enumerator) Snapshot() ([]byte, error) {
	l := listing{Listed: e.listed, Files: make([]listedFile, 0, len(e.seen))}
	for path, s := range e.seen {
		l.Files = append(l.Files, listedFile{Path: path, Size: s.size, ModTime: s.modTime})
	}
	slices.SortFunc(l.Files, func(a, b listedFile) int { return strings.Compare(a.Path, b.Path) })
	b, err := msgpack.Marshal(&l)
	if err != nil {
		return nil, fmt.Errorf("file: encoding the listing of %q: %w", e.path, err)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("file: packing the listing of %q: %w", e.path, err)
	}
	return z.EncodeAll(b, nil), z.Close()
}

// maxListing bounds what Restore unpacks: a million files with paths of 200 bytes
// are well below it.
const maxListing = 1 << 30

// Restore takes up what Snapshot said.
func (e *enumerator) Restore(data []byte) error {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxListing))
	if err != nil {
		return fmt.Errorf("file: unpacking the listing of %q: %w", e.path, err)
	}
	defer z.Close()
	b, err := z.DecodeAll(data, nil)
	if err != nil {
		return fmt.Errorf("file: the saved listing of %q cannot be unpacked: %w", e.path, err)
	}
	var l listing
	if err := msgpack.Unmarshal(b, &l); err != nil {
		return fmt.Errorf("file: the saved listing of %q cannot be read: %w", e.path, err)
	}
	e.listed, e.seen = l.Listed, make(map[string]stamp, len(l.Files))
	for _, f := range l.Files {
		e.seen[f.Path] = stamp{f.Size, f.ModTime}
	}
	return nil
}

// Close does nothing: files are open only during Discover.
func (e *enumerator) Close() error { return nil }
