package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
)

// Task stores the snapshots of one task, epoch after epoch. It remembers which linked
// files are in storage, so that a snapshot adds only what is new.
//
// What it remembers is the last snapshot that was written whole, or the one the task
// was restored from, and not everything that was ever stored: a file that the last
// snapshot was without may have been collected. A snapshot without any linked file is
// taken for one in portable form and changes nothing in that; so a name must not come back
// after such a one, which names in a tree, being numbers that only rise, do not.
type Task struct {
	j      *Job
	prefix string // of keys, up to the epoch
	suffix string // of keys, in front of number and name
	next   int
	stored map[string]checkpoint.File
}

// Task begins the snapshots of a task in an attempt. base is the files of the snapshot
// that it was restored from, if its store goes on with them as they are.
func (j *Job) Task(id flow.TaskID, at flow.Attempt, base []checkpoint.File) *Task {
	t := &Task{
		j:      j,
		prefix: fmt.Sprintf("%sblobs/%08d/", j.root, at),
		// The random part keeps two tasks apart that take themselves for the same one.
		suffix: fmt.Sprintf("-%s-%d-%s-", shortName(string(id.Chain)), id.Subtask, strconv.FormatUint(uint64(rand.Uint32()), 36)),
		stored: map[string]checkpoint.File{},
	}
	for _, f := range base {
		if strings.HasPrefix(f.Blob, j.root+"blobs/") {
			t.stored[f.Name] = f
		}
	}
	return t
}

// shortName is a part of a key for people; what makes keys unique is elsewhere in them.
func shortName(text string) string {
	name := keyName(text)
	if len(name) > 64 {
		name = fmt.Sprintf("%s-%08x", name[:55], crc32.ChecksumIEEE([]byte(text)))
	}
	return name
}

// Upload takes the files of one snapshot. Files are written side by side, up to
// [JobOptions.Uploads] of them; an error of one ends all, and is what Done returns.
// Its methods are called by one goroutine; it ends with Done or Abort.
type Upload struct {
	t      *Task
	prefix string
	ctx    context.Context
	cancel context.CancelFunc
	group  *errgroup.Group
	names  map[string]bool
	open   map[*createdFile]bool
	links  []int // of files
	ended  bool
	mu     struct {
		sync.Mutex
		files []uploaded
		bytes int64
	}
}

type uploaded struct {
	checkpoint.File
	safe  bool
	added bool // and not found in storage
}

// Begin starts the files of an epoch. All that is under way ends with ctx.
func (t *Task) Begin(ctx context.Context, e flow.Epoch) *Upload {
	u := &Upload{t: t, prefix: fmt.Sprintf("%s%010d%s", t.prefix, e, t.suffix), names: map[string]bool{}, open: map[*createdFile]bool{}}
	ctx, u.cancel = context.WithCancel(ctx)
	u.group, u.ctx = errgroup.WithContext(ctx)
	u.group.SetLimit(t.j.opts.Uploads)
	return u
}

// add makes room for a file and its key.
func (u *Upload) add(name string) (at int, key string, err error) {
	if err := context.Cause(u.ctx); err != nil {
		return 0, "", fmt.Errorf("store: file %s of a snapshot: %w", name, err)
	}
	if u.names[name] {
		return 0, "", fmt.Errorf("store: a snapshot has two files %q", name)
	}
	u.names[name] = true
	u.t.next++
	key = u.prefix + strconv.Itoa(u.t.next) + "-" + shortName(name)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mu.files = append(u.mu.files, uploaded{})
	return len(u.mu.files) - 1, key, nil
}

func (u *Upload) set(at int, f checkpoint.File, added bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mu.files[at] = uploaded{f, true, added}
	if added {
		u.mu.bytes += f.Size
	}
}

// Create begins a file that counts once its Close has returned nil and Done as well.
func (u *Upload) Create(name string) (io.WriteCloser, error) {
	at, key, err := u.add(name)
	if err != nil {
		return nil, err
	}
	w, err := u.t.j.newBlob(key)
	if err != nil {
		return nil, err
	}
	c := &createdFile{summed: summed{blobWriter: w}, u: u, at: at, name: name, key: key}
	u.open[c] = true
	return c, nil
}

type createdFile struct {
	summed
	u         *Upload
	at        int
	name, key string
	closed    bool
}

