package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/zeebo/xxh3"

	"github.com/weirflow/weir/flow"
)

// ErrLost is wrapped by the error of a commit whose file is neither under its
// temporary name nor under its final one.
var ErrLost = errors.New("prepared file is lost")

// ErrConflict is wrapped by the error of a commit whose final name belongs to
// another file.
var ErrConflict = errors.New("another file has the name")

// committer is the job's side of a sink: it renames what the writers prepared.
type committer struct {
	fs  fileSystem
	dir string
	// swept is, by subtask, the attempt whose predecessors' leftovers were removed.
	swept map[int]flow.Attempt
}

// Commit gives the parts their final names. It may be repeated.
func (c *committer) Commit(ctx context.Context, epoch flow.Epoch, data [][]byte) error {
	synced := map[string]bool{}
	var all []prepared
	for _, d := range data {
		if len(d) == 0 {
			continue
		}
		var p prepared
		if err := msgpack.Unmarshal(d, &p); err != nil {
			return fmt.Errorf("file: what was prepared in epoch %d for %s cannot be read: %w", epoch, c.dir, err)
		}
		all = append(all, p)
		for _, part := range p.Parts {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := c.rename(part); err != nil {
				return external(!errors.Is(err, ErrLost) && !errors.Is(err, ErrConflict), fmt.Errorf("file: committing epoch %d: %w", epoch, err))
			}
		}
	}
	for _, p := range all {
		for _, part := range p.Parts {
			folder := filepath.Dir(c.path(part.Final))
			if err := syncUp(c.fs, folder, c.dir, synced); err != nil {
				return external(true, fmt.Errorf("file: committing epoch %d: syncing the folder %s: %w", epoch, folder, err))
			}
		}
	}
	return c.sweep(ctx, all)
}

func (c *committer) path(name string) string { return filepath.Join(c.dir, filepath.FromSlash(name)) }

// rename moves a part to its final name, unless that has been done.
func (c *committer) rename(p readyPart) error {
	if !filepath.IsLocal(filepath.FromSlash(p.Temp)) || !filepath.IsLocal(filepath.FromSlash(p.Final)) {
		return fmt.Errorf("%w: %q or %q is not a name within the folder %s", ErrConflict, p.Temp, p.Final, c.dir)
	}
	temp, final := c.path(p.Temp), c.path(p.Final)
	there, err := c.size(final)
	if err != nil {
		return err
	}
	waiting, err := c.size(temp)
	if err != nil {
		return err
	}
	switch {
	case there < 0 && waiting < 0:
		return fmt.Errorf("%w: neither %s nor %s exists; if the folder was moved or cleaned, put it back or restart from an older savepoint", ErrLost, temp, final)
	case there < 0 && waiting != p.Size:
		return fmt.Errorf("%w: %s has %d bytes, but %d were written and synced", ErrLost, temp, waiting, p.Size)
	case there < 0:
		return c.fs.Rename(temp, final)
	case there != p.Size:
		return fmt.Errorf("%w %s: it has %d bytes, what is to be committed has %d; write to another folder, or with another Prefix", ErrConflict, final, there, p.Size)
	case waiting < 0:
		return nil
	}
	// Both are there. A file system may bring the old name back after a power cut,
	// and then they are the same.
	sum, err := c.sum(final)
	if err != nil {
		return err
	}
	if sum != p.Sum {
		return fmt.Errorf("%w %s; write to another folder, or with another Prefix", ErrConflict, final)
	}
	return c.fs.Remove(temp)
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

func (c *committer) sum(path string) (uint64, error) {
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

// sweep removes what older attempts of the same sink left under temporary names,
// once for each attempt. What they had prepared has been committed by now: commits
// come in the order of epochs, and this one is of a newer attempt. Of a subtask
// that prepared nothing nothing is known, so its parts are left alone, unless there
// is no such subtask any more.
func (c *committer) sweep(ctx context.Context, all []prepared) error {
	limits := sweepLimits{of: map[int]flow.Attempt{}, rest: flow.Attempt(1<<64 - 1)}
	news := false
	for _, p := range all {
		if p.ID != all[0].ID {
			return nil // parts of a job that this one was started from
		}
		limits.of[p.Subtask] = p.Attempt
		limits.rest = min(limits.rest, p.Attempt)
		limits.parallelism = max(limits.parallelism, p.Parallelism)
		news = news || p.Attempt > c.swept[p.Subtask]
	}
	if !news {
		return nil
	}
	if err := c.sweepDir(ctx, c.dir, all[0].ID, &limits); err != nil {
		return external(true, fmt.Errorf("file: removing what older attempts left in %s: %w", c.dir, err))
	}
	c.swept = limits.of
	return nil
}

// sweepLimits says which parts are left over: those of older attempts than these.
type sweepLimits struct {
	of          map[int]flow.Attempt
	parallelism int
	rest        flow.Attempt // for subtasks that there are no more
}

func (l *sweepLimits) over(subtask int, attempt flow.Attempt) bool {
	if limit, ok := l.of[subtask]; ok {
		return attempt < limit
	}
	return subtask >= l.parallelism && attempt < l.rest
}

func (c *committer) sweepDir(ctx context.Context, dir, id string, limits *sweepLimits) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := c.fs.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if subtask, of, attempt, ok := parseTemp(name); ok {
			if of == id && limits.over(subtask, attempt) {
				if err := c.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
			continue
		}
		if unfinished(name) {
			continue
		}
		info, err := c.fs.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.IsDir() {
			if err := c.sweepDir(ctx, path, id, limits); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseTemp reads what tempName made.
func parseTemp(name string) (subtask int, id string, attempt flow.Attempt, ok bool) {
	rest, ok := strings.CutSuffix(name, ".inprogress")
	if !ok {
		return 0, "", 0, false
	}
	rest, ok = strings.CutPrefix(rest, ".part-")
	if !ok {
		return 0, "", 0, false
	}
	numbers, rest, _ := strings.Cut(rest, ".")
	id, tail, _ := strings.Cut(rest, "-")
	var number int
	if _, err := fmt.Sscanf(numbers+" "+tail, "%d-%d %d", &subtask, &number, &attempt); err != nil {
		return 0, "", 0, false
	}
	return subtask, id, attempt, tempName(subtask, number, id, attempt) == name
}

// Close does nothing: files are open only during Commit.
func (c *committer) Close() error { return nil }
