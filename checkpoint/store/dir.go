package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// temporary is the folder of files that are being written, below the root: in the same
// file system, and with a name that no key has.
const temporary = ".tmp"

// Dir is a storage in a directory. Files are whole or not there: they are written
// aside, synced, and renamed or linked into place, and the folder is synced before
// that is acknowledged.
type Dir struct {
	fs   vfs.FS
	root string
	sync dirSyncs
	next atomic.Uint64
	own  string // begins the names of this process's temporary files
}

// OpenDir opens the storage in a directory, which the first write makes if it is not
// there. What processes that are gone have left half written is removed.
func OpenDir(fs vfs.FS, root string) (*Dir, error) {
	d := &Dir{fs: fs, root: root, own: ownPrefix()}
	d.sync.fs = fs
	switch info, err := fs.Stat(root); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("store: open directory %s: %w", root, err)
	case !info.IsDir():
		return nil, fmt.Errorf("store: open directory %s: it is a file", root)
	default:
		d.sync.have(root)
		d.removeLeftovers()
	}
	return d, nil
}

// String is the root.
func (d *Dir) String() string { return d.root }

func (d *Dir) path(key string) string {
	return d.fs.PathJoin(append([]string{d.root}, strings.Split(key, "/")...)...)
}

// Put implements [Storage].
func (d *Dir) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	w, err := d.create()
	if err != nil {
		return fmt.Errorf("store: put %s: %w", key, err)
	}
	defer w.drop()
	n, err := copyAll(w, withContext(ctx, r))
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes were read and %d announced", n, size)
	}
	if err == nil {
		err = w.publish(key)
	}
	if err != nil {
		return fmt.Errorf("store: put %s: %w", key, err)
	}
	return nil
}

// PutFile implements [Storage].
func (d *Dir) PutFile(ctx context.Context, key, path string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	finish, err := d.adopt(key, path)
	if err == nil {
		return finish()
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	f, err := d.fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return fmt.Errorf("store: put %s: %w", key, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("store: put %s: %w", key, err)
	}
	return d.Put(ctx, key, f, info.Size())
}

// adopt links a file to a key. Where it cannot be linked, since it is on another file
// system or on one without links, the error is errors.ErrUnsupported.
func (d *Dir) adopt(key, path string) (finish func() error, err error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	if _, err := d.fs.Stat(path); err != nil {
		return nil, fmt.Errorf("store: put %s: %w", key, err)
	}
	target := d.path(key)
	err = d.inDir(target, func() error {
		err := d.fs.Link(path, target)
		if errors.Is(err, os.ErrExist) {
			// An earlier try, whose answer was lost or who had to give up half-way.
			if err = d.fs.Remove(target); err == nil {
				err = d.fs.Link(path, target)
			}
		}
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("store: put %s: %w", key, err)
	}
	if err != nil {
		return nil, fmt.Errorf("store: link %s to %s: %w: %w", path, target, errors.ErrUnsupported, err)
	}
	return func() error {
		err := d.syncFile(target)
		if err == nil {
			err = d.sync.of(d.fs.PathDir(target))
		}
		if err != nil {
			return fmt.Errorf("store: put %s: %w", key, err)
		}
		return nil
	}, nil
}

func (d *Dir) syncFile(path string) error {
	f, err := d.fs.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// PutIfAbsent implements [Storage].
func (d *Dir) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	w, err := d.create()
	if err != nil {
		return fmt.Errorf("store: put %s: %w", key, err)
	}
	defer w.drop()
	if _, err = w.Write(data); err == nil {
		err = w.finish()
	}
	target := d.path(key)
	if err == nil {
		err = d.inDir(target, func() error { return d.fs.Link(w.path, target) })
	}
	exists := errors.Is(err, os.ErrExist)
	if err == nil || exists {
		// Where it exists as well: what a caller may now rely on has to be safe, even if the
		// one who put it there could not sync the folder.
		if serr := d.sync.of(d.fs.PathDir(target)); serr != nil {
			err, exists = serr, false
		}
	}
	switch {
	case exists:
		return fmt.Errorf("%w: %s", ErrExists, key)
	case err != nil:
		return fmt.Errorf("store: put %s: %w", key, err)
	}
	return nil
}

// inDir makes the folder of target and calls do. Since empty folders are removed
// by Delete, it may take some tries.
func (d *Dir) inDir(target string, do func() error) error {
	for try := 0; ; try++ {
		if err := d.sync.makeDir(d.fs.PathDir(target)); err != nil {
			return err
		}
		err := do()
		if try == 3 || !errors.Is(err, os.ErrNotExist) {
			return err
		}
		d.sync.forget()
	}
}

// Get implements [Storage].
func (d *Dir) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	f, err := d.fs.Open(d.path(key), vfs.SequentialReadsOption)
	if err != nil {
		return nil, d.missing("get", key, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{withContext(ctx, f), f}, nil
}

// missing tells a key that is not there from other errors.
func (d *Dir) missing(op, key string, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s in %s", ErrNotFound, key, d.root)
	}
	return fmt.Errorf("store: %s %s: %w", op, key, err)
}

// Stat implements [Stamper].
func (d *Dir) Stat(_ context.Context, key string) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, err
	}
	info, err := d.fs.Stat(d.path(key))
	if err != nil {
		return Info{}, d.missing("look at", key, err)
	}
	return Info{key, info.Size(), info.ModTime()}, nil
}

