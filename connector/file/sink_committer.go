package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/zeebo/xxh3"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// ErrLost is wrapped by the error of a commit whose file is neither under its
// temporary name nor under its final one.
var ErrLost = errors.New("prepared file is lost")

// ErrDamaged is wrapped by the error of a commit whose file has not the bytes that
// were written. Nothing of the epoch is published then.
var ErrDamaged = errors.New("prepared file is damaged")

// ErrConflict is wrapped by the error of a commit whose final name belongs to
// another file, and of a start where it would.
var ErrConflict = errors.New("another file has the name")

// committer is the job's side of a sink: it renames what the writers prepared.
//
// Committing has two passes. The first looks at every part of the epoch and renames
// none: whatever is wrong with one is told before a reader sees any of them. The
// second renames; it can be cut off anywhere and repeated, since a part is either
// under its temporary name or under its final one, and which of them is no more
// than what the first pass asks again.
type committer struct {
	fs      fileSystem
	dir     string
	prefix  string
	id      string
	attempt flow.Attempt
}

var (
	_ operator.Recoverer = (*committer)(nil)
	_ operator.Auditor   = (*committer)(nil)
)

// Commit gives the parts their final names. It may be repeated.
func (c *committer) Commit(ctx context.Context, epoch flow.Epoch, data [][]byte) error {
	var todo []readyPart
	synced, folders := map[string]bool{}, map[string]bool{}
	for _, d := range data {
		p, err := c.decode(d)
		if err != nil {
			return fmt.Errorf("file: what was prepared in epoch %d: %w", epoch, err)
		}
		for _, part := range p.Parts {
			if err := ctx.Err(); err != nil {
				return err
			}
			waits, err := c.look(part)
			if err != nil {
				return c.failed(epoch, err)
			}
			if waits {
				todo = append(todo, part)
			}
			folders[filepath.Dir(c.path(part.Final))] = true
		}
	}
	for _, part := range todo {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.publish(part); err != nil {
			return c.failed(epoch, err)
		}
	}
	// Also the folders of parts that were renamed before: by a commit that died before
	// it came to this.
	for folder := range folders {
		if err := syncUp(c.fs, folder, c.dir, synced); err != nil {
			return external(true, fmt.Errorf("file: committing epoch %d: syncing the folder %s: %w", epoch, folder, err))
		}
	}
	return nil
}

func (c *committer) failed(epoch flow.Epoch, err error) error {
	// The same files are looked at again after a restart: what is wrong with them
	// stays wrong until a person sees to it.
	retry := !errors.Is(err, ErrLost) && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrDamaged)
	return external(retry, fmt.Errorf("file: committing epoch %d: %w", epoch, err))
}

func (c *committer) decode(data []byte) (prepared, error) {
	var p prepared
	if len(data) == 0 {
		return p, nil
	}
	if err := msgpack.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("it is for %s and cannot be read: %w", c.dir, err)
	}
	return p, nil
}

// Records counts the records of the prepared files.
func (c *committer) Records(data [][]byte) (int64, error) {
	var n int64
	for _, d := range data {
		p, err := c.decode(d)
		if err != nil {
			return 0, fmt.Errorf("file: counting what was prepared: %w", err)
		}
		for _, part := range p.Parts {
			n += part.Records
		}
	}
	return n, nil
}

func (c *committer) path(name string) string { return filepath.Join(c.dir, filepath.FromSlash(name)) }

// look reports whether a part has to be renamed. It is an error if it can't be, or
// if its bytes are not those that were written.
func (c *committer) look(p readyPart) (waits bool, err error) {
	if !filepath.IsLocal(filepath.FromSlash(p.Temp)) || !filepath.IsLocal(filepath.FromSlash(p.Final)) {
		return false, fmt.Errorf("%w: %q or %q is not a name within the folder %s", ErrConflict, p.Temp, p.Final, c.dir)
	}
	temp, final := c.path(p.Temp), c.path(p.Final)
	there, err := c.size(final)
	if err != nil {
		return false, err
	}
	if there >= 0 {
		// Renamed before; or a file system brought the old name back after a power
		// cut, and both are the same file; or it is somebody else's.
		sum, err := c.sum(final, there, p.Size)
		if err != nil {
			return false, err
		}
		if there != p.Size || sum != p.Sum {
			return false, fmt.Errorf("%w %s: it has %d bytes with the checksum %016x, what is to be committed has %d and %016x; move it away, or write to another folder or with another Prefix",
				ErrConflict, final, there, sum, p.Size, p.Sum)
		}
		waiting, err := c.size(temp)
		return waiting >= 0, err
	}
	waiting, err := c.size(temp)
	if err != nil {
		return false, err
	}
	if waiting < 0 {
		return false, fmt.Errorf("%w: neither %s nor %s exists; if the folder was moved or cleaned, put it back, or go on from a checkpoint before this epoch", ErrLost, temp, final)
	}
	sum, err := c.sum(temp, waiting, p.Size)
	if err != nil {
		return false, err
	}
	if waiting != p.Size || sum != p.Sum {
		return false, fmt.Errorf("%w: %s has %d bytes with the checksum %016x, but %d with %016x were written and synced; nothing of the epoch was published. Check the disk, and go on from the checkpoint before this epoch, which writes its files again",
			ErrDamaged, temp, waiting, sum, p.Size, p.Sum)
	}
	return true, nil
}

// publish renames a part that look has looked at.
func (c *committer) publish(p readyPart) error {
	temp, final := c.path(p.Temp), c.path(p.Final)
	there, err := c.size(final)
	if err != nil {
		return err
	}
	if there >= 0 {
		err = c.fs.Remove(temp)
	} else {
		err = c.fs.Rename(temp, final)
	}
	if errors.Is(err, fs.ErrNotExist) {
		// An attempt that does not know yet that it was replaced commits the same
		// epoch at the same time. Look says whether it has done this part.
		_, err = c.look(p)
	}
	return err
}

// size is a file's, -1 if there is none.
func (c *committer) size(path string) (int64, error) {
	info, err := c.fs.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return -1, nil
	case err != nil:
		return 0, fmt.Errorf("looking for %s: %w", path, err)
	}
	return info.Size(), nil
}

// sum is a file's checksum, 0 without reading it where its size is wrong.
func (c *committer) sum(path string, size, want int64) (uint64, error) {
	if size != want {
		return 0, nil
	}
	f, err := c.fs.Open(path)
	if err != nil {
		return 0, fmt.Errorf("opening %s: %w", path, err)
	}
	h := xxh3.New()
	_, err = io.Copy(h, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("reading %s: %w", path, err)
	}
	return h.Sum64(), nil
}

// Close does nothing: files are open only during Commit.
func (c *committer) Close() error { return nil }
