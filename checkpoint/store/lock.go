package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrLocked is wrapped by the error of Lock when another process runs the job.
var ErrLocked = errors.New("store: another process runs this job")

// locker is implemented by storages that can tell whether a process is alive.
type locker interface {
	lock(name string) (io.Closer, error)
}

// Lock says that this process runs the job, until it closes what is returned or ends,
// however it ends. It is for people who start a job twice on one machine: they get
// an error that names the other process, and not two attempts that fence each other
// in turns. What keeps the results right is the log. Where the storage is not a
// directory Lock does nothing.
func (j *Job) Lock() (io.Closer, error) {
	l, ok := j.st.(locker)
	if !ok {
		return nothing{}, nil
	}
	c, err := l.lock(strings.Trim(strings.TrimPrefix(j.root, jobsRoot), "/"))
	if err != nil {
		return nil, fmt.Errorf("store: lock job %s: %w", j.id, err)
	}
	return c, nil
}

func (r *retrying) lock(name string) (io.Closer, error) {
	if l, ok := r.Storage.(locker); ok {
		return l.lock(name)
	}
	return nothing{}, nil
}

type nothing struct{}

func (nothing) Close() error { return nil }

// lock takes a lock of the operating system, which ends with the process. Who holds it
// is in a file beside the lock, which cannot be read itself while it is held.
func (d *Dir) lock(name string) (io.Closer, error) {
	dir := d.fs.PathJoin(d.root, ".locks")
	if err := d.sync.makeDir(dir); err != nil {
		return nil, err
	}
	path := d.fs.PathJoin(dir, name)
	c, err := d.fs.Lock(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %s holds %s (%w)", ErrLocked, d.holder(path), path, err)
	}
	if err := d.writeHolder(path); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

const holderSuffix = ",holder"

func (d *Dir) holder(path string) string {
	f, err := d.fs.Open(path + holderSuffix)
	if err != nil {
		return "somebody"
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 200))
	if err != nil || len(b) == 0 {
		return "somebody"
	}
	return strings.TrimSpace(string(b))
}

func (d *Dir) writeHolder(path string) error {
	host, _ := os.Hostname() // For people.
	f, err := d.fs.Create(path+holderSuffix, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "process %d on %s\n", os.Getpid(), host)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