func (c *createdFile) Write(p []byte) (int, error) {
	if err := context.Cause(c.u.ctx); err != nil {
		return 0, err
	}
	return c.summed.Write(p)
}

// Close hands the file over to be stored.
func (c *createdFile) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	delete(c.u.open, c)
	c.u.group.Go(func() error {
		defer c.drop()
		if err := c.commit(c.u.ctx); err != nil {
			return err
		}
		c.u.set(c.at, c.file(c.name, c.key), true)
		return nil
	})
	return nil
}

// Link adds a file of the local disk that never changes. One that is in storage from
// the last snapshot under the same name is not stored again.
func (u *Upload) Link(name, path string) error {
	at, key, err := u.add(name)
	if err != nil {
		return err
	}
	u.links = append(u.links, at)
	fs := u.t.j.opts.FS
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return fmt.Errorf("store: link %s: %w", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("store: link %s: %w", name, err)
	}
	if old, ok := u.t.stored[name]; ok && old.Size == info.Size() {
		u.set(at, old, false)
		return f.Close()
	}
	finish, err := u.t.j.adopt(key, path)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		f.Close()
		return err
	}
	// f keeps the file's bytes, whatever happens to its name.
	u.group.Go(func() error {
		defer f.Close()
		r := io.NewSectionReader(f, 0, info.Size())
		sum := crc32.New(castagnoli)
		if _, err := copyAll(sum, withContext(u.ctx, r)); err != nil {
			return fmt.Errorf("store: read %s: %w", path, err)
		}
		if finish != nil {
			err = finish()
		} else if _, err = r.Seek(0, io.SeekStart); err == nil {
			err = u.t.j.st.Put(u.ctx, key, r, info.Size())
		}
		if err != nil {
			return err
		}
		u.set(at, checkpoint.File{Name: name, Blob: key, Size: info.Size(), CRC: sum.Sum32()}, true)
		return nil
	})
	return nil
}

// adopter is implemented by storages on this disk: a file becomes a blob at once, and is
// safe when finish has returned nil.
type adopter interface {
	adopt(key, path string) (finish func() error, err error)
}

func (j *Job) adopt(key, path string) (func() error, error) {
	if a, ok := j.st.(adopter); ok {
		return a.adopt(key, path)
	}
	return nil, errors.ErrUnsupported
}

func (r *retrying) adopt(key, path string) (func() error, error) {
	if a, ok := r.Storage.(adopter); ok {
		return a.adopt(key, path)
	}
	return nil, errors.ErrUnsupported
}

// Done waits until all files are safe. It returns them in the order in which they were
// created or linked, and how many bytes were added to storage.
func (u *Upload) Done() ([]checkpoint.File, int64, error) {
	ended := context.Cause(u.ctx) // Wait ends it as well.
	if err := u.group.Wait(); err != nil {
		return nil, 0, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	files := make([]checkpoint.File, len(u.mu.files))
	for i, f := range u.mu.files {
		if !f.safe && ended != nil {
			return nil, 0, ended
		}
		if !f.safe {
			return nil, 0, fmt.Errorf("store: file %d of a snapshot was begun and not closed", i)
		}
		files[i] = f.File
	}
	u.ended = true
	u.cancel()
	if len(u.links) > 0 {
		clear(u.t.stored)
		for _, i := range u.links {
			u.t.stored[files[i].Name] = files[i]
		}
	}
	return files, u.mu.bytes, nil
}

// abortTime is how long Abort takes to clean up. What is left then is collected later.
const abortTime = 5 * time.Second

// Abort gives the snapshot up. Linked files that had come to storage are not sent once
// more with the next one; others are removed.
func (u *Upload) Abort() {
	if u.ended {
		return
	}
	u.ended = true
	u.cancel()
	_ = u.group.Wait() // It was told, or was only ended by cancel.
	for c := range u.open {
		c.closed = true
		c.drop()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), abortTime)
	defer cancel()
	links := map[int]bool{}
	for _, i := range u.links {
		links[i] = true
	}
	for i, f := range u.mu.files {
		switch {
		case !f.safe || !f.added:
		case links[i]:
			u.t.stored[f.Name] = f.File
		default:
			if err := u.t.j.st.Delete(ctx, f.Blob); err != nil {
				return
			}
		}
	}
}
