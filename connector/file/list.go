package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// found is a file of a listing.
type found struct {
	path    string
	size    int64
	modTime int64 // Unix nanoseconds
}

// unfinished reports whether a name says that its file is not complete.
func unfinished(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") ||
		strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".inprogress")
}

func hasGlob(path string) bool { return strings.ContainsAny(path, `*?[`) }

// list returns the files that path names, sorted by path. Files that vanish during
// the listing are left out.
func list(ctx context.Context, fsys fileSystem, path string, recursive bool, limit int) ([]found, error) {
	l := lister{ctx: ctx, fs: fsys, recursive: recursive, limit: limit, path: path}
	var err error
	switch info, serr := fsys.Stat(path); {
	case serr == nil && info.IsDir():
		err = l.dir(path)
	case serr == nil:
		err = l.add(path, info)
	case errors.Is(serr, fs.ErrNotExist) && hasGlob(path):
		err = l.glob(path)
	default:
		err = fmt.Errorf("listing %q: %w", path, serr)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(l.files, func(a, b found) int { return strings.Compare(a.path, b.path) })
	return l.files, nil
}

type lister struct {
	ctx       context.Context
	fs        fileSystem
	recursive bool
	limit     int
	path      string
	files     []found
}

func (l *lister) add(path string, info fs.FileInfo) error {
	if len(l.files) == l.limit {
		return fmt.Errorf("%q has more than %d files, the limit of MaxFiles: move away files that have been read, or raise it", l.path, l.limit)
	}
	l.files = append(l.files, found{path: path, size: info.Size(), modTime: info.ModTime().UnixNano()})
	return nil
}

// dir adds the files of a folder.
func (l *lister) dir(dir string) error {
	names, err := l.fs.List(dir)
	if err != nil {
		return fmt.Errorf("listing %q: %w", dir, err)
	}
	for _, name := range names {
		if err := l.entry(filepath.Join(dir, name), l.recursive); err != nil {
			return err
		}
	}
	return nil
}

// entry adds a file, or the files of a folder if deep.
func (l *lister) entry(path string, deep bool) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	if unfinished(filepath.Base(path)) {
		return nil
	}
	info, err := l.fs.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil
	case err != nil:
		return fmt.Errorf("listing %q: %w", path, err)
	case info.IsDir() && deep:
		return l.dir(path)
	case info.Mode().IsRegular():
		return l.add(path, info)
	}
	return nil
}

// glob adds what matches a pattern; each element of it matches within one folder.
func (l *lister) glob(pattern string) error {
	root := "."
	rest := filepath.ToSlash(pattern)
	if filepath.IsAbs(pattern) {
		root, rest = "/", strings.TrimLeft(rest, "/")
	}
	return l.match(root, strings.Split(rest, "/"))
}

func (l *lister) match(dir string, elems []string) error {
	elem, rest := elems[0], elems[1:]
	if elem == "" && len(rest) > 0 {
		return l.match(dir, rest)
	}
	if _, err := filepath.Match(elem, ""); err != nil {
		return fmt.Errorf("the pattern %q cannot be read at %q: %w", l.path, elem, err)
	}
	names := []string{elem}
	if hasGlob(elem) {
		var err error
		if names, err = l.fs.List(dir); err != nil {
			// A name matched that is not a folder, or is gone by now.
			if info, serr := l.fs.Stat(dir); serr != nil || !info.IsDir() {
				return nil
			}
			return fmt.Errorf("listing %q: %w", dir, err)
		}
	}
	for _, name := range names {
		if ok, err := filepath.Match(elem, name); err != nil || !ok && name != elem {
			continue
		}
		path := filepath.Join(dir, name)
		var err error
		switch {
		case len(rest) > 0:
			err = l.match(path, rest)
		default:
			// A folder that matches the last element stands for its files.
			if info, serr := l.fs.Stat(path); serr == nil && info.IsDir() && !unfinished(name) {
				err = l.dir(path)
			} else {
				err = l.entry(path, false)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