// Fetch implements [Storage].
func (d *Dir) Fetch(ctx context.Context, key, path string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	err := d.fs.Link(d.path(key), path)
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("store: fetch %s: %w", key, err)
	}
	r, err := d.Get(ctx, key)
	if err != nil {
		return err
	}
	return WriteFile(d.fs, path, r)
}

// List implements [Storage].
func (d *Dir) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		dir := ""
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			dir = prefix[:i]
		}
		if dir != "" && CheckKey(dir) != nil {
			return
		}
		d.walk(ctx, dir, prefix, yield)
	}
}

// walk lists one folder and those in it. It returns false when yield wants no more.
func (d *Dir) walk(ctx context.Context, dir, prefix string, yield func(Info, error) bool) bool {
	if err := context.Cause(ctx); err != nil {
		yield(Info{}, err)
		return false
	}
	at := d.root
	if dir != "" {
		at = d.path(dir)
		dir += "/"
	}
	names, err := d.fs.List(at)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return true
	}
	if err != nil {
		yield(Info{}, fmt.Errorf("store: list %s: %w", at, err))
		return false
	}
	infos := make([]Info, 0, len(names)) // folders end in a slash, to be in the order of keys
	for _, name := range names {
		name = strings.TrimSuffix(name, "/")
		key := dir + name
		if CheckKey(key) != nil || !strings.HasPrefix(key, prefix) && !strings.HasPrefix(prefix, key+"/") {
			continue
		}
		info, err := d.fs.Stat(d.fs.PathJoin(at, name))
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			yield(Info{}, fmt.Errorf("store: list %s: %w", at, err))
			return false
		case info.IsDir():
			infos = append(infos, Info{Key: key + "/"})
		default:
			infos = append(infos, Info{key, info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.Key, b.Key) })
	for _, info := range infos {
		if sub, ok := strings.CutSuffix(info.Key, "/"); ok {
			if !d.walk(ctx, sub, prefix, yield) {
				return false
			}
		} else if strings.HasPrefix(info.Key, prefix) && !yield(info, nil) {
			return false
		}
	}
	return true
}

// Delete implements [Storage]. Folders that become empty go as well.
func (d *Dir) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := d.fs.Remove(d.path(key)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("store: delete %s: %w", key, err)
	}
	for {
		i := strings.LastIndexByte(key, '/')
		if i < 0 {
			return nil
		}
		key = key[:i]
		if d.fs.Remove(d.path(key)) != nil {
			return nil // Not empty, most often.
		}
		d.sync.forget()
	}
}

// Close implements [Storage].
func (d *Dir) Close() error { return nil }
