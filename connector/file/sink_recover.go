package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/weirflow/weir/flow"
)

// Recover removes the parts that attempts before this one left under temporary
// names. What they had prepared for the restored epoch has its final names by now,
// and no writer of this attempt has begun, so what is left is in no epoch.
//
// It refuses to start where files are in the way: those of epochs that come after
// the restored one. There are none after a failure, since an epoch's files are named
// after the epoch is committed; a person has gone back to an older checkpoint.
func (c *committer) Recover(ctx context.Context, restored flow.Epoch) error {
	r := recovery{c: c, restored: restored}
	if err := r.folder(ctx, c.dir); err != nil {
		return external(true, fmt.Errorf("file: removing what older attempts left in %s: %w", c.dir, err))
	}
	if restored > 0 && r.later > 0 {
		return external(false, fmt.Errorf("file: %w that is to be written: %d files in %s, such as %s, are of epochs after %d, from which the job goes on; they will be written again, so move them away, or write to another folder or with another Prefix",
			ErrConflict, r.later, c.dir, r.example, restored))
	}
	return nil
}

type recovery struct {
	c        *committer
	restored flow.Epoch
	later    int // files of epochs after the restored one
	example  string
}

func (r *recovery) folder(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := r.c.fs.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if _, id, attempt, ok := parseTemp(name); ok {
			if id != r.c.id || attempt > r.c.attempt {
				continue
			}
			if err := r.c.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if unfinished(name) {
			continue
		}
		if epoch, ok := parseFinal(name, r.c.prefix, r.c.id); ok {
			if epoch > r.restored {
				r.later++
				r.example = path
			}
			continue
		}
		info, err := r.c.fs.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.IsDir() {
			if err := r.folder(ctx, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseFinal reads what finalName made, whatever its suffix.
func parseFinal(name, prefix, id string) (flow.Epoch, bool) {
	rest, ok := strings.CutPrefix(name, prefix+"-"+id+"-")
	if !ok {
		return 0, false
	}
	rest, suffix, _ := strings.Cut(rest, ".")
	var subtask, number int
	var epoch flow.Epoch
	if _, err := fmt.Sscanf(rest, "%d-%d-%d", &subtask, &epoch, &number); err != nil {
		return 0, false
	}
	return epoch, finalName(prefix, id, subtask, epoch, number)+"."+suffix == name
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
